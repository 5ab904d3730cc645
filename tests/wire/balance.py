"""What must hold after any load: the books balance and nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from muxproxy.exchange import Receipt
from muxproxy.ledger.reports import Reader
from muxproxy.proxy.road import Exchange
from muxproxy.tap.counting import TokenCounter
from tests.http_client import Answer, encode, head, read_body, read_head
from tests.stack import Stack


async def fetch(
    port: int,
    path: str,
    body: Any,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    timeout: float = 30.0,
    leave_after: float | None = None,
) -> Answer:
    """One request on a connection of its own; a connection that breaks is an Answer too.

    Status 0: it broke before the head was complete. `leave_after`: seconds after which the caller
    hangs up.
    """
    data = encode(body)
    sent = {"content-type": "application/json", **(headers or {})}
    length = len(data) if data or method == "POST" else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head(method, path, sent, length, "127.0.0.1") + data)
        async with asyncio.timeout(timeout if leave_after is None else leave_after):
            return await _read(reader)
    except TimeoutError:
        if leave_after is None:
            raise
        writer.transport.abort()
        return Answer(0, [], b"", broken=True)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    try:
        status, fields = await read_head(reader)
        while status in (100, 103):
            status, fields = await read_head(reader)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return Answer(0, [], getattr(error, "partial", b""), broken=True)
    content, broken = await read_body(reader, fields)
    return Answer(status, fields, content, broken)


async def flying(proxy: Stack, count: int) -> None:
    """Until so many exchanges are in flight."""
    async with asyncio.timeout(10):
        while len(proxy.runtime.in_flight) != count:
            await asyncio.sleep(0.002)


async def quiet(proxy: Stack) -> None:
    """Until the door has dealt with every connection made before, those of callers gone too."""
    await fetch(proxy.port, "/health", None, method="GET")  # accepted behind all of them
    async with asyncio.timeout(10):
        while proxy.runtime.door_counts()["open_connections"]:
            await asyncio.sleep(0.005)


async def balanced(proxy: Stack, rows: int) -> list[Receipt]:
    """All receipts, oldest first, once nothing is in flight; `rows` is how many there must be.

    Holds are empty in memory and in the file; the counters in memory are those in the file; no
    upstream connection is in use.
    """
    receipts = await proxy.settled(rows)
    assert len(receipts) == rows
    assert len({receipt.id for receipt in receipts}) == rows
    budgets = proxy.runtime.proxy.budgets
    assert not budgets.open
    for account in budgets._known.values():
        for counter in account.counters.values():
            assert (counter.held_nano, counter.held_tokens) == (0, 0), counter.label
    with Reader(str(proxy.state)) as reader:
        assert reader.holds() == []
        written = {tuple(row[:3]): tuple(row[3:]) for row in reader.usage() if any(row[3:])}
    counted = {row[:3]: row[3:] for row in budgets.sums() if any(row[3:])}
    assert counted == written
    for pool in proxy.runtime.upstreams.stats():
        assert (pool.in_flight, pool.opening, pool.waiting) == (0, 0, 0)
    assert proxy.runtime.metrics.in_flight == 0
    return receipts


def sums(proxy: Stack, budget: str) -> dict[str, tuple[int, int]]:
    """scope -> (nano-dollars, tokens) of a budget as the file has it, all windows together."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    with Reader(str(proxy.state)) as reader:
        for name, scope, start, nano, tokens in reader.usage():
            if name == budget and start >= 0:
                before = found[scope]
                found[scope] = (before[0] + nano, before[1] + tokens)
    return dict(found)


def tokens_of(receipt: Receipt) -> int:
    """All tokens of a call."""
    usage = receipt.usage
    return 0 if usage is None else usage.input_total + usage.output_total


def without_vocabularies(proxy: Stack) -> None:
    """Count by characters: loading a vocabulary takes each new stack up to 50 ms."""
    proxy.runtime.proxy.counter = TokenCounter(tokenizers=False)


def code_in(body: dict[str, Any], dialect: str) -> str:
    """The stable code in one of our error bodies, whose form must be the dialect's."""
    error = body["error"]
    if dialect == "gemini":
        assert isinstance(error["code"], int) and error["status"].isupper()
        return str(error["details"][0]["reason"])
    if dialect == "anthropic":
        assert body["type"] == "error"
    assert error["message"] and error["type"]
    return str(error["code"])


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Afterwards there are no more tasks and open descriptors than before, and no exchange waits
    for the garbage collector: one that does is never freed if a reload came meanwhile."""
    tasks, before = asyncio.all_tasks(), _descriptors()
    gc.disable()
    circles = _exchanges()
    try:
        yield
        for _ in range(300):  # sockets and threads close a turn of the loop later
            left = [
                *(repr(task) for task in asyncio.all_tasks() - tasks),
                *(f"{number} {target}" for number, target in _descriptors() - before),
            ]
            if not left and (more := _exchanges() - circles) > 0:
                left = [f"{more} exchanges"]
            if not left:
                return
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
    raise AssertionError(f"left open: {left}")


def _exchanges() -> int:
    """Those of the youngest generation: while the collector is off, all that are new."""
    return sum(type(one) is Exchange for one in gc.get_objects(generation=0))


def _descriptors() -> set[tuple[int, str]]:
    """Open sockets and files; what the loop keeps for itself (/dev/null, epoll) left out."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        if target.startswith(("socket:", "/")) and target != "/dev/null":
            found.add((int(name), target))
    return found
