"""A client's connection from its CONNECT on, until it is clear what becomes of it.

    intercept   200, then its first bytes: TLS is ended here with a leaf for the tunnel's host,
                plain HTTP is taken as it is; then requests go the road of every request
    tunnel      the far end is dialled, 200, and bytes pass unread; but the first ones are looked at
                before they do, for a tunnel to an address can hide a provider's name

Phases: DIALING the far end; HELLO waiting for the client's first bytes; SECURING TLS is shaken.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import cast

from muxproxy.doors.head import Authority, Head
from muxproxy.doors.hello import Incomplete, TooLong, is_tls, named
from muxproxy.doors.http2 import of_door
from muxproxy.doors.refusals import Refused, answer
from muxproxy.doors.scope import Inside
from muxproxy.doors.state import DoorState, Tunnels
from muxproxy.doors.tunnel import TunnelEnd, dial
from muxproxy.errors import MuxError

_DIALING, _HELLO, _SECURING, _OVER = range(4)
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HELD = 256 << 10  # bytes of the client kept while the far end is dialled

# Serves HTTP/1.1 on a transport, within a tunnel, beginning with bytes that were read already.
Serve = Callable[[asyncio.Transport, Inside, bytes], None]


class Connecting(asyncio.Protocol):
    """See the module. Raises Refused for a CONNECT that is refused at once."""

    __slots__ = (
        "_buffer", "_far", "_head", "_near", "_phase", "_serve", "_state", "_task", "_tunnels",
        "deadline", "transport",
    )  # fmt: skip

    def __init__(
        self, state: DoorState, transport: asyncio.Transport, head: Head, early: bytes, serve: Serve
    ) -> None:
        if state.tunnels is None:
            raise Refused(501, "not_implemented", "CONNECT is not served here")
        self._tunnels: Tunnels = state.tunnels
        self._state = state
        self._head = head
        self._buffer = bytearray(early)
        self._serve = serve
        self._task: asyncio.Task[None] | None = None
        self._near: TunnelEnd | None = None
        self._far: TunnelEnd | None = None
        self.transport = transport
        self.deadline = math.inf
        verdict = self._tunnels.connect(self._host, self._port, head.headers)
        if isinstance(verdict, MuxError):
            raise Refused(verdict.status, verdict.code, verdict.message, verdict.headers)
        state.peers.add(self)
        transport.set_protocol(self)
        if verdict == "tunnel":
            self._phase = _DIALING
            self._task = state.loop.create_task(self._dial())
            return
        self._phase = _HELLO
        self.deadline = state.clock + state.limits.keep_alive
        transport.write(_ESTABLISHED)
        if early:
            self._look(early)

    @property
    def _authority(self) -> Authority:
        assert self._head.line.authority is not None
        return self._head.line.authority

    @property
    def _host(self) -> str:
        return self._authority[1]

    @property
    def _port(self) -> int:
        return self._authority[2]

    # Transport callbacks

    def data_received(self, data: bytes) -> None:
        if self._phase == _OVER:
            return
        self._buffer += data
        if self._phase == _HELLO:
            self._look(data)
        elif self._phase == _DIALING and len(self._buffer) > _HELD:
            with contextlib.suppress(RuntimeError):
                self.transport.pause_reading()

    def eof_received(self) -> bool:
        near = self._near
        if self._phase == _HELLO and near is not None:
            self._pass_on(near, b"")
            return near.eof_received()
        return False

    def pause_writing(self) -> None:
        if self._near is not None:
            self._near.pause_writing()

    def resume_writing(self) -> None:
        if self._near is not None:
            self._near.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        phase, self._phase = self._phase, _OVER
        self._state.peers.discard(self)
        if phase == _DIALING and self._task is not None:
            self._task.cancel()
        near, self._near = self._near, None
        if near is not None:
            near.connection_lost(exc)
        self._state.left()

    # The door's sweep

    def expired(self) -> None:
        self.abort()

    def close_if_idle(self) -> None:
        if self._phase == _HELLO and self._near is None and not self._buffer:
            self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    # A tunnel

    async def _dial(self) -> None:
        state, transport = self._state, self.transport
        try:
            sock = await dial(state, self._host, self._port)
        except Refused as refused:
            self._refuse(refused)
            return
        if self._phase != _DIALING:
            sock.close()
            return
        self._task = None
        near, far = TunnelEnd(state), TunnelEnd(state)
        near.join(far)
        near.attach(transport)
        near.read(False)
        self._near, self._far = near, far
        state.peers.discard(self)
        transport.write(_ESTABLISHED)
        await state.loop.create_connection(lambda: far, sock=sock)
        if self._near is None:  # the client left meanwhile
            return
        self._phase = _HELLO
        state.stats.tunnels += 1
        early = bytes(self._buffer)
        if self._tunnels.off:
            self._pass_on(near, early)
        elif early:
            self._look(early)
        near.read(True)

    def _pass_on(self, near: TunnelEnd, data: bytes) -> None:
        """From here on the bytes are not ours to read; `data` is what was not sent on yet."""
        self._phase = _OVER
        self._near = self._far = None
        self._buffer.clear()
        self.transport.set_protocol(near)
        if data:
            near.data_received(data)

    # The first bytes

    def _look(self, latest: bytes) -> None:
        """`latest` is the end of the buffer. A tunnel's bytes are not held back: what comes before
        a name is complete does no harm, and the last piece of it goes on only if the name may."""
        near = self._near
        if near is None:
            self._open(self._host)
            return
        try:
            name = named(bytes(self._buffer), self._state.limits)
        except Incomplete:
            near.data_received(latest)
            return
        except TooLong:
            self.abort()
            return
        verdict = "tunnel" if name is None else self._judge(name)
        if verdict == "tunnel":
            self._pass_on(near, latest)
            return
        assert name is not None
        far, self._near, self._far = self._far, None, None
        self._state.stats.tunnels -= 1
        near.part()
        if far is not None:
            far.abort()
        self._state.peers.add(self)
        if verdict == "intercept":
            self._open(name)
            return
        self._tunnels.hidden(self._host, name)
        if is_tls(self._buffer):
            self.abort()
        else:
            assert isinstance(verdict, MuxError)
            self._refuse(Refused(verdict.status, verdict.code, verdict.message))

    def _judge(self, name: str) -> object:
        """What the name says, where it says more than the CONNECT that was judged already."""
        if name.lower().removesuffix(".") == self._host.removesuffix("."):
            return "tunnel"
        verdict = self._tunnels.towards(name, self._port)
        if isinstance(verdict, MuxError) and verdict.code != "not_implemented":
            return "tunnel"  # no provider's: where the tunnel leads was allowed
        return verdict

    def _open(self, host: str) -> None:
        """What comes is for `host`, and is read here."""
        self._state.stats.intercepted += 1
        self.deadline = math.inf
        if is_tls(self._buffer):
            self._phase = _SECURING
            self._task = self._state.loop.create_task(self._secure(host))
        else:
            self._begin(self.transport, "http", host)

    async def _secure(self, host: str) -> None:
        loop, limits = self._state.loop, self._state.limits
        early = bytes(self._buffer)
        self._buffer.clear()
        try:
            context = self._tunnels.context(host)
            starting = loop.create_task(
                loop.start_tls(
                    self.transport,
                    self,
                    context,
                    server_side=True,
                    ssl_handshake_timeout=limits.header_timeout,
                    ssl_shutdown_timeout=limits.linger,
                )
            )
            # Behind what start_tls schedules itself, before the socket is read again.
            loop.call_soon(loop.call_soon, _feed, self.transport, early)
            secure = await starting
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self._over()
            reason = getattr(error, "reason", None) or ""
            # Some clients say so in an alert; Python's asyncio just closes the connection.
            if "ALERT" in reason or isinstance(error, ConnectionError):
                self._tunnels.rejected(host, _words(reason))
            self.transport.abort()
            return
        if self._phase == _OVER or secure is None:
            # Both loops come back like this from a client that hung up amid the handshake.
            self._over()
            if not self._state.closed:
                self._tunnels.rejected(host, _words(""))
            return
        self._begin(secure, "https", host)

    def _begin(self, transport: asyncio.Transport, scheme: str, host: str) -> None:
        self._over()
        key = [p for p in self._head.headers if p[0] == b"proxy-authorization"]
        inside = Inside((scheme, host, self._port), key)
        early = bytes(self._buffer)
        self._buffer.clear()
        tls = transport.get_extra_info("ssl_object")
        if scheme == "https" and tls is not None and tls.selected_alpn_protocol() == "h2":
            of_door(self._state).adopt(transport, inside, early)
        else:
            self._serve(transport, inside, early)

    def _over(self) -> None:
        self._phase = _OVER
        self._task = None
        self._state.peers.discard(self)

    def _refuse(self, refused: Refused) -> None:
        """The 200 has not been said, or the client speaks plain HTTP: it can read an answer."""
        self._state.refused(refused.code)
        self._over()
        self._state.peers.add(self)
        self._buffer.clear()
        self.deadline = self._state.clock + self._state.limits.linger
        self.transport.write(answer(refused, self._state.date))
        self.transport.close()


def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """What was read before TLS began, to the TLS that now reads the transport."""
    while data:
        # An asyncio.BufferedProtocol in both loops; uvloop's is no subclass of it.
        protocol = cast("asyncio.BufferedProtocol | None", transport.get_protocol())
        if protocol is None:  # the client has left
            return
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ") or "it closed the connection"
