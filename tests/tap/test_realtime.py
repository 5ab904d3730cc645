"""Usage out of realtime events."""

from __future__ import annotations

import json
from typing import Any

from muxproxy.exchange import Usage
from muxproxy.tap.realtime import RealtimeTap, added
from muxproxy.tap.websocket import BINARY, CLOSE, TEXT, frame


def fed(*events: Any, kind: int = TEXT) -> RealtimeTap:
    tap = RealtimeTap()
    for event in events:
        tap.feed(frame(kind, json.dumps(event).encode()))
    return tap


USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


def test_a_response_tells_its_usage() -> None:
    tap = fed(
        {"type": "session.created", "session": {"model": "gpt-realtime"}},
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"type": "response.done", "response": {"status": "completed", "usage": USAGE}},
    )
    (usage,) = tap.told
    assert (usage.input, usage.cache_read, usage.cache_read_audio) == (68, 64, 4)
    assert (usage.audio_in, usage.output, usage.audio_out) == (13, 121, 91)
    assert (tap.model, tap.open, tap.usage_complete) == ("gpt-realtime", 0, True)


def test_what_began_and_did_not_end_is_open() -> None:
    begun = {"type": "response.created", "response": {}}
    ended = {"type": "response.done", "response": {"usage": USAGE}}
    tap = fed(begun, ended, begun)
    assert (tap.open, len(tap.told), tap.usage_complete) == (1, 1, False)


def test_transcriptions_and_other_dialects_tell_too() -> None:
    heard = {
        "type": "conversation.item.input_audio_transcription.completed",
        "usage": {"type": "tokens", "input_tokens": 26, "output_tokens": 17},
    }
    assert fed(heard).told[0].input_total == 26
    completed = {"type": "response.completed", "response": {"usage": USAGE}}
    assert fed(completed).told[0].output == 121
    live = {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {
            "promptTokenCount": 50,
            "responseTokenCount": 70,
            "totalTokenCount": 120,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 70}],
        },
    }
    (usage,) = fed(live, kind=BINARY).told
    assert (usage.input, usage.output, usage.audio_out) == (50, 70, 70)


def test_what_cannot_be_read_is_foreign() -> None:
    tap = RealtimeTap()
    assert not tap.foreign
    tap.feed(frame(BINARY, b"\x00\x01"))
    assert tap.foreign
    tap.feed(frame(TEXT, b'{"type": "x", "usage": nonsense}'))
    assert not tap.foreign and tap.usage is None
    tap.feed(frame(CLOSE, b""))
    assert tap.closing


def test_sums_keep_apart_what_was_not_told() -> None:
    total = added(added(None, Usage(input=1, output=2)), Usage(input=3, output=4, audio_in=5))
    assert total == Usage(input=4, output=6, audio_in=5)
