"""Framings that are not server-sent events."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from muxproxy.sse import Event
from muxproxy.tap import make_tap
from muxproxy.tap.frames import AwsFrames, Document, Elements, Framing, Lines

AWS = b"application/vnd.amazon.eventstream"


def frame(name: str, payload: bytes, kind: str = "event") -> bytes:
    """One AWS frame, built from the format's description."""

    def head(key: str, value: str) -> bytes:
        return (
            bytes([len(key)])
            + key.encode()
            + b"\x07"
            + len(value).to_bytes(2, "big")
            + value.encode()
        )

    heads = head(f":{kind}-type", name) + head(":message-type", kind)
    prelude = (len(heads) + len(payload) + 16).to_bytes(4, "big") + len(heads).to_bytes(4, "big")
    prelude += zlib.crc32(prelude).to_bytes(4, "big")
    message = prelude + heads + payload
    return message + zlib.crc32(message).to_bytes(4, "big")


def run(framing: Framing, data: bytes, step: int) -> list[Event]:
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += framing.feed(data[start : start + step])
    return events + framing.finish()


@pytest.mark.parametrize("step", [1, 3, 50, 10**6])
def test_aws_frames(step: int) -> None:
    inner = b'{"type":"message_stop"}'
    wrapped = b'{"bytes":"' + base64.b64encode(inner) + b'","p":"abc"}'
    data = frame("messageStop", b'{"stopReason":"x"}') + frame("big", b"x" * 400)
    data += frame("chunk", wrapped) + frame("throttlingException", b"{}", "exception")
    assert run(AwsFrames(300), data, step) == [
        (b"messageStop", b'{"stopReason":"x"}'),
        (b"chunk", inner),
        (b"!throttlingException", b"{}"),
    ]


def test_a_broken_prelude_ends_the_reading() -> None:
    framing = AwsFrames()
    good = frame("a", b"{}")
    assert run(framing, good + b"\0\0\0\x40\0\0\0\x01garbage" + good, 9) == [(b"a", b"{}")]
    assert framing.broken


def test_an_aws_exception_is_an_error() -> None:
    tap = make_tap("chat", "openai", AWS, None, 200)
    tap.feed(frame("modelStreamErrorException", b'{"message":"secret"}', "exception"))
    assert tap.error == "modelStreamErrorException"
    assert not tap.terminal


@pytest.mark.parametrize("step", [1, 4, 10**6])
def test_lines(step: int) -> None:
    data = b'{"a":1}\r\n\n{"b":"' + b"x" * 99 + b'"}\n{"c":3}'
    assert run(Lines(50), data, step) == [(b"", b'{"a":1}'), (b"", b'{"c":3}')]


@pytest.mark.parametrize("step", [1, 4, 10**6])
def test_elements(step: int) -> None:
    values = [{"a": ']}\\"'}, {"b": {"c": [1, {"d": "["}]}}, {"e": "x" * 200}, {"f": 1}]
    data = b"[" + b"\r\n,\r\n".join(json.dumps(value).encode() for value in values) + b"\n]\n"
    framing = Elements(100)
    found = [json.loads(payload) for _, payload in run(framing, data, step)]
    assert found == [values[0], values[1], values[3]]
    assert framing.ended


@pytest.mark.parametrize("step", [997, 65_536])
def test_a_large_document_keeps_its_small_members(step: int) -> None:
    value = {
        "model": "m",
        "odd": '"}],{[\\',
        "data": [{"b64": "A" * 900_000, "v": [0.5] * 100_000}],
        "nested": {"usage": {"prompt_tokens": 666}},
        "usage": {"prompt_tokens": 5, "list": [1, 2, {"x": None}]},
        "last": None,
    }
    framing = Document()
    events = run(framing, json.dumps(value, indent=1).encode(), step)
    del value["data"]
    assert [json.loads(payload) for _, payload in events] == [value]
    assert framing.complete


def test_a_cut_document_gives_nothing() -> None:
    for size in (10, 2_000_000):
        framing = Document()
        assert run(framing, b'{"usage":{"prompt_tokens":5},"a":"' + b"x" * size, 65_536) == []
        assert not framing.complete
