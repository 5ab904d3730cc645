"""CONNECT tunnels: bytes both ways, blindly, with half-close and back-pressure.

What goes through a tunnel is not ours to read; who may open one is the policy's decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from typing import cast

import aiohappyeyeballs

from muxproxy.doors.refusals import Refused
from muxproxy.doors.state import DoorState

_BUFFER = 256 << 10


class TunnelEnd(asyncio.Protocol):
    """One of the two connections of a tunnel. `join` makes a pair."""

    __slots__ = ("_other", "deadline", "ended", "state", "transport")

    def __init__(self, state: DoorState) -> None:
        self.state = state
        self.deadline = math.inf
        self.ended = False  # this side has said all it had to say
        self._other: TunnelEnd | None = None
        self.transport: asyncio.Transport | None = None

    def attach(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=_BUFFER)
        self.state.peers.add(self)

    def join(self, other: TunnelEnd) -> None:
        self._other, other._other = other, self

    def part(self) -> None:
        """Undoes `join`: the transports go their own ways."""
        other, self._other, self.transport = self._other, None, None
        if other is not None:
            other._other = None
        self.state.peers.discard(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(cast(asyncio.Transport, transport))
        if self._other is None:  # the client left meanwhile
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self._other
        if other is None or other.transport is None:
            return False
        if other.ended or not other.transport.can_write_eof() or not self._half_closable():
            other.transport.close()
            return False
        with contextlib.suppress(OSError, RuntimeError):
            other.transport.write_eof()
        return True

    def _half_closable(self) -> bool:
        return self.transport is not None and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.read(False)

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.read(True)

    def read(self, wanted: bool) -> None:
        """Resumes or pauses reading, on a transport that may be closing."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        with contextlib.suppress(RuntimeError):
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.state.peers.discard(self)
        other, self._other = self._other, None
        if other is None:
            pass
        elif other.transport is None:
            other._other = None
        elif exc is not None:
            other.transport.abort()
        else:
            other.transport.close()
        self.state.left()

    def expired(self) -> None:
        """Tunnels have no deadline; the kernel's keep-alive finds the dead ones."""

    def close_if_idle(self) -> None:
        """Nobody can tell whether a tunnel is idle."""

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


async def dial(state: DoorState, host: str, port: int) -> socket.socket:
    """Connects to the tunnel's far end. Raises Refused."""
    loop = state.loop
    try:
        async with asyncio.timeout(state.limits.connect_timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            permit = state.permit_address
            allowed = [a for a in found if permit is None or permit(host, str(a[4][0]), port)]
            if found and not allowed:
                raise Refused(403, "forbidden", "tunnels to this address are not allowed")
            sock = await aiohappyeyeballs.start_connection(
                allowed, happy_eyeballs_delay=0.25, interleave=1, loop=loop
            )
    except TimeoutError:
        raise Refused(504, "upstream_timeout", "the host did not answer in time") from None
    except OSError:
        raise Refused(502, "upstream_connect", "the host cannot be reached") from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock
