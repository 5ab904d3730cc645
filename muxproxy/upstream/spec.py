"""The values of the upstream client: where to, what to send, who takes the body, how it fails."""

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

from muxproxy.errors import MuxError
from muxproxy.headers import Headers

Cause = Literal["connect", "tls", "dns", "timeout", "reset", "protocol", "stale"]

# What each cause is to the caller (see errors.CODES).
_CODES: dict[str, str] = {
    "connect": "upstream_connect",
    "tls": "upstream_connect",
    "dns": "upstream_connect",
    "timeout": "upstream_timeout",
    "reset": "upstream_died",
    "stale": "upstream_died",
    "protocol": "upstream_protocol",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UpstreamError(MuxError):
    """An exchange that failed on the upstream side.

    `cause`: connect, tls, dns, timeout, reset (closed without or amid an answer), protocol (an
    answer that is no HTTP), stale (a pooled connection turned out to be closed).
    `sent`: whether any byte of the request had been handed to the socket, so it may have cost.
    The message names the host and what to do; it never holds a secret.
    """

    def __init__(
        self, cause: Cause, message: str, *, sent: bool = False, code: str | None = None
    ) -> None:
        super().__init__(code or _CODES[cause], message)
        self.cause = cause
        self.sent = sent


class Consumer(Protocol):
    """Takes a body, synchronously, on the loop's thread.

    data() once per socket read, with de-chunked bytes, never empty; then exactly one of end()
    and broken(), or neither after Reply.cancel().
    """

    def data(self, data: bytes, /) -> None: ...
    def end(self) -> None: ...
    def broken(self, error: UpstreamError, /) -> None: ...


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Time-outs of one request in place of its origin's; seconds, see OriginSpec."""

    connect: float
    first_byte: float
    idle: float


class Request(msgspec.Struct, kw_only=True):
    """One request. Times are perf_counter_ns.

    `target` is path and query. `headers` are end-to-end, lower case; host, content-length and
    transfer-encoding among them are skipped, the client writes its own.
    A `body` that is an async iterator goes out chunked, or with content-length if `length` is
    given (its parts must add up to it, or the connection is broken off).
    `deadline_ns`: when the whole exchange must be over (0: what the origin's `total` says).
    `times`: its own time-outs (None: the origin's). `sent` becomes true with its first byte.
    """

    method: bytes
    target: bytes
    headers: Headers
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None
    deadline_ns: int = 0
    times: Times | None = None
    sent: bool = False


class OriginSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pool's connections lead and its limits; equal specs share one pool.

    `host`: a name, an address without brackets, or for http+unix the socket's path.
    `ca`: PEM file trusted besides the system's store. `proxy`: egress proxy as URL or None;
    may hold credentials, so repr leaves it out. Times are seconds: `connect` covers DNS, TCP,
    TLS and the wait for a free connection; `first_byte` request sent to head; `idle` between two
    reads of a body; `total` the whole exchange (None: no limit). `guarded`: only to addresses
    that the client's `permit` lets pass, whatever the name resolves to. `connect_to`: host and port
    to connect to in place of its own, which TLS and Host keep.
    """

    scheme: Literal["http", "https", "http+unix"]
    host: str
    port: int = 0
    ca: str | None = None
    verify: bool = True
    proxy: str | None = None
    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 120.0
    total: float | None = None
    max_connections: int = 1000
    max_idle: int = 100
    idle_expiry: float = 50.0
    guarded: bool = False
    connect_to: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return f"OriginSpec({self.scheme}://{self.label}{', proxied' if self.proxy else ''})"

    @property
    def label(self) -> str:
        """host:port for messages."""
        if self.scheme == "http+unix":
            return f"unix:{self.host}"
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host field's value: without the scheme's own port (RFC 9110 section 4.2.3)."""
        if self.scheme == "http+unix":
            return "localhost"
        host = bracketed(self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class OriginStats(msgspec.Struct, kw_only=True):
    """Counts of one pool. open = idle + in_flight; the totals only grow."""

    origin: str
    open: int
    idle: int
    in_flight: int
    opening: int
    waiting: int
    connects_total: int
    reused_total: int
    stale_retries_total: int

    def figures(self) -> dict[str, int]:
        """The counts by name, without what is but a moment's."""
        return {k: v for k, v in msgspec.structs.asdict(self).items() if k not in _NOT_SHOWN}


_NOT_SHOWN = ("origin", "opening")


def bracketed(host: str) -> str:
    """An IPv6 address as it stands in an authority."""
    return f"[{host}]" if ":" in host else host
