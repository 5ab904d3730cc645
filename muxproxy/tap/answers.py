"""Whole JSON answers of the common APIs, read in one decode.

A short cut for documents that hold what they usually hold. `read` leaves everything else, and
says so, to `Meter.event`, which reads every shape and is the reference for this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from muxproxy.exchange import ANTHROPIC, GEMINI, OPENAI, RESPONSES
from muxproxy.tap import told
from muxproxy.tap.events import UNREADABLE, Candidate
from muxproxy.tap.meter import Meter
from muxproxy.tap.state import PLAIN


class _Choice(msgspec.Struct, gc=False):
    finish_reason: Any = None
    text: Any = None
    delta: Any = None


class _Chat(msgspec.Struct, gc=False):
    usage: Raw
    model: str
    choices: list[_Choice]
    service_tier: Any = None
    error: Any = None
    type: Any = None
    x_groq: Any = None


class _Response(msgspec.Struct, gc=False):
    usage: Raw
    model: str
    object: str
    status: Any = None
    incomplete_details: Any = None
    service_tier: Any = None
    error: Any = None
    choices: Any = None


class _Message(msgspec.Struct, gc=False):
    usage: Raw
    model: str
    type: str
    stop_reason: Any = None
    error: Any = None
    service_tier: Any = None
    choices: Any = None


class _Generated(msgspec.Struct, gc=False):
    usageMetadata: Raw
    modelVersion: str
    candidates: list[Candidate]
    model: Any = None
    error: Any = None
    type: Any = None
    usage: Any = None
    usage_metadata: Any = None
    service_tier: Any = None
    promptFeedback: Any = None
    choices: Any = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_generated = msgspec.json.Decoder(_Generated).decode


def read(meter: Meter, dialect: str, body: bytes) -> bool:
    """Takes what `body` tells into `meter`. False: nothing was taken, read it the long way.

    `dialect` says which shape to expect; a body of another shape is not taken.
    """
    reader = _READERS.get(dialect)
    try:
        return reader is not None and reader(meter, body)
    except UNREADABLE:
        return False


def _chat(meter: Meter, body: bytes) -> bool:
    answer = _decode_chat(body)
    choices = answer.choices
    if answer.error is not None or answer.type is not None or answer.x_groq is not None:
        return False
    for choice in choices:
        if choice.text is not None or choice.delta is not None:
            return False
    if not _use(meter, answer.usage, answer.model, told.CHAT):
        return False
    if answer.service_tier:
        meter.set_tier(answer.service_tier)
    for choice in choices:
        if choice.finish_reason is not None:
            meter.finish_with(choice.finish_reason)
    return True


def _response(meter: Meter, body: bytes) -> bool:
    answer = _decode_response(body)
    if answer.object != "response" or answer.error is not None or answer.choices is not None:
        return False
    if answer.status == "failed" or not _use(meter, answer.usage, answer.model, told.RESPONSES):
        return False
    if answer.service_tier:
        meter.set_tier(answer.service_tier)
    meter.end_with(answer.status, answer.incomplete_details)
    return True


def _message(meter: Meter, body: bytes) -> bool:
    answer = _decode_message(body)
    if answer.type != "message" or answer.error is not None or answer.choices is not None:
        return False
    if not _use(meter, answer.usage, answer.model, told.ANTHROPIC):
        return False
    if answer.service_tier:
        meter.set_tier(answer.service_tier)
    if answer.stop_reason:
        meter.finish_with(answer.stop_reason)
    return True


def _generated(meter: Meter, body: bytes) -> bool:
    answer = _decode_generated(body)
    for other in (
        answer.model,
        answer.error,
        answer.type,
        answer.usage,
        answer.usage_metadata,
        answer.service_tier,
        answer.promptFeedback,
        answer.choices,
    ):
        if other is not None:
            return False
    if not answer.candidates:
        return False
    if not _use(meter, answer.usageMetadata, answer.modelVersion, told.GEMINI):
        return False
    meter.take_candidates(answer.candidates)
    return True


def _use(meter: Meter, usage: Raw, model: str, reader: msgspec.json.Decoder[Any]) -> bool:
    if len(usage) <= 4:  # null
        return False
    meter.use(usage, PLAIN, reader=reader)
    if not meter.rank:  # not an object
        return False
    meter.events += 1
    meter.model = model
    return True


_READERS: dict[str, Callable[[Meter, bytes], bool]] = {
    OPENAI: _chat,
    RESPONSES: _response,
    ANTHROPIC: _message,
    GEMINI: _generated,
}
