"""The request's body as it comes in, where it is read here; see `unread` for the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from muxproxy.errors import MuxError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(Exception):
    """The caller went away before there was anything to answer."""


async def read_body(receive: Receive, limit: int, body: bytes | None = None) -> bytes:
    """The whole request body, at most `limit` bytes; `body` if it is here already.

    Raises MuxError, ClientLeft.
    """
    if body is None:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body = message.get("body", b"")
        if message.get("more_body", False):
            parts, size = [body], len(body)
            while message.get("more_body", False) and size <= limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                parts.append(message.get("body", b""))
                size += len(parts[-1])
            body = b"".join(parts)
    if len(body) > limit:
        raise MuxError("body_too_large", f"the request body is larger than {limit} bytes")
    return body
