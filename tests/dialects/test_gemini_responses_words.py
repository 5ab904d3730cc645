"""What Gemini and Responses end with, down to the words that few streams hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from google.genai import types

from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini import stream as gemini_stream
from muxproxy.dialects.gemini.words import REASONS
from muxproxy.dialects.responses import stream as responses_stream

encode = msgspec.json.encode


def test_every_reason_of_the_sdk_has_a_meaning() -> None:
    """An unknown word would be read as a clean stop."""
    known = {reason.name for reason in types.FinishReason} - {"FINISH_REASON_UNSPECIFIED"}
    assert known - set(REASONS) == set()


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("STOP", "stop"),
        ("CONTINUATION", "length"),
        ("ESCALATION", "filter"),
        ("MALFORMED_RESPONSE", "error"),
    ],
)
def test_a_stream_ends_for_its_reason(word: str, meaning: str) -> None:
    chunk = {"candidates": [{"finishReason": word}]}
    events = gemini_stream.Reader().feed(None, encode(chunk))
    found = [event for event in events if isinstance(event, n.Finish)]
    assert [(one.reason, one.native) for one in found] == [(meaning, word)]


@pytest.mark.parametrize(("word", "meaning"), [("STOP", "error"), ("MAX_TOKENS", "length")])
def test_a_call_that_is_never_ended_is_no_clean_stop(word: str, meaning: str) -> None:
    piece = {"jsonPath": "$.city", "stringValue": "Ghe"}
    call = {"name": "rain", "willContinue": True, "partialArgs": [piece]}
    content = {"parts": [{"functionCall": call}]}
    chunk = {"candidates": [{"content": content, "finishReason": word}]}
    events = gemini_stream.Reader().feed(None, encode(chunk))
    assert [one.reason for one in events if isinstance(one, n.Finish)] == [meaning]
    assert not any(isinstance(one, n.CallStart) for one in events)


def done(part: dict[str, Any]) -> bytes:
    item = {"type": "message", "content": [part]}
    return encode({"type": "response.output_item.done", "output_index": 0, "item": item})


def test_a_refusal_that_comes_whole_is_told() -> None:
    part = {"type": "refusal", "refusal": "I cannot."}
    events = responses_stream.Reader().feed(None, done(part))
    assert events == [n.RefusalDelta(text="I cannot.")]


def test_a_refusal_that_came_in_pieces_is_told_once() -> None:
    reader = responses_stream.Reader()
    delta = {"type": "response.refusal.delta", "output_index": 0, "delta": "No."}
    assert reader.feed(None, encode(delta)) == [n.RefusalDelta(text="No.")]
    assert reader.feed(None, done({"type": "refusal", "refusal": "No."})) == []


def test_an_unknown_part_is_passed_over() -> None:
    reader = responses_stream.Reader()
    assert reader.feed(None, done({"type": "something_new"})) == []
