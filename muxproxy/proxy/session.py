"""An upgraded connection (WebSocket): bytes both ways as they come, watched, held and settled.

A session has many responses, each of which may cost as much as a call. So each is settled when it
ends, and the next one held for before it is asked for; a budget that cannot take it ends the
session. What was settled is in the books though we be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import msgspec

from muxproxy import exchange as words
from muxproxy.budget import Downgrade
from muxproxy.dialects import errors as dialect_errors
from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError
from muxproxy.exchange import Usage
from muxproxy.headers import Headers
from muxproxy.proxy.forward import caller_headers
from muxproxy.tap.realtime import RealtimeTap
from muxproxy.tap.state import State
from muxproxy.tap.websocket import CLOSE, TEXT, frame

if TYPE_CHECKING:
    from muxproxy.proxy.outbound import Outbound
    from muxproxy.proxy.relay import Sink
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.snapshot import Service
    from muxproxy.upstream import Reply

_BUFFER = 256 << 10
# Offers that would hide the frames from the tap; both sides then speak plainly.
_EXTENSIONS = b"sec-websocket-extensions"
_POLICY, _GOING_AWAY = (1008).to_bytes(2), (1001).to_bytes(2)  # RFC 6455 section 7.4.1


def upgraded(route: Route, scope: MutableMapping[str, Any], fields: dict[bytes, bytes]) -> Route:
    """The route of a request that wants another protocol, or `route` where that is of no account
    (RFC 9110 section 7.8 lets a server ignore it): h2c, and wishes with a body."""
    protocol = fields[b"upgrade"].lower()
    if protocol.startswith(b"h2c") or scope["method"] != "GET" or b"content-length" in fields:
        return route
    query = parse_qs(scope["query_string"].decode("latin-1"))
    model = next((query[name][0] for name in ("model", "deployment") if name in query), None)
    return msgspec.structs.replace(route, endpoint=words.REALTIME, model=route.model or model)


def refuse_upgrade(route: Route, wanted: str) -> None:
    """Raise MuxError 426 where the provider's `websocket:` is not for this path: Codex then posts
    at once (404, 405 and 501 make it try seven times)."""
    if wanted == "off" or (wanted == "auto" and route.dialect == words.RESPONSES):
        raise MuxError(
            "upgrade_required",
            "WebSocket is not served here; POST with stream: true instead",
            headers=[(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")],
        )


def upgrade_headers(headers: Headers, fields: dict[bytes, bytes]) -> Headers:
    """The request's fields as they go upstream, with the wish that they belong to."""
    out = [pair for pair in headers if pair[0] != _EXTENSIONS]
    return [*out, (b"connection", b"upgrade"), (b"upgrade", fields[b"upgrade"])]


class _Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self, session: Session, transport: asyncio.Transport, watched: bool) -> None:
        self.session = session
        self.transport = transport
        self.watched = watched  # the provider's
        self.other: _Side = self
        self.over = False

    def data_received(self, data: bytes) -> None:
        self.session.passed(self, data)

    def eof_received(self) -> bool:
        return False  # neither side of a WebSocket speaks on after the other has hung up

    def pause_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.session.lost(self, exc)


class Session:
    """Stands where a relay stands for other answers. `end_kind` says how it ended."""

    started = True

    def __init__(self, exchange: Exchange | None, tap: RealtimeTap | None) -> None:
        """Without an exchange nothing is booked, and there must be no tap."""
        self._exchange = exchange
        self._tap = tap
        self._client: _Side
        self._provider: _Side
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.end_kind: str | None = None
        self.error: MuxError | None = None
        self.bytes_out = 0
        self.bytes_in = 0

    def begin(
        self,
        client: asyncio.Transport,
        provider: asyncio.Transport,
        early: bytes,
        leftover: bytes,
    ) -> None:
        """Join the two; `early` came from the client, `leftover` from the provider already."""
        self._client = _Side(self, client, False)
        self._provider = _Side(self, provider, True)
        self._client.other, self._provider.other = self._provider, self._client
        for side in (self._client, self._provider):
            side.transport.set_write_buffer_limits(high=_BUFFER)
            side.transport.set_protocol(side)
        if early:
            self.passed(self._client, early)
        if leftover:
            self.passed(self._provider, leftover)
        for side in (self._client, self._provider):
            if side.transport.is_closing():
                self.lost(side, None)
                return
            with contextlib.suppress(RuntimeError):  # it is read already
                side.transport.resume_reading()

    async def wait(self) -> None:
        """Until it is over. Whoever cancels this has to `stop` it."""
        await self._done

    def passed(self, side: _Side, data: bytes) -> None:
        """Bytes from one side on their way to the other."""
        if self.end_kind is not None:
            return
        if not side.watched:
            self.bytes_in += len(data)
            side.other.transport.write(data)
            return
        self.bytes_out += len(data)
        side.other.transport.write(data)
        tap = self._tap
        if tap is not None:
            tap.feed(data)
            if tap.told:
                told, tap.told = tap.told, []
                for usage in told:
                    self._book(usage)

    def _book(self, usage: Usage) -> None:
        assert self._exchange is not None
        try:
            waiter = settle_response(self._exchange, usage)
        except MuxError as error:
            self.stop(words.ERROR, error)
            return
        if waiter is not None:
            waiter.add_done_callback(self._journaled)

    def _journaled(self, waiter: asyncio.Future[None]) -> None:
        error = None if waiter.cancelled() else waiter.exception()
        assert self._exchange is not None
        if isinstance(error, MuxError) and not self._exchange.proxy.passes_without_ledger:
            self.stop(words.ERROR, error)

    def lost(self, side: _Side, exc: Exception | None) -> None:
        """One side is closed: so is the other, with what is still on its way to it."""
        if exc is not None and not side.other.over:
            side.other.transport.abort()
        tap = self._tap
        if tap is None or tap.closing or tap.foreign:
            self._finish(words.FINISHED)
        else:
            self._finish(words.UPSTREAM_DIED if side.watched else words.CLIENT_LEFT)

    # -- as a relay -------------------------------------------------------------------------

    def pause(self) -> None:
        """The sides see to it themselves."""

    def resume(self) -> None:
        """Likewise."""

    def client_left(self) -> None:
        """The client's side says so itself."""

    def stop(self, kind: str, error: MuxError | None = None) -> None:
        """End it from here, with an event that says why where one can be put in."""
        if self.end_kind is not None:
            return
        self.error = error
        client = self._client.transport
        if error is not None and self._tap is not None and self._tap.between:
            assert self._exchange is not None
            ask = self._exchange.ask
            body = msgspec.json.decode(
                dialect_errors.render(
                    words.OPENAI if ask is None else ask.dialect,
                    error,
                    self._exchange.booking.public_id,
                )
            )
            event = msgspec.json.encode({"type": "error", **body})
            code = _GOING_AWAY if error.code == "shutting_down" else _POLICY
            reason = error.code.encode("ascii")
            client.write(frame(TEXT, event) + frame(CLOSE, code + reason))
        self._finish(kind)

    def _finish(self, kind: str) -> None:
        if self.end_kind is None:
            self.end_kind = kind
            for side in (self._client, self._provider):
                side.transport.close()  # what is on its way still goes out
            if not self._done.done():
                self._done.set_result(None)


async def converse(exchange: Exchange, service: Service, outbound: Outbound, reply: Reply) -> None:
    """The provider said 101: hand the caller's connection over, and stay until both are closed."""
    ask, plan, booking = exchange.ask, exchange.plan, exchange.booking
    assert ask is not None and plan is not None and exchange.target is not None
    names = dict(reply.headers)
    websocket = exchange.fields[b"upgrade"].lower() == b"websocket"
    tap = RealtimeTap() if websocket and _EXTENSIONS not in names else None
    booking.tap = tap if tap is not None else State()
    booking.observe_reply(service, outbound, reply, exchange.caller)
    booking.overhead_us = exchange.overhead_us(reply)
    session = exchange.relay = Session(exchange, tap)
    if hand_over(session, exchange.sink, reply, booking.headers(plan, exchange.target)):
        await session.wait()


def hand_over(session: Session, sink: Sink, reply: Reply, ours: Headers) -> bool:
    """Pass the 101 on and join the connections; False: the caller has left."""
    names = dict(reply.headers)
    headers = caller_headers(reply.headers, names, ours)
    headers += [(b"connection", b"upgrade"), (b"upgrade", names.get(b"upgrade", b"websocket"))]
    head = b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n\r\n" % b"\r\n".join(map(_LINE, headers))
    provider, leftover = reply.detach()
    try:
        client, early = cast(Any, sink).take_over(head)
    except ConnectionError:
        provider.abort()
        session.end_kind = words.CLIENT_LEFT
        return False
    session.begin(client, provider, early, leftover)
    return True


_LINE = b": ".join


def settle_response(exchange: Exchange, usage: Usage) -> asyncio.Future[None] | None:
    """Book one response of a session, and hold for the next; what says that it is written.

    Raises MuxError where a budget cannot take the next: nothing is held then.
    """
    booking, proxy, now = exchange.booking, exchange.proxy, time.time()
    held = booking.held
    if held is None:
        return None
    cost = booking.price_of(usage)
    if cost is None:
        booking.unknown = True
    else:
        booking.owed_nano += cost
    spends = held.settle(cost, usage.input_total + usage.output_total, now)
    booking.held = None
    if booking.journaled:
        proxy.ledger.release(booking.hold_id, spends)
    call = msgspec.structs.replace(
        held.call,
        # A session's next prompt holds all that was said before.
        estimate=msgspec.structs.replace(held.call.estimate, tokens_in=usage.input_total),
        context=(*held.call.context[:3], now),
    )
    verdict = proxy.budgets.hold(call, now)
    if isinstance(verdict, Downgrade):
        raise verdict.error
    booking.held = verdict
    waiter = booking.journal(verdict, call.caller)
    return None if waiter is None else asyncio.ensure_future(waiter)
