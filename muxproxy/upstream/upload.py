"""A streamed request body on its way up, with the upstream socket's back-pressure."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol


class Writer(Protocol):
    """The connection that the body goes into."""

    blocked: "asyncio.Future[None] | None"

    def write_part(self, parts: tuple[bytes, ...]) -> None: ...
    def uploaded(self) -> None: ...
    def upload_failed(self, error: Exception) -> None: ...


async def upload(writer: Writer, body: AsyncIterator[bytes], length: int | None) -> None:
    """Send `body`, chunked unless its `length` is known; runs as a task of its own.

    Whatever goes wrong with the source ends in upload_failed(): nothing that could pass for the
    end of the request is ever written after it.
    """
    left = length
    try:
        async for data in body:
            size = len(data)
            if not size:
                continue  # an empty chunk would end the body
            if left is None:
                writer.write_part((b"%x\r\n" % size, data, b"\r\n"))
            elif size > left:
                raise ValueError("the request body is longer than its length")
            else:
                left -= size
                writer.write_part((data,))
            if writer.blocked is not None:
                await writer.blocked
        if left:
            raise ValueError("the request body is shorter than its length")
        if length is None:
            writer.write_part((b"0\r\n\r\n",))
        writer.uploaded()
    except Exception as error:
        writer.upload_failed(error)
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
