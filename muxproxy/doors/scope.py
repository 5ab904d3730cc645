"""The ASGI scope of a request."""

from __future__ import annotations

import asyncio
from typing import Any

from muxproxy.doors.head import Head
from muxproxy.doors.splice import Splice

_ASGI = {"version": "3.0", "spec_version": "2.3"}

# scheme, client, server: the same for all requests of a connection.
Ends = tuple[str, tuple[str, int] | None, tuple[str, int | None]]


def ends_of(transport: asyncio.BaseTransport, tls: bool) -> Ends:
    """Who talks to whom. A Unix socket has no client, and its path for a server."""
    peer, name = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return (
        "https" if tls else "http",
        (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None,
        (str(name[0]), int(name[1])) if isinstance(name, tuple) else (str(name), None),
    )


def http_scope(head: Head, splice: Splice, arrived: int, ends: Ends) -> dict[str, Any]:
    """`arrived` is perf_counter_ns() when the request's first byte was read. The extensions are:
    muxproxy.splice, muxproxy.target ("origin" | "absolute"), muxproxy.authority ((scheme, host,
    port) of an absolute-form target) and muxproxy.accepted (`arrived`)."""
    line = head.line
    scheme, client, server = ends
    extensions: dict[str, Any] = {
        "muxproxy.splice": splice,
        "muxproxy.target": "origin" if line.authority is None else "absolute",
        "muxproxy.accepted": arrived,
    }
    if line.authority is not None:
        extensions["muxproxy.authority"] = line.authority
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
        "headers": head.headers,
        "client": client,
        "server": server,
        "extensions": extensions,
    }
