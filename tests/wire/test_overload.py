"""Bounds on what is under way at once, and what a caller beyond them is told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer, head
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, flying, nothing_left

CHAT = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
WAYS = [
    ("openai", "/v1/chat/completions", CHAT),
    ("anthropic", "/v1/messages", {**CHAT, "model": "anthropic/m"}),
    ("gemini", "/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
]


def started(proxy: Stack, **body: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(fetch(proxy.port, "/v1/chat/completions", {**CHAT, **body}))


async def stuck(proxy: Stack, count: int) -> list[asyncio.Task[Answer]]:
    """So many calls whose streams go on when `release` says so."""
    for number in range(count):
        proxy.sim.script(lockstep=f"go{number}")
    tasks = [started(proxy, stream=True) for _ in range(count)]
    await proxy.sim.until(lambda sim: len(sim.requests) == count)
    return tasks


def release(proxy: Stack) -> None:
    for number in range(2):
        proxy.sim.ack(f"go{number}", 999)


def refused(answer: Answer, dialect: str = "openai") -> None:
    assert (answer.status, code_in(answer.json(), dialect)) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) > 0
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize(("dialect", "path", "body"), WAYS, ids=[way[0] for way in WAYS])
async def test_beyond_the_queue_a_caller_is_told_at_once(
    tmp_path: Path, dialect: str, path: str, body: Any
) -> None:
    yaml = "server: {max_in_flight: 2, max_queue: 1, queue_timeout: 60s}\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        running = await stuck(proxy, 2)
        third = started(proxy)
        await flying(proxy, 3)
        refused(await fetch(proxy.port, path, body), dialect)
        assert len(proxy.sim.requests) == 2
        release(proxy)
        answers = await asyncio.gather(*running, third)
        assert [answer.status for answer in answers] == [200, 200, 200]
        receipts = await balanced(proxy, 4)
        assert sorted(r.end for r in receipts) == ["finished"] * 3 + ["refused"]
        assert [r.cost for r in receipts if r.end == "refused"] == [0]


async def test_who_waits_in_vain_is_told(tmp_path: Path) -> None:
    yaml = "server: {max_in_flight: 1, max_queue: 1, queue_timeout: 50ms}\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        running = await stuck(proxy, 1)
        refused(await started(proxy))
        release(proxy)
        await asyncio.gather(*running)
        await balanced(proxy, 2)


async def test_who_leaves_the_queue_gives_up_its_place(tmp_path: Path) -> None:
    yaml = "server: {max_in_flight: 1, max_queue: 1, queue_timeout: 60s}\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        running = await stuck(proxy, 1)
        gate = proxy.runtime.proxy.gate
        assert gate is not None
        await fetch(proxy.port, "/v1/chat/completions", CHAT, leave_after=0.1)
        await flying(proxy, 1)
        assert gate.waiting == 0
        waiting = started(proxy)
        await flying(proxy, 2)
        release(proxy)
        assert {a.status for a in await asyncio.gather(*running, waiting)} == {200}
        await balanced(proxy, 3)


async def test_bodies_together_stay_within_their_memory(tmp_path: Path) -> None:
    """Two of 4 MiB fit in 10 MiB, whatever more arrives."""
    yaml = "server: {max_body_memory: 10MiB, max_body_bytes: 8MiB}\n"
    big = {**CHAT, "messages": [{"role": "user", "content": "x" * (4 << 20)}]}
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        memory = proxy.runtime.proxy.bodies
        proxy.sim.script(hang_after=0, times=2)
        tasks = [asyncio.create_task(fetch(proxy.port, "/v1/chat/completions", big, leave_after=3))
                 for _ in range(2)]  # fmt: skip
        await proxy.sim.until(lambda sim: len([r for r in sim.requests if r.complete]) == 2)
        assert 8 << 20 < memory.held <= memory.limit
        refused(await fetch(proxy.port, "/v1/chat/completions", big))
        assert (await started(proxy)).status == 200  # a small one
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await balanced(proxy, 4)
        assert memory.held == 0
        assert (await fetch(proxy.port, "/v1/chat/completions", big)).status == 200


@pytest.mark.parametrize("fields", ["content-length", "chunked"])
async def test_a_body_that_breaks_off_gives_its_memory_back(tmp_path: Path, fields: str) -> None:
    async with nothing_left(), stack(tmp_path) as proxy:
        memory = proxy.runtime.proxy.bodies
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        length = 5 << 20 if fields == "content-length" else None
        extra = {} if length else {"transfer-encoding": "chunked"}
        begun = b"" if length else b"%x\r\n" % (5 << 20)
        start = head("POST", "/v1/chat/completions", extra, length, "127.0.0.1") + begun
        writer.write(start + bytes(1 << 20))
        await writer.drain()
        async with asyncio.timeout(10):
            while memory.held < 1 << 20:
                await asyncio.sleep(0.005)
        writer.transport.abort()
        await flying(proxy, 0)
        assert memory.held == 0
        writer.close()


async def test_idle_connections_cost_little(tmp_path: Path) -> None:
    """Memory per idle connection, both ends and the kernel's left out."""
    count = 1000
    async with stack(tmp_path) as proxy:
        before = _resident()
        pairs = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(count)]
        async with asyncio.timeout(10):
            while proxy.runtime.door_counts()["open_connections"] < count:
                await asyncio.sleep(0.01)
        grown = _resident() - before
        assert (await started(proxy)).status == 200
        for _, writer in pairs:
            writer.close()
        assert grown / count < 64 << 10, f"{grown / count:.0f} bytes each, both ends together"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
