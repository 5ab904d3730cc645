"""WebSocket at the simulated providers: a realtime session, and an echo on every other path.

A client's frames are read by a parser of our own (the product's is not used here): masked, as
RFC 6455 section 5.1 demands of clients; what is not is a fault of the proxy under test.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from muxproxy.sim.http import Head
from muxproxy.sim.text import digest, words

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_TOKENS = 16


def wanted(head: Head) -> bool:
    """Whether the request asks for a WebSocket."""
    return head.method == "GET" and (head.get(b"upgrade") or b"").lower() == b"websocket"


def accept(head: Head) -> bytes:
    """The 101."""
    key = (head.get(b"sec-websocket-key") or b"") + _GUID
    token = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + token,
    ]
    protocols = head.get(b"sec-websocket-protocol")
    if protocols:
        lines.append(b"Sec-WebSocket-Protocol: " + protocols.split(b",")[0].strip())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((128 | kind, size)) + payload
    if size < 1 << 16:
        return bytes((128 | kind, 126)) + size.to_bytes(2) + payload
    return bytes((128 | kind, 127)) + size.to_bytes(8) + payload


class WebSocket:
    """One upgraded connection. `options` are the request's x-sim-* ones."""

    def __init__(
        self, head: Head, transport: asyncio.Transport, fault: Callable[[str], None]
    ) -> None:
        self._transport = transport
        self._fault = fault
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind = 0
        self._options = dict(head.sim)
        path, _, query = head.target.partition("?")
        self._realtime = path.endswith("/realtime")
        pairs = dict(pair.partition("=")[::2] for pair in query.split("&"))
        self._model = pairs.get("model", "gpt-realtime")
        self._said = 0  # items of the conversation: each costs input
        self._responses = 0
        transport.write(accept(head))
        if self._realtime:
            session = {"type": "realtime", "model": self._model, "id": "sess_sim"}
            self._send({"type": "session.created", "session": session})

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._frame():
            continue

    def _frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, at = buffer[1] & 127, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(buffer[2 : 2 + width])
            at += width
        if len(buffer) < at + 4 + size:
            return False
        if not buffer[1] & 128:
            self._fault("a client's frame without a mask")
        mask = buffer[at : at + 4]
        body = bytes(buffer[at + 4 : at + 4 + size])
        pad = (bytes(mask) * (size // 4 + 1))[:size]
        payload = (int.from_bytes(body) ^ int.from_bytes(pad)).to_bytes(size) if size else b""
        kind, last = buffer[0] & 15, buffer[0] >= 128
        del buffer[: at + 4 + size]
        if kind == _PING:
            self._transport.write(frame(_PONG, payload))
        elif kind == _CLOSE:
            self._transport.write(frame(_CLOSE, payload))
            self._transport.close()
        elif kind < _CLOSE:
            self._kind = kind or self._kind
            self._parts.append(payload)
            if last:
                whole, self._parts = b"".join(self._parts), []
                self._message(whole)
        return True

    def _message(self, payload: bytes) -> None:
        if not self._realtime:
            self._transport.write(frame(self._kind, payload))
            return
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            event = {}
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "response.create":
            self._respond()
        elif kind == "conversation.item.create":
            self._said += 1
            self._send({"type": "conversation.item.added", "item": event.get("item")})
        elif kind == "session.update":
            self._send({"type": "session.updated", "session": event.get("session")})
        elif not (isinstance(kind, str) and kind.startswith("input_audio_buffer.")):
            error = {"type": "invalid_request_error", "message": f"no event {kind!r}"}
            self._send({"type": "error", "error": error})

    def _respond(self) -> None:
        """A response of `tokens` words; `cut` ends the connection amid it, as a crash would."""
        self._responses += 1
        name = f"resp_{digest(self._model, str(self._responses))[:16]}"
        response: dict[str, Any] = {"id": name, "object": "realtime.response"}
        self._send({"type": "response.created", "response": {**response, "status": "in_progress"}})
        count = int(self._options.get("tokens", _TOKENS))
        for word in words(name, count):
            self._send({"type": "response.output_text.delta", "response_id": name, "delta": word})
        audio = {"type": "response.output_audio.delta", "delta": "A" * 40_000}
        self._send(audio)
        if "drop-after" in self._options:
            self._transport.close()
            return
        if "hang-after" in self._options:
            return
        self._said += 1
        taken = 20 + 10 * self._said
        usage = {
            "total_tokens": taken + count,
            "input_tokens": taken,
            "output_tokens": count,
            "input_token_details": {
                "text_tokens": taken - 4,
                "audio_tokens": 4,
                "cached_tokens": 0,
            },
            "output_token_details": {"text_tokens": count - 2, "audio_tokens": 2},
        }
        done = {**response, "status": "completed", "usage": usage}
        self._send({"type": "response.done", "response": done})

    def _send(self, event: dict[str, Any]) -> None:
        self._transport.write(frame(_TEXT, orjson.dumps(event)))
