"""The ASGI scope of a request."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from muxproxy.doors.head import Authority, Head
from muxproxy.doors.splice import Splice
from muxproxy.headers import Headers

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Inside(msgspec.Struct, frozen=True):
    """The tunnel that a connection runs in. `authority` is where its requests go, whatever they
    say themselves; `headers`: the credential that opened it, for each of them."""

    authority: Authority
    headers: Headers

    def enter(self, headers: Headers) -> Headers:
        """A request's fields with the tunnel's own in place of what it says of them."""
        return [p for p in headers if p[0] != b"proxy-authorization"] + self.headers


# scheme, client, server, the tunnel: the same for all requests of a connection.
Ends = tuple[str, tuple[str, int] | None, tuple[str, int | None], Inside | None]


def ends_of(transport: asyncio.BaseTransport, tls: bool, inside: Inside | None) -> Ends:
    """Who talks to whom. A Unix socket has no client, and its path for a server."""
    peer, name = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return (
        "https" if tls else "http",
        (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None,
        (str(name[0]), int(name[1])) if isinstance(name, tuple) else (str(name), None),
        inside,
    )


def http_scope(head: Head, splice: Splice, arrived: int, ends: Ends) -> dict[str, Any]:
    """`arrived` is perf_counter_ns() when the request's first byte was read. The extensions are:
    muxproxy.splice, muxproxy.target ("origin" | "absolute"), muxproxy.authority ((scheme, host,
    port) of an absolute-form target or a tunnel), muxproxy.accepted (`arrived`) and muxproxy.memo
    (a dict that requests share whose heads differ in Content-Length at most)."""
    line = head.line
    scheme, client, server, inside = ends
    headers, authority = head.headers, line.authority
    if inside is not None:
        headers, authority = inside.enter(headers), inside.authority
    extensions: dict[str, Any] = {
        "muxproxy.splice": splice,
        "muxproxy.target": "origin" if authority is None else "absolute",
        "muxproxy.accepted": arrived,
        "muxproxy.memo": head.memo,
    }
    if authority is not None:
        extensions["muxproxy.authority"] = authority
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": line.version,
        "method": line.method,
        "scheme": scheme,
        "path": line.path,
        "raw_path": line.raw_path,
        "query_string": line.query,
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
        "extensions": extensions,
    }
