"""What is refused, and what the refusal tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects.paths import classify
from muxproxy.errors import MuxError
from muxproxy.inspection import inspect
from tests.inspection.asks import CHAT, GEMINI, MESSAGES, RESPONSES, ask

REFUSED = [
    ("empty", b"", "empty"),
    ("blank", b" \n", "empty"),
    ("an array", b"[]", "no JSON object"),
    ("a string", b'"x"', "no JSON object"),
    ("null", b"null", "no JSON object"),
    ("truncated", b'{"model":"a', "ends too early (byte 11)"),
    ("trailing comma", b'{"model":"a",}', "remove the comma"),
    ("trailing garbage", b'{"model":"a"} {}', "(byte 14)"),
    ("two objects", b'{"model":"a"}{}', "nothing after it"),
    ("NUL at the end", b'{"model":"a"}\x00', "(byte 13)"),
    ("NaN", b'{"temperature":NaN}', "JSON has no NaN"),
    ("NaN deep in what is skipped", b'{"x":[{"y":NaN}]}', "JSON has no NaN"),
    ("python", b"{'model':'a'}", "json.dumps"),
    ("True", b'{"stream":True}', "json.dumps"),
    ("bad escape, skipped", b'{"x":"\\x"}', "escape"),
    ("control character, skipped", b'{"x":"a\nb"}', "(byte 7)"),
    ("not UTF-8, skipped", b'{"x":"' + b"\xff" + b'"}', "not UTF-8 (byte 6)"),
    ("not UTF-8, key", b'{"\xc3":1}', "not UTF-8 (byte 2)"),
    ("not UTF-8, far in", b'{"x":"' + b"a" * 70_000 + b'\xe4"}', "not UTF-8 (byte 70006)"),
    ("cut in a character", b'{"x":"\xe2\x82', "not UTF-8 (byte 6)"),
    ("UTF-8 surrogate", b'{"x":"\xed\xa0\x80"}', "not UTF-8"),
    ("UTF-16", '{"model":"a"}'.encode("utf-16"), "UTF-8"),
    ("gzip", b"\x1f\x8b\x08\x00", ""),
    ("multipart", b"--x\r\n", "multipart"),
    (
        "lone surrogate",
        b'{"x":"\\\\ud800 \\ud83d\\ude00 \\ud800"}',
        "surrogate pair is no character (byte 27)",
    ),
    ("lone low surrogate", b'{"messages":[{"role":"user","content":"\\udc00"}]}', "(byte 39)"),
    ("lone surrogate in a key", b'{"\\ud800":1}', "surrogate"),
    ("depth", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ("depth, unclosed", b'{"messages":' + b'[{"content":' * 50_000, "nested too deeply"),
    (
        "depth in parts",
        b'{"messages":[{"role":"user","content":'
        + b'[{"type":"tool_result","content":' * 400
        + b"[]"
        + b"}]" * 400
        + b"}]}",
        "",
    ),
]


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI, "/v1/embeddings"])
@pytest.mark.parametrize(("body", "told"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(path: str, body: bytes, told: str) -> None:
    if told or body[:1] != b"{":
        with pytest.raises(MuxError) as caught:
            ask(path, body)
        assert caught.value.code == "invalid_json"
        assert told in caught.value.message or "UTF-8" in caught.value.message
        return
    try:  # deep, but perhaps not too deep for this interpreter's stack
        ask(path, body)
    except MuxError as error:
        assert error.code == "invalid_json"


def test_the_position_is_a_detail() -> None:
    with pytest.raises(MuxError) as caught:
        ask(CHAT, b'{"a":1,}')
    assert caught.value.details == {"position": 7}


def test_a_compressed_body_is_told_so() -> None:
    headers = [(b"content-encoding", b"zstd")]
    with pytest.raises(MuxError, match="content-encoding: zstd"):
        inspect(classify("POST", CHAT), b"\x28\xb5\x2f\xfd\x00", headers)


@pytest.mark.parametrize("model", [1, True, [], {"a": 1}, 1.5])
def test_a_model_that_is_no_name(model: Any) -> None:
    with pytest.raises(MuxError) as caught:
        ask(CHAT, {"model": model})
    assert caught.value.code == "invalid_request"
    assert ask(GEMINI, {"model": model}).model == "gem"  # the path names it


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_garbage_is_refused_with_one_of_our_errors(body: bytes) -> None:
    for raw in (body, b'{"messages":[' + body + b"]}", b'{"x":"' + body + b'"}'):
        try:
            ask(CHAT, raw)
        except MuxError as error:
            assert error.code in ("invalid_json", "invalid_request")
        else:
            assert isinstance(json.loads(raw), dict)
