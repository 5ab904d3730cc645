"""Our door's strictness as ASGI middleware, for requests that came in through another server.

hypercorn (HTTP/2 behind our TLS listener, or as the whole server) parses by itself and is more
lenient than a gateway may be. What can be seen in the scope is checked here: Host, target,
method, sizes, field names and values, Content-Length and Transfer-Encoding. A body beyond the
limit reaches the app as a disconnect, never as a body that ended.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from muxproxy.doors.head import CONTROL, METHODS, POSERS, TCHAR, split_authority
from muxproxy.doors.limits import DoorLimits
from muxproxy.doors.refusals import Refused, bad, error_body
from muxproxy.doors.state import App, Message, Receive, Send


def guarded(app: App, limits: DoorLimits) -> App:
    """`app` behind the checks. Scopes that carry our splice pass unchecked: the door did it."""

    async def guard(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})
            return
        if scope["type"] != "http" or "muxproxy.splice" in scope.get("extensions", {}):
            await app(scope, receive, send)
            return
        try:
            check(scope, limits)
        except Refused as refused:
            await _answer(send, refused)
            return
        extensions = scope.setdefault("extensions", {})
        within = "muxproxy.authority" in extensions  # a tunnel: only our own door says so
        extensions["muxproxy.target"] = "absolute" if within else "origin"
        extensions["muxproxy.accepted"] = perf_counter_ns()
        await _Counted(limits, receive, send).run(app, scope)

    return guard


def check(scope: dict[str, Any], limits: DoorLimits) -> None:
    """Raises Refused for a scope that our own door would not have made."""
    if scope["method"] not in METHODS or scope["method"] == "CONNECT":
        raise Refused(501, "not_implemented", "this method is not served here")
    if scope.get("http_version", "1.1") not in ("1.0", "1.1", "2", "3"):
        raise Refused(505, "http_version", "this version of HTTP is not served here")
    raw, query = scope.get("raw_path") or b"", scope.get("query_string", b"")
    if not raw.startswith(b"/") and not (raw == b"*" and scope["method"] == "OPTIONS"):
        raise bad("a malformed request target")
    target = raw + query
    if len(target) > limits.max_target:
        raise Refused(414, "target_too_long", "the request target is too long")
    if not target.isascii() or target.translate(None, _NOT_IN_TARGET) != target:
        raise bad("a malformed request target")
    headers = scope["headers"]
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > limits.max_fields or size > limits.max_head:
        raise Refused(431, "headers_too_large", "the request head is too large")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        raise bad("Host must stand exactly once")
    split_authority(hosts[0], 80)
    _check_fields(headers)
    if any(name == b"transfer-encoding" for name, _ in headers) and (
        scope.get("http_version") != "1.1" or any(n == b"content-length" for n, _ in headers)
    ):
        raise bad("Transfer-Encoding and Content-Length together, or not in HTTP/1.1")
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) > 1 or (lengths and not (lengths[0].isdigit() and len(lengths[0]) < 19)):
        raise bad("a malformed or duplicate Content-Length")
    if lengths and int(lengths[0]) > limits.max_body:
        raise Refused(413, "body_too_large", "the request body is too large")


def _check_fields(headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"expect" and value.lower() != b"100-continue":
            raise Refused(417, "expectation_failed", "an unknown expectation")
        if not name or name.translate(None, TCHAR):
            raise bad("a malformed header field name")
        if name in POSERS:
            raise bad("a field name that poses as a framing field")
        if len(value.translate(None, CONTROL)) != len(value):
            raise bad("a control character in a header field")


_NOT_IN_TARGET = bytes(range(33)) + b"#\x7f"


async def _answer(send: Send, refused: Refused) -> None:
    body = error_body(refused.code, refused.message)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Counted:
    """One request whose body is counted on its way to the app."""

    __slots__ = ("_over", "_receive", "_seen", "_send", "_started", "limits")

    def __init__(self, limits: DoorLimits, receive: Receive, send: Send) -> None:
        self.limits = limits
        self._receive = receive
        self._send = send
        self._seen = 0
        self._over = self._started = False

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self.receive, self.send)
        finally:
            if self._over and not self._started:
                self._started = True
                await _answer(
                    self._send, Refused(413, "body_too_large", "the request body is too large")
                )

    async def receive(self) -> Message:
        if self._over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self.limits.max_body:
                self._over = True
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self._over and not self._started:
            return  # whatever the app makes of the disconnect; the client gets its 413
        self._started = True
        await self._send(message)
