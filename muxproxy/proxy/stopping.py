"""`stop_stream: true`: a running stream ends at the budget's limit, as at max_tokens.

Per read this costs one comparison of characters. Where they reach what the hold has granted, the
tokens are counted, the hold asks the budget for more, and only where that has no more the stream
is ended: after a whole event, with the dialect's own finish, and the provider is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from muxproxy import exchange as words
from muxproxy.budget import Held
from muxproxy.dialects.endings import cut_at, ending, responses_ending
from muxproxy.headers import Headers
from muxproxy.proxy.relay import Relay
from muxproxy.proxy.settling import so_far

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.translated import Stream
    from muxproxy.upstream import Reply

_AHEAD = 64  # tokens before the end of what was granted at which more is asked for
_KEPT = 16 * 1024 * 1024  # bytes of a Responses stream kept to end it properly


class _Seen(Protocol):
    @property
    def delivered_chars(self) -> int: ...


class StoppingRelay(Relay):
    """A relay whose stream a budget may end. `close(data)` gives the closing events behind data
    that ends with a whole event, or None where it cannot yet be told."""

    __slots__ = ("_close", "_count", "_grant", "_limit", "_seen", "stopped")

    def __init__(
        self,
        *args: Any,
        held: Held,
        seen: _Seen,
        count: Callable[[], int],
        close: Callable[[bytes], bytes | None],
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._grant = held
        self._seen = seen
        self._count = count
        self._close = close
        self._limit = held.allowance  # a character a token, until they were counted once
        self.stopped = False

    def data(self, data: bytes) -> None:
        """One read; the one that passes the limit is the last."""
        if self.stopped:
            return
        super().data(data)
        if self._seen.delivered_chars > self._limit:
            self._over(data)

    def _over(self, data: bytes) -> None:
        tokens, chars = self._count(), self._seen.delivered_chars
        granted = self._grant.allowance
        wanted = max(tokens, min(tokens + _AHEAD, self._grant.estimate.worst_out))
        if wanted > granted:
            granted = self._grant.extend(wanted)
        if tokens <= granted:
            # Three quarters of the way there, at the characters per token seen so far: counting
            # takes longer than a chunk, so it is to be rare, and dense only at the very limit.
            self._limit = chars + (granted - tokens) * chars * 3 // (max(tokens, 1) * 4)
            return
        if self.end_kind is not None or cut_at(self._last) != len(self._last):
            return  # in the middle of an event: the next read brings its end
        closing = self._close(self._last)
        if closing is None:
            return
        self.stopped = True
        self._flow.cancel()
        self._tap.finish()
        self.bytes_out += len(closing)
        self._sink.write(closing)
        self._sink.end()
        self._finish(words.FINISHED)


class Keeping:
    """All that went out of a Responses stream, whose end must repeat it."""

    __slots__ = ("_data", "_size")

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The relay's `Stripper`: passes everything."""
        self._size += len(data)
        if self._size <= _KEPT:
            self._data.append(data)
        return data

    def flush(self) -> bytes:
        """Nothing was held back."""
        return b""

    def whole(self) -> bytes:
        """Everything, or nothing where it was too much."""
        return b"".join(self._data) if self._size <= _KEPT else b""


def counted(exchange: Exchange) -> int:
    """Output tokens that went to the caller so far."""
    booking = exchange.booking
    tap = booking.tap
    assert tap is not None
    return exchange.proxy.counter.delivered(tap.model or booking.model or "", tap)[0]


def closer(
    exchange: Exchange, stream: Stream | None, kept: Keeping | None
) -> Callable[[bytes], bytes | None]:
    """What ends this exchange's stream."""
    ask = exchange.ask
    assert ask is not None

    def close(data: bytes) -> bytes | None:
        counts = so_far(exchange)
        if stream is not None:
            found: bytes | None = stream.stop(counts)
        elif kept is not None:
            found = responses_ending(kept.whole(), counts)
        else:
            found = ending(
                ask.dialect,
                ask.endpoint,
                data,
                counts,
                choices=max(ask.n, 1),
                with_usage=ask.include_usage is True,
            )
        if found is not None:
            exchange.booking.edits += ("stop_stream",)
        return found

    return close


def stops(exchange: Exchange, status: int) -> bool:
    """Whether a budget may end this answer's stream."""
    return exchange.booking.stops and status < 400


def stopping_relay(
    exchange: Exchange,
    reply: Reply,
    head: tuple[int, Headers],
    stream: Stream | None,
    **more: Any,
) -> StoppingRelay:
    """The relay of a stream that a budget may end; `more` as for Relay."""
    ask, held, tap = exchange.ask, exchange.booking.held, exchange.booking.tap
    assert ask is not None and held is not None and tap is not None
    kept = None
    if stream is None and ask.dialect == words.RESPONSES:
        kept = more["stripper"] = Keeping()
    return StoppingRelay(
        exchange.sink,
        reply,
        tap,
        head,
        held=held,
        seen=tap,
        count=partial(counted, exchange),
        close=closer(exchange, stream, kept),
        **more,
    )
