"""The request's body as it comes in: whole where it is read here, streamed where it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from muxproxy.errors import MuxError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(Exception):
    """The caller went away before there was anything to answer."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body, at most `limit` bytes. Raises MuxError, ClientLeft."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
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


async def begin_body(receive: Receive) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """A body nobody reads here: (whole, None) when it is there already, else (b"", the stream)."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    first: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return b"", _rest(receive, first)
    return first, None


async def _rest(receive: Receive, first: bytes) -> AsyncIterator[bytes]:
    if first:
        yield first
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # upstream must not see a complete request
            raise ClientLeft
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk
