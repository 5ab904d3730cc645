"""Signs of life in a stream whose provider thinks: comments between whole events, opt-in.

One timer per such stream; nothing per chunk. Anthropic's SDKs know a `ping` event of their own,
the others skip comment lines (WHATWG event-stream, section 9.2.5).
"""

from __future__ import annotations

import asyncio

from muxproxy import exchange as words
from muxproxy.proxy.relay import Relay

_COMMENT = b": keep-alive\n\n"
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class KeepAlive:
    """Begins when made; `stop()` once the stream is over."""

    __slots__ = ("_every", "_loop", "_relay", "_seen", "_text", "_timer")

    def __init__(self, relay: Relay, every: float, dialect: str) -> None:
        self._relay = relay
        self._every = every
        self._text = _PING if dialect == words.ANTHROPIC else _COMMENT
        self._seen = relay.bytes_out
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every, self._due)

    def _due(self) -> None:
        """Nothing came since the last look: show that we are there."""
        relay = self._relay
        if relay.end_kind is not None:
            return
        if relay.bytes_out == self._seen:
            relay.show_life(self._text)
        self._seen = relay.bytes_out
        self._timer = self._loop.call_later(self._every, self._due)

    def stop(self) -> None:
        """No more."""
        self._timer.cancel()
