"""From an OriginSpec to an open, attached connection: DNS, TCP, CONNECT, TLS.

Every failure, cancellation included, leaves no socket behind.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from aiohappyeyeballs import start_connection

from muxproxy.headers import VIA
from muxproxy.upstream.egress import ProxyAddress
from muxproxy.upstream.resolve import AddrInfo, Resolver
from muxproxy.upstream.spec import OriginSpec, UpstreamError, bracketed
from muxproxy.upstream.trust import Trust

_EYEBALLS_DELAY = 0.25  # seconds before the next address is tried beside the first (RFC 8305)
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_MAX_CONNECT_ANSWER = 16384
_CONNECT_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_TLS_SHUTDOWN = 1.0  # seconds a peer has to answer our close_notify


# Whether a guarded origin may be reached at this address.
Permit = Callable[[str], bool]


class Attached(Protocol):
    """The protocol that is to own the transport. `raw` is the TCP transport below TLS."""

    def attach(self, transport: asyncio.Transport, raw: asyncio.Transport) -> None: ...


class _Line(asyncio.Protocol):
    """Holds a raw transport until TLS starts; reads a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.seen = b""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(self) -> bytes:
        """The answer's head. Raises ConnectionError when the proxy closes or says too much."""
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self.seen += data
        end = self.seen.find(b"\r\n\r\n") + 4
        if end == len(self.seen) or (end > 3 and not _is_good(self.seen)):
            self._answer.set_result(self.seen)
        elif end > 3 or len(self.seen) > _MAX_CONNECT_ANSWER:
            # Bytes behind the head cannot be TLS: the client speaks first.
            self._answer.set_exception(ConnectionError("unexpected bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))
            self._answer.exception()  # nobody waits for it on a direct connection


class Dialer:
    """Opens connections for all origins; owns the DNS cache and the TLS contexts."""

    def __init__(self, resolver: Resolver, permit: Permit | None = None) -> None:
        self.resolver = resolver
        self._permit = permit
        self._trust = Trust()

    async def dial(
        self, spec: OriginSpec, proxy: ProxyAddress | None, owner: Attached, limit: float
    ) -> None:
        """Open within `limit` seconds, then owner.attach(). Raises UpstreamError (dns, connect,
        tls, timeout)."""
        try:
            async with asyncio.timeout(limit):
                await self._open(spec, proxy, owner)
        except TimeoutError as error:
            setting = "connect" if limit >= spec.connect else "total"
            raise UpstreamError(
                "timeout",
                f"no connection to {spec.label} within {limit:.3g} s: check the network and"
                f" the provider's timeouts.{setting}",
            ) from error

    async def _open(self, spec: OriginSpec, proxy: ProxyAddress | None, owner: Attached) -> None:
        line = _Line()
        raw = await self._raw(spec, proxy, line)
        try:
            if proxy is not None and spec.scheme == "https":
                await _connect_through(proxy, spec, raw, line)
            transport = raw
            if spec.scheme == "https":
                transport = await self._secure(spec, raw, owner)
            elif line.seen:
                raise UpstreamError(
                    "protocol", f"{spec.label} speaks unasked: it is no HTTP server"
                )
            else:
                raw.set_protocol(owner)  # type: ignore[arg-type]
            owner.attach(transport, raw)
        except BaseException:
            raw.abort()
            raise

    async def _raw(
        self, spec: OriginSpec, proxy: ProxyAddress | None, line: _Line
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        if spec.scheme == "http+unix":
            try:
                transport, _ = await loop.create_unix_connection(lambda: line, spec.host)
            except OSError as error:
                raise _refused(spec.label, error) from error
            return transport
        host, port = spec.connect_to or (spec.host, spec.port)
        if proxy:
            host, port = proxy.host, proxy.port
        label = f"{bracketed(host)}:{port}"
        if proxy:
            label = f"egress proxy {label}"
        try:
            infos = await self.resolver.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UpstreamError(
                "dns", f"cannot resolve {label}: check the name in the configuration, and DNS"
            ) from error
        if spec.guarded and proxy is None and self._permit is not None:
            infos = [info for info in infos if self._permit(str(info[4][0]))]
            if not infos:
                raise UpstreamError(
                    "connect",
                    f"{label} is an inside address; muxproxy forwards there only for a provider,"
                    " or where server.inside_hosts names it",
                    code="forbidden",
                )
        try:
            sock = await start_connection(
                infos,
                happy_eyeballs_delay=_EYEBALLS_DELAY,
                loop=loop,
                socket_factory=_socket,
            )
            transport, _ = await loop.create_connection(lambda: line, sock=sock)
        except (OSError, RuntimeError) as error:
            self.resolver.forget(host, port)
            if isinstance(error, TimeoutError):
                raise
            raise _refused(label, error) from error
        return transport

    async def _secure(
        self, spec: OriginSpec, raw: asyncio.Transport, owner: Attached
    ) -> asyncio.Transport:
        try:
            context = await self._trust.context(spec.ca, spec.verify)
        except (OSError, ssl.SSLError) as error:
            raise UpstreamError(
                "tls", f"cannot read the CA file for {spec.label}: {spec.ca}"
            ) from error
        try:
            secure = await asyncio.get_running_loop().start_tls(
                raw,
                owner,  # type: ignore[arg-type]
                context,
                server_hostname=spec.host,
                ssl_handshake_timeout=spec.connect,
                ssl_shutdown_timeout=_TLS_SHUTDOWN,
            )
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError(
                "tls",
                f"the certificate of {spec.label} is not trusted ({error.verify_message}):"
                " set the provider's `ca`, or correct base_url",
            ) from error
        except (OSError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):
                raise
            reason = getattr(error, "reason", None) or type(error).__name__
            raise UpstreamError(
                "tls", f"no TLS with {spec.label} ({reason}): does it speak https on this port?"
            ) from error
        if secure is None:  # a stdlib loop says so when the peer left amid the handshake
            raise UpstreamError("tls", f"{spec.label} closed the connection amid the handshake")
        return secure


async def _connect_through(
    proxy: ProxyAddress, spec: OriginSpec, raw: asyncio.Transport, line: _Line
) -> None:
    host, port = spec.connect_to or (spec.host, spec.port)
    where = f"{bracketed(host)}:{port}".encode("ascii")
    head = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nvia: %b\r\n" % (where, where, VIA)
    if proxy.authorization:
        head += b"proxy-authorization: %b\r\n" % proxy.authorization
    raw.write(head + b"\r\n")
    label = f"the egress proxy {bracketed(proxy.host)}:{proxy.port}"
    try:
        answer = await line.answer()
    except ConnectionError as error:
        raise UpstreamError("connect", f"{label} broke off CONNECT to {spec.label}") from error
    status = _status(answer)
    if status == 407:
        raise UpstreamError("connect", f"{label} wants other credentials (407): check its URL")
    if status == 508:
        raise UpstreamError(
            "connect",
            f"{label} leads back here (508): set the provider's `proxy` to none, or unset"
            " HTTPS_PROXY where muxproxy runs",
        )
    if not 200 <= status < 300:
        said = str(status) if status else "no HTTP"
        raise UpstreamError("connect", f"{label} refused CONNECT to {spec.label} ({said})")


def _status(answer: bytes) -> int:
    match = _CONNECT_STATUS.match(answer)
    return int(match[1]) if match else 0


def _is_good(answer: bytes) -> bool:
    return 200 <= _status(answer) < 300


def _socket(info: AddrInfo) -> socket.socket:
    sock = socket.socket(info[0], info[1], info[2])
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # Linux; macOS knows other names
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except BaseException:
        sock.close()
        raise
    return sock


def _refused(label: str, error: OSError | RuntimeError) -> UpstreamError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return UpstreamError(
        "connect", f"cannot connect to {label} ({reason}): is it running and reachable from here?"
    )
