"""Thousands of idle connections: little memory each, others are served, the sweep closes them.

The clients live in a process of their own, so that each process needs one descriptor a pair.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from muxproxy.doors import Door, DoorLimits
from tests.doors.harness import SMALL, Echo, client_of, request

WANTED = 10_000
SPARE = 300  # descriptors for everything else
EACH = 16 << 10  # bytes of our memory that an idle connection may cost

# Opens connections to a port, spread over loopback addresses: one has some 28,000 ports to give.
# Every other one asks for something. Says when all have their answer, then waits until the other
# side has closed every one.
CLIENTS = """
import asyncio, resource, sys

async def main(port, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, resource.getrlimit(
        resource.RLIMIT_NOFILE)[1]))
    loop = asyncio.get_running_loop()
    gone, ended = 0, loop.create_future()
    asked, answered = 0, asyncio.Semaphore(0)

    class Idle(asyncio.Protocol):
        def connection_made(self, transport):
            nonlocal asked
            asked += 1
            if asked % 2:
                transport.write(b"GET /idle HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            else:
                answered.release()

        def data_received(self, data):
            answered.release()

        def connection_lost(self, exc):
            nonlocal gone
            gone += 1
            if gone == count and not ended.done():
                ended.set_result(None)

    for first in range(0, count, 200):
        await asyncio.gather(*(
            loop.create_connection(
                Idle, "127.0.0.1", port, local_addr=(f"127.0.0.{2 + first // 5000}", 0))
            for _ in range(min(200, count - first))
        ))
        for _ in range(min(200, count - first)):
            await answered.acquire()
    print("open", flush=True)
    await ended
    print("closed", flush=True)

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture
def descriptors() -> Iterator[int]:
    """How many this process may have, the soft limit raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED + SPARE if hard == resource.RLIM_INFINITY else min(hard, WANTED + SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_ten_thousand_idle_connections(
    descriptors: int, capsys: pytest.CaptureFixture[str]
) -> None:
    count = min(WANTED, descriptors - SPARE)
    if count < WANTED:
        with capsys.disabled():
            print(f"\n{count} idle connections instead of {WANTED}: RLIMIT_NOFILE")
    # Long enough to open them all; then it is cut short.
    limits = DoorLimits(header_timeout=300, keep_alive=300, linger=SMALL.linger)
    app = Echo()
    async with asyncio.timeout(100), listening(app, limits) as door:
        before = _resident()
        clients = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENTS, str(door.port), str(count), stdout=subprocess.PIPE
        )
        try:
            assert clients.stdout is not None
            assert await clients.stdout.readline() == b"open\n"
            while door.open_connections < count:
                await asyncio.sleep(0.01)
            grown = _resident() - before
            assert grown < count * EACH, f"{grown / count:.0f} bytes for each of {count}"
            async with client_of(door) as client:
                for body in (b"hello", b"x" * 100_000):
                    client.send(request("POST", body=body))
                    assert (await client.read()).body == body
            assert [c.scope["path"] for c in app.calls].count("/") == 2
            assert door.open_connections >= count
            for peer in door._state.peers:
                peer.deadline = 0.0  # as if the time were over
            assert await clients.stdout.readline() == b"closed\n"
            while door.open_connections:
                await asyncio.sleep(0.01)
            assert not door.stats.refused
        finally:
            if clients.returncode is None:
                clients.kill()
            await clients.wait()


@asynccontextmanager
async def listening(app: Echo, limits: DoorLimits) -> AsyncIterator[Door]:
    door = Door(app, limits)
    await door.listen("127.0.0.1:0")
    try:
        yield door
    finally:
        await door.aclose()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
