"""The ASGI entry: control plane or data plane, decided by the path.

    scope -> browser rules -> control path?  -> control (Starlette, imported on first use)
                           -> otherwise      -> proxy  (one exchange)

Runs under any ASGI server; our own door adds the splice (`muxproxy.splice`), elsewhere
`proxy.sinks.AsgiSink` stands in. `muxproxy.app:app` reads MUXPROXY_CONFIG at lifespan start-up, so
`hypercorn muxproxy.app:app` works.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from muxproxy import __version__
from muxproxy.dialects import errors as dialect_errors
from muxproxy.dialects.paths import Route, classify
from muxproxy.errors import MuxError
from muxproxy.headers import get
from muxproxy.proxy.plain import forward_unknown
from muxproxy.proxy.sinks import AsgiSink
from muxproxy.runtime import Runtime

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_CONTROL = frozenset(
    {
        "/docs",
        "/openapi.json",
        "/metrics",
        "/providers",
        "/v1/providers",
        "/v1/models",
        "/v1/calls",
        "/v1/config/reload",
        "/user/stats",
    }
)
_CONTROL_PREFIXES = ("/v1/calls/", "/v1/analytics/")
_ALIVE = frozenset({"/health", "/healthz", "/ready", "/readyz"})
_JSON = [(b"content-type", b"application/json")]


def is_control(method: str, path: str) -> bool:
    """Whether muxproxy answers `path` itself. Writes to /v1/models go to the provider."""
    if path in _CONTROL:
        return path != "/v1/models" or method in ("GET", "HEAD")
    return path.startswith(_CONTROL_PREFIXES)


class App:
    """One runtime behind one ASGI callable; `control_here` False: the admin door serves it."""

    def __init__(self, runtime: Runtime, *, data_here: bool = True, control_here: bool = True):
        self._runtime = runtime
        self._data_here = data_here
        self._control_here = control_here
        self._control: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._runtime.start, self._runtime.aclose)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not supported"})
            return
        extensions: dict[str, Any] = scope.get("extensions") or {}
        method: str = scope["method"]
        path: str = scope["path"]
        authority = extensions.get("muxproxy.authority")
        route = _OTHER
        try:
            self._runtime.snapshot.browser.check(scope["headers"], origin_form=authority is None)
            if authority is None:
                if path in _ALIVE or path == "/":
                    if await self._answer_alive(method, path, scope, send):
                        return
                elif is_control(method, path) and self._control_here:
                    await self._answer_control(scope, receive, send)
                    return
            if not self._data_here:
                raise MuxError("not_found", "this is the admin address; calls go to the other one")
            raw: bytes = scope.get("raw_path") or path.encode()
            route = classify(method, raw.decode("latin-1"))
            _refuse_upgrade(scope["headers"])
        except MuxError as error:
            await _send_error(send, route.dialect, error)
            return
        sink = extensions.get("muxproxy.splice")
        if sink is not None:
            await self._forward(scope, receive, sink, route, authority)
            return
        fallback = AsgiSink(receive, send)
        try:
            await self._forward(scope, fallback.receive, fallback, route, authority)
        finally:
            await fallback.close()

    async def _forward(
        self, scope: Scope, receive: Receive, sink: Any, route: Route, authority: Any
    ) -> None:
        runtime = self._runtime
        provider = None
        if authority is not None and not runtime.is_self(authority):
            provider = runtime.snapshot.provider_at(authority[1], authority[2])
            if provider is None:
                await forward_unknown(runtime.proxy, scope, receive, sink, authority)
                return
        await runtime.proxy.handle(scope, receive, sink, route, provider)

    async def _answer_alive(self, method: str, path: str, scope: Scope, send: Send) -> bool:
        """Health and readiness, without the control plane's imports."""
        if method not in ("GET", "HEAD"):
            return False
        status = 200
        body: dict[str, object] = {"status": "ok", "version": __version__}
        if path.startswith("/ready"):
            ready, detail = self._runtime.ready()
            status = 200 if ready else 503
            body = {"status": "ready" if ready else "not ready", **detail}
        elif path == "/":
            body = {"name": "muxproxy", "version": __version__, "docs": "/docs"}
        await _send(send, status, orjson.dumps(body), _JSON, head=method == "HEAD")
        return True

    async def _answer_control(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime.authorize_control(scope["headers"], scope["query_string"])
        if self._control is None:
            self._control = self._runtime.build_control()
        await self._control(scope, receive, send)


_OTHER = Route(dialect="openai", endpoint="other", path="/")


def _refuse_upgrade(headers: list[tuple[bytes, bytes]]) -> None:
    """426 for WebSocket: Codex then posts at once (404, 405 and 501 make it try seven times)."""
    upgrade = get(headers, b"upgrade")
    if upgrade is not None and upgrade.lower() == b"websocket":
        raise MuxError(
            "upgrade_required",
            "WebSocket is not served here; POST with stream: true instead",
            headers=[(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")],
        )


async def _send_error(send: Send, dialect: str, error: MuxError) -> None:
    body = dialect_errors.render(dialect, error, None)
    await _send(send, error.status, body, dialect_errors.headers(error))


async def _send(
    send: Send,
    status: int,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
    *,
    head: bool = False,
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": b"" if head else body})


async def _lifespan(
    receive: Receive,
    send: Send,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    await receive()
    try:
        await start()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})


class _FromEnvironment:
    """`muxproxy.app:app` for other servers: built from MUXPROXY_CONFIG when the server starts."""

    def __init__(self) -> None:
        self._app: App | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            async with self._lock:
                if self._app is None:
                    runtime = Runtime.from_file(os.environ.get("MUXPROXY_CONFIG"), os.environ)
                    if scope["type"] != "lifespan":  # a server without lifespan support
                        await runtime.start()
                    self._app = App(runtime)
        await self._app(scope, receive, send)


app = _FromEnvironment()
