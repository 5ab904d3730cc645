"""The same malformed requests against the other door: the app under plain hypercorn, guarded.

hypercorn reads HTTP/1.1 by h11, which takes some of what our own door refuses (LENIENT). There is
one reading of it all the same: h11's, whose framing is thrown away; what goes upstream is framed by
us. Whatever else is refused reaches nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from typing import Any

import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from muxproxy.doors import DoorLimits, guarded
from tests.doors.harness import BOUND, Client, Echo
from tests.doors.malformed import CASES, Case

LIMITS = DoorLimits(max_body=1 << 20)
# What an ASGI scope no longer shows: cases by name, and what h11 does with them.
LENIENT = {
    **dict.fromkeys(["a lower-case method"], "hypercorn makes it upper-case"),
    **dict.fromkeys(
        ["obs-fold with a space", "obs-fold with a tab", "obs-fold of Host",
         "obs-fold of content-length", "obs-fold of transfer-encoding", "chunk trailer folded"],
        "unfolded (RFC 9112 5.2 allows that too)",
    ),
    **dict.fromkeys(
        ["bare LF in a value", "bare LF ends a field", "bare LF ends the request line",
         "bare LF everywhere", "bare LF ends the head", "chunk end with LF",
         "chunk trailer with LF"],
        "a line's end (RFC 9112 2.2 allows that)",
    ),
    **dict.fromkeys(
        ["content-length list", "content-length list without space", "content-length twice"],
        "the same number more than once is that number (RFC 9110 8.6 allows that)",
    ),
    **dict.fromkeys(
        ["chunk size with a trailing space", "chunk size with a trailing tab",
         "chunk extension with CR", "chunk extension with NUL", "chunk extension empty",
         "chunk extension without name", "chunk extension without value",
         "chunk extension with an open quote", "chunk extension with a space in its name",
         "chunk extension too long", "chunk extensions too many"],
        "extensions are thrown away, up to the line's CR LF",
    ),
    "chunk trailer too long": "trailers are thrown away, up to 16 KiB",
}  # fmt: skip


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[int]:
    """hypercorn's server of one connection, on a port."""
    config, context = Config(), WorkerContext(None)
    config.errorlog = None
    loop = asyncio.get_running_loop()
    serving: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = TCPServer(ASGIWrapper(app), loop, config, context, {}, reader, writer)  # type: ignore[arg-type]
        serving[loop.create_task(server.run())] = writer

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in serving.values():
            writer.transport.abort()
        await context.terminated.set()  # or it waits for its idle time
        done, left = await asyncio.wait(serving, timeout=BOUND)
        for task in done:
            task.exception()
        assert not left


async def told(app: Echo, raw: bytes) -> bytes:
    """What comes back for `raw`, until nothing more does; then its sender leaves."""
    async with listening(guarded(app, LIMITS)) as port:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        client.send(raw)
        got = b""
        with suppress(ConnectionError, TimeoutError):
            while True:
                async with asyncio.timeout(0.1 if got else BOUND):
                    more = await client.reader.read(1 << 16)
                if not more:
                    break
                got += more
        client.reset()
    return got


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_a_malformed_request_is_refused_or_has_one_reading(case: Case) -> None:
    app = Echo()
    got = await told(app, case.raw)
    complete = [call for call in app.calls if call.complete]
    if case.name not in LENIENT:
        assert not complete
        assert not got.startswith(b"HTTP/1.1 2")
        return
    assert got.startswith(b"HTTP/1.1 200 ")
    (call,) = complete
    fields = dict(call.scope["headers"])
    assert len(call.scope["headers"]) == len(fields)
    assert not {b"content-length", b"transfer-encoding"} <= set(fields)
    assert call.body in (b"", b"hello", b"x" * 5000)
    if b"content-length" in fields:
        assert int(fields[b"content-length"]) == len(call.body)


def test_what_is_let_pass_is_in_the_table() -> None:
    assert set(LENIENT) <= {case.name for case in CASES}
    assert len(CASES) >= 200
