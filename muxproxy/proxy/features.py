"""What is kept of an Ask with its call, so that it can be replayed: its numbers, never its text."""

from __future__ import annotations

import msgspec

from muxproxy.exchange import Ask


class Features(msgspec.Struct):
    """The Ask's numbers, kept with the call so that it can be replayed; never its text."""

    model: str | None
    tools: bool
    images: bool
    json: bool
    messages: int
    prompt_chars: int
    prompt_tokens: int
    max_tokens: int | None
    n: int


_encode = msgspec.json.Encoder().encode


def features(ask: Ask) -> bytes:
    """As JSON, for the receipt."""
    return _encode(
        Features(
            ask.model,
            ask.tools,
            ask.images,
            ask.json,
            ask.messages,
            ask.prompt_chars,
            ask.prompt_tokens,
            ask.max_tokens,
            ask.n,
        )
    )
