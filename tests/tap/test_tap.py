"""What the tap makes of answers that no recording holds: odd, broken, large or hostile."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from operator import attrgetter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.exchange import Usage
from muxproxy.tap import Tap, make_tap


def tapped(
    body: bytes, kind: bytes | None = b"text/event-stream", step: int = 0, **more: object
) -> Tap:
    tap = make_tap("chat", "openai", kind, more.get("coding"), int(str(more.get("status", 200))))  # type: ignore[arg-type]
    for start in range(0, len(body), step or max(1, len(body))):
        tap.feed(body[start : start + (step or len(body))])
    tap.finish()
    return tap


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


TEXT = {"model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
PLAIN = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Case(NamedTuple):
    name: str
    body: bytes
    error: str | None = None
    finish: str | None = None
    terminal: bool = False
    usage: tuple[int, int] | None = None
    kind: bytes | None = b"text/event-stream"
    status: int = 200


CASES = [
    Case("empty", b""),
    Case(
        "done_inside_a_text_is_no_end",
        sse({"choices": [{"delta": {"content": "\ndata: [DONE]\n\n"}}]}),
    ),
    Case(
        "json_though_a_stream_was_asked",
        json.dumps({"usage": PLAIN}).encode(),
        terminal=True,
        usage=(3, 2),
    ),
    Case(
        "blank_lines_before_json",
        b"\n \r\n" + json.dumps({"usage": PLAIN}).encode(),
        terminal=True,
        usage=(3, 2),
    ),
    Case(
        "cut_json_is_no_end", b'{"usage":{"prompt_tokens":3},"choices":[', kind=b"application/json"
    ),
    Case("html_error_page", b"<html>502</html>", kind=b"text/html", status=502),
    Case("binary", b"\x89PNG\r\n\x1a\n", kind=None),
    Case(
        "json_lines_under_a_json_type",
        b'{"done":false,"response":"a"}\n{"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}\n',
        finish="stop",
        terminal=True,
        usage=(3, 2),
        kind=b"application/json",
    ),
    Case(
        "openai_error_event",
        sse(TEXT, {"error": {"message": "no such thing", "type": "server_error", "code": None}}),
        error="server_error",
    ),
    Case(
        "openrouter_error_with_choices",
        sse(
            {
                "model": "m",
                "error": {"code": 502, "message": "x"},
                "choices": [{"delta": {}, "finish_reason": "error"}],
            }
        ),
        error="502",
        finish="error",
    ),
    Case(
        "anthropic_error_event",
        b'event: error\ndata: {"type":"error",'
        b'"error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        error="overloaded_error",
    ),
    Case(
        "responses_flat_error",
        sse({"type": "error", "code": "rate_limit", "message": "slow down please"}),
        error="rate_limit",
    ),
    Case(
        "responses_failed",
        sse(
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"code": "server_error"}},
            }
        ),
        error="server_error",
        finish="failed",
        terminal=True,
    ),
    Case(
        "gemini_error_in_array",
        b'[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]',
        error="UNAVAILABLE",
        kind=b"application/json",
    ),
    Case(
        "gemini_blocked",
        b'data: {"promptFeedback":{"blockReason":"SAFETY"},'
        b'"usageMetadata":{"promptTokenCount":3}}\r\n\r\n',
        finish="SAFETY",
        terminal=True,
        usage=(3, 0),
    ),
    Case(
        "cohere_error",
        sse({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}}),
        error="error",
        finish="ERROR",
        terminal=True,
    ),
    Case(
        "xai_error",
        b'{"code":"invalid-argument","error":"some text"}',
        error="invalid-argument",
        terminal=True,
        kind=b"application/json",
        status=400,
    ),
    Case(
        "error_that_is_a_sentence",
        b'{"error":"the prompt was bad"}',
        error="error",
        terminal=True,
        kind=b"application/json",
        status=400,
    ),
    Case(
        "explicit_zero_usage_is_usage",
        sse(TEXT, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
        usage=(0, 0),
    ),
    Case(
        "last_usage_wins_and_nothing_is_summed",
        sse(
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
            TEXT,
            {"choices": [], "usage": PLAIN},
        ),
        usage=(3, 2),
    ),
    Case(
        "null_after_usage_keeps_it",
        sse({"choices": [], "usage": PLAIN}, {"choices": [], "usage": None}),
        usage=(3, 2),
    ),
    Case(
        "usage_beside_fields_of_odd_types", sse({"choices": {"a": 1}, "usage": PLAIN}), usage=(3, 2)
    ),
    Case("usage_that_is_no_object", sse({"choices": [], "usage": "many"})),
    Case(
        "absurd_numbers",
        sse({"usage": {"prompt_tokens": 10**30, "completion_tokens": -1, "total_tokens": 2.5}}),
    ),
    Case(
        "groq_hint_is_replaced_by_usage",
        sse(
            {"choices": [], "x_groq": {"usage": {"prompt_tokens": 9, "completion_tokens": 9}}},
            {"choices": [], "usage": PLAIN},
        ),
        usage=(3, 2),
    ),
    Case(
        "nova_behind_invoke",
        sse(
            {"contentBlockDelta": {"delta": {"text": "hi"}}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2}}},
        ),
        finish="end_turn",
        terminal=True,
        usage=(3, 2),
    ),
    Case(
        "llama_behind_invoke",
        b'{"generation":"hi","prompt_token_count":3,"generation_token_count":2,"stop_reason":"stop"}',
        finish="stop",
        terminal=True,
        usage=(3, 2),
        kind=b"application/json",
    ),
    Case(
        "bom_and_crlf",
        b"\xef\xbb\xbf" + sse({"choices": [], "usage": PLAIN}).replace(b"\n", b"\r\n"),
        usage=(3, 2),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
def test_odd_answers(case: Case) -> None:
    for step in (0, 1, 5):
        tap = tapped(case.body, case.kind, step, status=case.status)
        got = tap.usage and (tap.usage.input_total, tap.usage.output_total)
        assert (tap.error, tap.finish_reason, tap.terminal, got) == (
            case.error,
            case.finish,
            case.terminal,
            case.usage,
        )


def test_a_cut_anthropic_stream_knows_its_input_only() -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}
    start = {"type": "message_start", "message": {"model": "claude", "usage": usage}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hello"}}
    tap = tapped(sse(start, delta))
    assert tap.usage is not None
    assert tap.usage.input_total == 15
    assert not tap.usage_complete
    assert tap.delivered_text() == ["hello"]
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 7},
    }
    tap = tapped(sse(start, delta, end, {"type": "message_stop"}))
    assert tap.usage == Usage(input=10, cache_read=5, output=7)
    assert tap.usage_complete
    assert json.loads(tap.usage_raw or b"") == {**usage, "output_tokens": 7}


def test_usage_raw_is_the_providers_own_bytes() -> None:
    tap = tapped(
        b'data: {"choices":[],"usage":{ "prompt_tokens" : 3, "completion_tokens":2,"x":1.50}}\n\n'
    )
    assert tap.usage_raw == b'{ "prompt_tokens" : 3, "completion_tokens":2,"x":1.50}'


def test_a_lone_surrogate_costs_neither_usage_nor_text() -> None:
    body = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"ab\\ud83d"}]},"finishReason":"STOP"}],'
    )
    body += b'"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}\n\n'
    tap = tapped(body)
    assert tap.usage is not None
    assert tap.usage.output == 2
    assert tap.delivered_chars == 3


def test_large_documents_are_skimmed_not_kept() -> None:
    rows = b",".join(
        b'{"embedding":[' + b"0.123456," * 999 + b'1],"s":"}]\\"{"}' for _ in range(600)
    )
    body = (
        b'{"model":"e","note":"\\\\","data":['
        + rows
        + b'],"usage":{"prompt_tokens":8,"total_tokens":8}}'
    )
    assert len(body) > 5_000_000
    tracemalloc.start()
    tap = make_tap("embeddings", "openai", b"application/json", None, 200)
    for start in range(0, len(body), 65_537):
        tap.feed(body[start : start + 65_537])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tap.finish()
    assert tap.usage == Usage(input=8)
    assert (tap.model, tap.terminal) == ("e", True)
    assert peak < 3_000_000


def test_memory_of_an_open_stream_is_small() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    taps = []
    for _ in range(20):
        tap = make_tap("chat", "openai", b"text/event-stream", None, 200)
        for i in range(4000):
            tap.feed(sse({"model": "m", "choices": [{"delta": {"content": f"w{i} "}}]}))
        taps.append(tap)
    each = (tracemalloc.get_traced_memory()[0] - before) / len(taps)
    tracemalloc.stop()
    assert each < 16_000
    assert len("".join(taps[0].delivered_text())) > 3000
    assert taps[0].delivered_chars == sum(len(f"w{i} ") for i in range(4000))


def test_gzip_bombs_and_wrong_codings_blind_the_tap_only() -> None:
    bomb = gzip.compress(b"\0" * 64_000_000, 9)
    assert tapped(bomb, b"application/json", coding=b"gzip").usage is None
    assert tapped(b"not gzip at all", b"application/json", coding=b"gzip").usage is None
    assert tapped(sse({"usage": PLAIN}), coding=b"br").usage is None
    members = gzip.compress(sse(TEXT)) + gzip.compress(sse({"choices": [], "usage": PLAIN}))
    raw = zlib.compressobj(wbits=-15)
    for body, coding in (
        (members, b"gzip"),
        (raw.compress(sse({"usage": PLAIN})) + raw.flush(), b"deflate"),
    ):
        for step in (0, 1):
            tap = tapped(body, step=step, coding=coding)
            assert tap.usage is not None
            assert tap.usage.output == 2


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([sse(TEXT), b"data: [DONE]\n\n"]))),
    st.sampled_from(
        [
            b"text/event-stream",
            b"application/json",
            b"application/x-ndjson",
            None,
            b"application/vnd.amazon.eventstream",
        ]
    ),
    st.sampled_from([None, b"gzip", b"deflate"]),
)
def test_garbage_raises_nothing(
    parts: list[bytes], kind: bytes | None, coding: bytes | None
) -> None:
    tap = make_tap("chat", "openai", kind, coding, 200)
    for part in parts:
        tap.feed(part)
    tap.finish()
    assert tap.usage is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "usage",
                    "delta",
                    "type",
                    "message",
                    "response",
                    "content",
                    "candidates",
                    "meta",
                    "usageMetadata",
                    "error",
                    "event_type",
                    "interaction",
                    "done",
                    "item",
                    "finish_reason",
                    "tokens",
                    "prompt_tokens",
                    "status",
                    "object",
                    "stopReason",
                    "metadata",
                    "start",
                    "x_groq",
                    "text",
                    "name",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=4), st.sampled_from([b"text/event-stream", b"application/x-ndjson"]))
def test_any_json_raises_nothing(values: list[object], kind: bytes) -> None:
    lines = [json.dumps(value).encode() for value in values]
    lead, end = (b"data: ", b"\n\n") if b"event" in kind else (b"", b"\n")
    tap = tapped(b"".join(lead + line + end for line in lines), kind)
    assert tap.usage is None or tap.usage.input_total >= 0
    for line in lines:
        tapped(line, b"application/json")
