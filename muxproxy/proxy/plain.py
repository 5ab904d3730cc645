"""Absolute-form requests to hosts of no provider: forwarded as any proxy would, or refused.

No rules, no budgets, metrics only. Loopback, link-local and metadata addresses are refused: a proxy
on localhost must not become a way into what only localhost can reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, MutableMapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from muxproxy.browser import is_loopback, split_host
from muxproxy.dialects import errors as dialect_errors
from muxproxy.errors import MuxError
from muxproxy.exchange import OPENAI
from muxproxy.headers import VIA, get
from muxproxy.proxy.forward import caller_headers, plain_headers
from muxproxy.proxy.relay import Relay, Sink
from muxproxy.proxy.session import Session, hand_over
from muxproxy.upstream import OriginSpec, Request

if TYPE_CHECKING:
    from muxproxy.proxy import Proxy


# Cloud metadata services; the usual one, 169.254.169.254, is link-local anyway.
_METADATA = frozenset({"metadata.google.internal", "100.100.100.200", "fd00:ec2::254"})


def is_named(host: str, names: Collection[str]) -> bool:
    """Whether `names`, as a person wrote them, hold that host."""
    return split_host(host) in {split_host(name) for name in names} if names else False


def refuse_inside(host: str, allowed: Collection[str] = (), *, loopback: bool = False) -> None:
    """Raise MuxError for an address that only this machine can reach, or that hands out secrets.

    `allowed`: hosts that the YAML names (server.inside_hosts). `loopback`: this machine's own
    addresses are no inside to whoever asks.
    """
    name = host.lower().removesuffix(".")
    if is_named(name, allowed):
        return
    inside = name in _METADATA or (is_loopback(name) and not loopback)
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:
        address = getattr(address, "ipv4_mapped", None) or address
        inside = inside or address.is_link_local or address.is_unspecified
        inside = inside or (address.is_loopback and not loopback)
    if inside:
        raise MuxError(
            "forbidden",
            f"{name} is an inside address; muxproxy forwards there only for a provider, or where "
            "server.inside_hosts names it",
        )


def is_outside(address: str) -> bool:
    """Whether an absolute-form request may lead to this address."""
    try:
        refuse_inside(address)
    except MuxError:
        return False
    return True


class _Blind:
    """A tap that sees nothing."""

    def feed(self, data: bytes) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""


async def forward_unknown(
    proxy: Proxy,
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    sink: Sink,
    authority: tuple[str, str, int],
    *,
    upgrade: bool = False,
) -> None:
    """Pass one request to the host it names, or answer why not. Never raises MuxError.
    `upgrade`: with its wish for another protocol."""
    server = proxy.snapshot.config.server
    task = asyncio.current_task()
    assert task is not None

    def client_left() -> None:  # until the relay takes over
        task.cancel("the client left")

    sink.watch(_nothing, _nothing, client_left)
    try:
        if server.unknown_hosts == "refuse":
            raise MuxError(
                "forbidden",
                f"{authority[1]} is the host of no provider (server.unknown_hosts: refuse)",
            )
        # In keys mode only our callers may use the proxy, and their keys stay here.
        proxy.snapshot.auth.caller(scope["headers"], None, scope["query_string"])
        guarded = not is_named(authority[1], server.inside_hosts)
        if guarded:
            refuse_inside(authority[1])
        relay = await _send(
            proxy, scope, receive, sink, authority, guarded=guarded, upgrade=upgrade
        )
        if relay.end_kind is None:
            await relay.wait()
        proxy.metrics.bytes_out += relay.bytes_out
    except MuxError as error:
        proxy.metrics.errors[error.code] += 1
        if not sink.gone:
            body = dialect_errors.render(OPENAI, error, None)
            length = (b"content-length", b"%d" % len(body))
            sink.start(error.status, [*dialect_errors.headers(error), length])
            sink.write(body)
            sink.end()
    except asyncio.CancelledError:
        if not sink.gone:
            raise


def _nothing() -> None:
    return None


async def _send(
    proxy: Proxy,
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    sink: Sink,
    authority: tuple[str, str, int],
    *,
    guarded: bool,
    upgrade: bool,
) -> Relay | Session:
    scheme, host, port = authority
    ours = proxy.snapshot.auth.ours(scope["headers"])
    origin = proxy.upstreams.origin(
        OriginSpec(
            scheme="https" if scheme == "https" else "http", host=host, port=port, guarded=guarded
        )
    )
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    message = await receive()
    body: bytes | AsyncIterator[bytes] = message.get("body", b"")
    length = None
    if message.get("more_body", False):
        declared = get(scope["headers"], b"content-length")
        length = int(declared) if declared is not None else None
        body = _rest(receive, message.get("body", b""))
    headers = [
        *(pair for pair in plain_headers(scope["headers"]) if pair[0] not in ours),
        (b"via", VIA),
    ]
    if upgrade:
        wish = get(scope["headers"], b"upgrade") or b""
        headers += [(b"connection", b"upgrade"), (b"upgrade", wish)]
    reply = await proxy.upstreams.send(
        origin,
        Request(
            method=scope["method"].encode(),
            target=raw + (b"?" + query if query else b""),
            headers=headers,
            body=body,
            length=length,
        ),
    )
    if reply.status == 101:
        session = Session(None, None)
        hand_over(session, sink, reply, [])
        return session
    relay = Relay(
        sink,
        reply,
        _Blind(),
        (reply.status, caller_headers(reply.headers, dict(reply.headers), [])),
    )
    sink.watch(relay.pause, relay.resume, relay.client_left)
    reply.pump(relay)
    return relay


async def _rest(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], first: bytes
) -> AsyncIterator[bytes]:
    yield first
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MuxError("request_timeout", "the client left in the middle of its upload")
        more = message.get("more_body", False)
        yield message.get("body", b"")
