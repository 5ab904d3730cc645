"""Usage out of the events of a realtime session: OpenAI's Realtime and Responses, Gemini's Live.

A session has many responses; each tells its own usage at its end. Audio passes unread: an event
is decoded only where it can hold what is looked for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects.usage import normalise, number, part
from muxproxy.exchange import Usage
from muxproxy.tap.state import State
from muxproxy.tap.websocket import BINARY, CLOSE, TEXT, Messages

_TELLING = (b'"usage', b'"response.created"', b'"session.', b'"response.cancelled"')
_ENDS = frozenset({"response.done", "response.completed", "response.incomplete", "response.failed"})
_ADDED = (
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_in",
    "audio_out", "images", "images_out", "cache_read_audio", "requests", "reported_cost",
)  # fmt: skip


def added(one: Usage | None, other: Usage) -> Usage:
    """The sum; what neither side told stays untold."""
    if one is None:
        return other
    sums: dict[str, Any] = {}
    for name in _ADDED:
        a, b = getattr(one, name), getattr(other, name)
        sums[name] = b if a is None else a if b is None else a + b
    return Usage(tier=other.tier or one.tier, **sums)


class RealtimeTap(State):
    """Watches what the provider sends. `told` are usages since they were last taken out of it;
    `total` all of them; `open` responses that began and have not ended; `closing`: the provider
    said goodbye; `foreign`: there were messages, and none that could be read."""

    __slots__ = ("_messages", "_read", "_seen", "closing", "last", "open", "told", "total")

    def __init__(self) -> None:
        State.__init__(self)
        self._messages = Messages()
        self._seen = self._read = 0
        self.closing = False
        self.open = 0
        self.told: list[Usage] = []
        self.total: Usage | None = None
        self.last: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        return self.total

    @property
    def usage_complete(self) -> bool:
        return not self.open

    @property
    def usage_raw(self) -> bytes | None:
        return None

    @property
    def foreign(self) -> bool:
        return self._messages.broken or (self._seen > 0 and not self._read)

    @property
    def between(self) -> bool:
        """An event may be put in behind what was seen."""
        return self._messages.between

    def feed(self, data: bytes) -> None:
        """What the provider sends, as it sends it."""
        for kind, payload in self._messages.feed(data):
            if kind == CLOSE:
                self.closing = True
            elif kind in (TEXT, BINARY):
                self._seen += 1
                if payload is not None and payload[:1] == b"{":
                    self._read += 1
                    self.events += 1
                    if any(word in payload for word in _TELLING):
                        self._event(payload)

    def finish(self) -> None:
        """There is no end to be read."""

    def _event(self, payload: bytes) -> None:
        try:
            event = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if not isinstance(event, dict):
            return
        kind = event.get("type")
        response = event.get("response")
        inner = response if isinstance(response, dict) else {}
        session = event.get("session")
        if isinstance(session, dict) and isinstance(session.get("model"), str):
            self.model = session["model"]
        if kind == "response.created":
            self.open += 1
        elif kind in _ENDS:
            self.open = max(self.open - 1, 0)
            self.finish_reason = str(inner.get("status") or "")[:64] or None
        native = inner.get("usage") or event.get("usage") or event.get("usageMetadata")
        if isinstance(native, dict):
            self._use(native)

    def _use(self, native: dict[str, Any]) -> None:
        if "responseTokenCount" in native:  # what Live calls candidates
            native = {**native, "candidatesTokenCount": native["responseTokenCount"]}
            details = native.get("responseTokensDetails")
            native.setdefault("candidatesTokensDetails", details)
        usage = normalise(native)
        if usage is not None:
            cached = part(part(native, "input_token_details"), "cached_tokens_details")
            usage.cache_read_audio = number(cached.get("audio_tokens"))
            self.told.append(usage)
            self.last = usage
            self.total = added(self.total, usage)
