"""A thousand tunnels at once."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from tests.doors.harness import Echo, serving, until
from tests.doors.test_tunnel import Policy, connect, far_end

MANY = 1000


@pytest.fixture
def files() -> Iterator[None]:
    """Four ends per tunnel are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MANY + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Looking(Policy):
    """Looks at each tunnel's first bytes, as with a CA."""

    off = False


async def test_a_thousand_tunnels_at_once(files: None) -> None:
    """All open before any of them says a word; each gets its own bytes back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with far_end(echo) as port, serving(Echo(), tunnels=Looking()) as door:
        everyone = asyncio.Barrier(MANY)

        async def client(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(connect(port))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await everyone.wait()
            data = number.to_bytes(4) * 5000
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()

        async with asyncio.TaskGroup() as group:
            for number in range(MANY):
                group.create_task(client(number))
        assert door.stats.tunnels == MANY
        await until(lambda: door.open_connections == 0)
