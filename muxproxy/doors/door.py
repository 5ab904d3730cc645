"""A door: listening sockets, their connections, the sweep of deadlines, and stopping in steps.

listen(...)*  ->  stop_accepting()  ->  drain(seconds)  ->  abort_all()  ->  aclose()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from typing import Any

from muxproxy.doors.connection import Connection
from muxproxy.doors.http2 import of_door
from muxproxy.doors.limits import DoorLimits, DoorStats
from muxproxy.doors.state import App, DoorState, PermitAddress, Tunnels
from muxproxy.doors.tls import DoorTls, server_context

_BACKLOG = 4096


class _Listener:
    """One listening socket with its asyncio server."""

    __slots__ = ("context", "path", "server", "sock", "spare")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, path: str | None):
        self.sock = sock
        # Shares the kernel's queue with `sock`: after the server closed `sock`, connections that
        # were established but not yet accepted can still be taken from here.
        self.spare = sock.dup()
        self.context = context
        self.path = path
        self.server: asyncio.Server | None = None


class Door:
    """Serves one ASGI app on any number of addresses. Must be made on a running loop.

    `tunnels` decides about CONNECT; None refuses every one with 501. `permit_address(host, ip,
    port)` then decides about each address that a tunnel's host resolved to. The app is never
    cancelled because its client left; `abort_all` cancels it.
    """

    def __init__(
        self,
        app: App,
        limits: DoorLimits | None = None,
        *,
        tunnels: Tunnels | None = None,
        permit_address: PermitAddress | None = None,
    ) -> None:
        self._state = DoorState(app, limits or DoorLimits(), asyncio.get_running_loop())
        self._state.tunnels = tunnels
        self._state.permit_address = permit_address
        self._listeners: list[_Listener] = []
        self._names: list[str] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def limits(self) -> DoorLimits:
        return self._state.limits

    @property
    def stats(self) -> DoorStats:
        return self._state.stats

    @property
    def open_connections(self) -> int:
        return len(self._state.peers)

    @property
    def in_flight(self) -> int:
        """Calls of the app under way."""
        return len(self._state.running)

    @property
    def addresses(self) -> list[str]:
        """host:port and unix:/path of every listening socket, as bound; kept after closing."""
        return list(self._names)

    @property
    def port(self) -> int:
        """The port of the first TCP listener. Raises LookupError where there is none."""
        for name in self._names:
            if not name.startswith("unix:"):
                return int(name.rpartition(":")[2])
        raise LookupError("this door has no TCP listener")

    async def listen(self, address: str, tls: DoorTls | None = None) -> None:
        """`address` is host:port, :port (every interface), [v6]:port or unix:/path. Port 0 takes
        a free one. Raises OSError (the address), ssl.SSLError (the certificate), ValueError."""
        context = server_context(tls) if tls is not None else None
        if tls is not None and tls.http2:
            of_door(self._state)
        for listener in [_Listener(s, context, p) for s, p in await _bind(address)]:
            self._listeners.append(listener)
            self._names.append(_name(listener))
            await self._serve(listener)
        if self._sweeper is None:
            self._sweep()

    async def _serve(self, listener: _Listener) -> None:
        loop = self._state.loop
        limits = self._state.limits
        secure = listener.context is not None
        if listener.path is not None:
            listener.server = await loop.create_unix_server(
                self._connection,
                sock=listener.sock,
                ssl=listener.context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=limits.header_timeout if secure else None,
                ssl_shutdown_timeout=limits.linger if secure else None,
            )
        else:
            listener.server = await loop.create_server(
                self._connection,
                sock=listener.sock,
                ssl=listener.context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=limits.header_timeout if secure else None,
                ssl_shutdown_timeout=limits.linger if secure else None,
            )

    def _connection(self) -> Connection:
        return Connection(self._state)

    def _sweep(self) -> None:
        state = self._state
        now = state.loop.time()
        state.tick()
        for peer in [p for p in state.peers if p.deadline < now]:
            peer.expired()
        if state.draining:
            self.close_idle()
        self._sweeper = state.loop.call_later(state.interval, self._sweep)

    # Stopping

    def stop_accepting(self) -> None:
        """Closes the listening sockets. Connections the kernel had already established are
        still served: their clients may have sent a request."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            if listener.server is not None:
                listener.server.close()
            listener.spare.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.spare.accept()
                    task = self._state.loop.create_task(self._accept(listener, sock))
                    self._accepting.add(task)
                    task.add_done_callback(self._accepting.discard)
            listener.spare.close()
            if listener.path is not None:
                with contextlib.suppress(OSError):
                    os.unlink(listener.path)

    async def _accept(self, listener: _Listener, sock: socket.socket) -> None:
        sock.setblocking(False)
        limits, secure = self._state.limits, listener.context is not None
        with contextlib.suppress(OSError):
            await self._state.loop.connect_accepted_socket(
                self._connection,
                sock,
                ssl=listener.context,
                ssl_handshake_timeout=limits.header_timeout if secure else None,
                ssl_shutdown_timeout=limits.linger if secure else None,
            )

    def close_idle(self) -> None:
        """Closes the connections that are between two requests."""
        for peer in list(self._state.peers):
            peer.close_if_idle()

    async def drain(self, timeout: float) -> bool:
        """Lets what is in flight end, every response now announcing `connection: close`.
        True: all ended within `timeout` seconds. Call stop_accepting first."""
        state = self._state
        state.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if state.http2 is not None:
                    await state.http2.drain()
                if self._accepting:
                    await asyncio.wait(self._accepting)
                self.close_idle()
                state.left()
                await state.emptied.wait()
        return not state.peers and not state.running

    def abort_all(self) -> None:
        """Cancels the app's calls and resets every connection."""
        for running in list(self._state.running):
            running.cancel()
        for peer in list(self._state.peers):
            peer.abort()

    async def aclose(self) -> None:
        """Stops at once whatever is left, and waits for the app's calls to end."""
        self._state.draining = self._state.closed = True
        self.stop_accepting()
        tasks: set[asyncio.Task[Any]] = {r.task for r in self._state.running if r.task is not None}
        tasks |= self._accepting
        if self._state.http2 is not None:
            tasks |= self._state.http2.serving
        self.abort_all()
        if tasks:
            await asyncio.wait(tasks)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def _name(listener: _Listener) -> str:
    if listener.path is not None:
        return f"unix:{listener.path}"
    host, port = listener.sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _bind(address: str) -> list[tuple[socket.socket, str | None]]:
    """Bound, non-blocking sockets; for a host name one for each of its addresses."""
    if address.startswith("unix:"):
        path = address[5:]
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(path)
        except OSError:
            sock.close()
            raise
        return [_ready(sock, path)]
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"not an address to listen on: {address!r}")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[tuple[socket.socket, str | None]] = []
    try:
        for family, kind, proto, _, where in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            sockets.append((sock, None))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
            _ready(sock, None)
    except OSError:
        for sock, _path in sockets:
            sock.close()
        raise
    return sockets


def _ready(sock: socket.socket, path: str | None) -> tuple[socket.socket, str | None]:
    sock.setblocking(False)
    sock.listen(_BACKLOG)
    return sock, path


def _remove_stale(path: str) -> None:
    """A socket file that nobody listens on any more is in the way of bind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
