"""The request's body as it comes in, where it is read here; see `unread` for the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from muxproxy.errors import MuxError
from muxproxy.proxy.overload import BodyMemory

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(Exception):
    """The caller went away before there was anything to answer."""


class Collecting(Protocol):
    """Whose body it is: `leased` bytes of `memory` are its own until it gives them back."""

    leased: int

    @property
    def memory(self) -> BodyMemory: ...


async def read_body(receive: Receive, limit: int, owner: Collecting, declared: bytes) -> bytes:
    """The whole request body, at most `limit` bytes. Raises MuxError, ClientLeft.

    `declared` is its content-length, or b"".
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _collected(receive, body, limit, owner, declared)
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(limit: int) -> MuxError:
    """A body beyond the bound."""
    return MuxError("body_too_large", f"the request body is larger than {limit} bytes")


async def _collected(
    receive: Receive, begun: bytes, limit: int, owner: Collecting, declared: bytes
) -> bytes:
    if declared.isdigit() and int(declared) <= limit:
        _lease(owner, int(declared))
    parts, size, more = [begun], len(begun), True
    while more and size <= limit:
        if size > owner.leased:
            _lease(owner, size - owner.leased)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    return b"".join(parts)


def _lease(owner: Collecting, size: int) -> None:
    owner.memory.take(size)
    owner.leased += size


def declared_length(fields: dict[bytes, bytes]) -> int | None:
    """Bytes of the body, where the caller said."""
    value = fields.get(b"content-length")
    return int(value) if value is not None and value.isdigit() else None
