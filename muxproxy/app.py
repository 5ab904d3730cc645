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
from muxproxy.auth import PROXY_REALM
from muxproxy.config import units
from muxproxy.config.model import Server
from muxproxy.dialects import errors as dialect_errors
from muxproxy.dialects.paths import Route, classify
from muxproxy.doors import DoorLimits, guarded
from muxproxy.errors import MuxError
from muxproxy.exchange import OPENAI, REALTIME
from muxproxy.headers import went_in_circles
from muxproxy.proxy.plain import forward_unknown
from muxproxy.proxy.session import refuse_upgrade, upgraded
from muxproxy.proxy.sinks import AsgiSink
from muxproxy.runtime import Runtime

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# For callers: it stays at their door when the rest of the control plane has one of its own.
FEEDBACK = "/v1/feedback"
_CONTROL = frozenset(
    {
        "/docs",
        "/openapi.json",
        "/metrics",
        "/providers",
        "/v1/providers",
        "/v1/calls",
        "/v1/config/reload",
        "/v1/explain",
        FEEDBACK,
        "/v1/status",
        "/user/stats",
    }
)
# Base URLs with and without /v1, and the groq SDK's.
_MODELS = frozenset({"/v1/models", "/models", "/openai/v1/models", "/v1beta/models"})
_CONTROL_PREFIXES = ("/v1/calls/", "/v1/analytics/")
_ALIVE = frozenset({"/", "/health", "/healthz", "/ready", "/readyz"})
_JSON = [(b"content-type", b"application/json")]
_NONE: dict[str, Any] = {}


def is_control(method: str, path: str) -> bool:
    """Whether muxproxy answers `path` itself. Writes to /v1/models go to the provider."""
    if path in _MODELS:
        return method in ("GET", "HEAD")
    if path in _CONTROL:
        return True
    return path.startswith(_CONTROL_PREFIXES)


class App:
    """One runtime behind one ASGI callable; `control_here` False: the admin door serves it."""

    def __init__(self, runtime: Runtime, *, data_here: bool = True, control_here: bool = True):
        self._runtime = runtime
        self._data_here = data_here
        self._control_here = control_here
        self._control: ASGIApp | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI 3. A head that our door knows again goes straight to the proxy."""
        extensions: dict[str, Any] = scope.get("extensions") or _NONE
        memo = extensions.get("muxproxy.memo")
        if memo:
            proxy = self._runtime.proxy
            if memo.get("snapshot") is proxy.snapshot:
                headers, sink = scope["headers"], extensions["muxproxy.splice"]
                return proxy.handle(scope, receive, sink, memo["route"], None, dict(headers), memo)
            memo.clear()
        return self._call(scope, receive, send, extensions)

    async def _call(
        self, scope: Scope, receive: Receive, send: Send, extensions: dict[str, Any]
    ) -> None:
        if scope["type"] != "http":
            await self._other_protocol(scope, receive, send)
            return
        authority = extensions.get("muxproxy.authority")
        fields: dict[bytes, bytes] = dict(scope["headers"])
        try:
            self._runtime.snapshot.browser.check(fields, origin_form=authority is None)
            if authority is None and await self._answered_here(scope, receive, send):
                return
            if not self._data_here:
                raise MuxError("not_found", "this is the admin address; calls go to the other one")
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            route = classify(scope["method"], raw.decode("latin-1"))
            if authority is not None:
                self._check_forwarded(scope, authority)
            if b"upgrade" in fields:
                route = self._upgrade(route, scope, fields, extensions)
        except MuxError as error:
            await _send_error(send, _dialect(scope), error)
            return
        sink = extensions.get("muxproxy.splice")
        if sink is not None and authority is None:
            memo = extensions["muxproxy.memo"]
            if b"upgrade" not in fields:
                memo["snapshot"], memo["route"] = self._runtime.snapshot, route
            await self._runtime.proxy.handle(scope, receive, sink, route, None, fields, memo)
            return
        fallback = AsgiSink(receive, send) if sink is None else None
        try:
            await self._forward(
                scope, fallback.receive if fallback else receive, sink or fallback, route, fields
            )
        finally:
            if fallback is not None:
                await fallback.close()

    def _upgrade(
        self, route: Route, scope: Scope, fields: dict[bytes, bytes], extensions: dict[str, Any]
    ) -> Route:
        """The route of a request with Upgrade. Raises MuxError 426 where nobody would serve it."""
        route = upgraded(route, scope, fields)
        if route.endpoint == REALTIME:
            providers = self._runtime.snapshot.config.providers.values()
            wanted = {provider.websocket for provider in providers}
            here = "muxproxy.splice" in extensions  # only our door can give a connection away
            refuse_upgrade(route, "on" if "on" in wanted and here else "auto" if here else "off")
        return route

    def _check_forwarded(self, scope: Scope, authority: tuple[str, str, int]) -> None:
        """What only a proxy checks: circles, and a key of its own. Raises MuxError."""
        headers = scope["headers"]
        if went_in_circles(headers):
            raise MuxError(
                "loop_detected",
                "this request has been through muxproxy before: HTTPS_PROXY, or a provider's "
                "base_url or proxy:, leads back here",
            )
        auth = self._runtime.snapshot.auth
        if auth.required and not self._runtime.is_self(authority):
            try:
                auth.caller(headers, None, scope["query_string"])
            except MuxError as error:
                raise MuxError(
                    "proxy_unauthorized",
                    f"{error.message} Or put it into the proxy's URL: http://KEY@HOST:PORT",
                    headers=[PROXY_REALM],
                ) from None

    async def _other_protocol(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._runtime.start, self._runtime.aclose)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not supported"})

    async def _forward(
        self, scope: Scope, receive: Receive, sink: Any, route: Route, fields: dict[bytes, bytes]
    ) -> None:
        """Absolute-form targets (their host picks the provider), and other servers."""
        runtime = self._runtime
        authority = (scope.get("extensions") or {}).get("muxproxy.authority")
        provider = None
        if authority is not None and not runtime.is_self(authority):
            provider = runtime.snapshot.provider_at(authority[1], authority[2])
            if provider is None:
                upgrade = route.endpoint == REALTIME
                await forward_unknown(
                    runtime.proxy, scope, receive, sink, authority, upgrade=upgrade
                )
                return
        await runtime.proxy.handle(scope, receive, sink, route, provider, fields, {})

    async def _answered_here(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the path is the control plane's, and then its answer."""
        method, path = scope["method"], scope["path"]
        if path in _ALIVE:
            return await self._answer_alive(method, path, scope, send)
        if path == FEEDBACK or (self._control_here and is_control(method, path)):
            await self._answer_control(scope, receive, send)
            return True
        return False

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
        # Who reaches a door of the control plane's own may rate anybody's calls.
        await self._control({**scope, "muxproxy.operator": not self._data_here}, receive, send)


def _dialect(scope: Scope) -> str:
    """The caller's dialect as far as the path tells."""
    try:
        return classify(scope["method"], scope["path"]).dialect
    except MuxError:
        return OPENAI


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


def door_limits(server: Server) -> DoorLimits:
    """The configuration's bounds in seconds and bytes."""
    return DoorLimits(
        max_head=units.size(server.max_header_bytes),
        max_body=units.size(server.max_body_bytes),
        header_timeout=units.duration(server.header_timeout),
        body_timeout=units.duration(server.body_timeout),
        min_body_rate=units.size(server.min_body_rate),
        keep_alive=units.duration(server.keep_alive),
        max_connections=server.max_connections,
    )


class _FromEnvironment:
    """`muxproxy.app:app` for other servers: built from MUXPROXY_CONFIG when the server starts.

    Behind the door's own checks, as far as a scope shows what they look at.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            async with self._lock:
                if self._app is None:
                    runtime = Runtime.from_file(os.environ.get("MUXPROXY_CONFIG"), os.environ)
                    if scope["type"] != "lifespan":  # a server without lifespan support
                        await runtime.start()
                    limits = door_limits(runtime.config.server)
                    self._app = guarded(App(runtime), limits)
        await self._app(scope, receive, send)


app = _FromEnvironment()
