"""The database fails under running calls: a clear 503 or a pass, never a hang, and it recovers."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Receipt
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, flying, sums

YAML = """
prices: {"*": {input: 1, output: 2}}
budgets: [{name: purse, limit: $100, hold: worst, window: month}]
models: {both: [openai/bad, mistral/good]}
"""
PASS = "on_ledger_failure: pass\n"
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Tell me a story"}]}
CHAT["max_tokens"] = 20
PATH = "/v1/chat/completions"
GENERATE: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Tell"}]}]}
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATH, CHAT),
    "responses": ("/v1/responses", {"model": "m", "input": "Tell me"}),
    "anthropic": ("/v1/messages", CHAT),
    "gemini": ("/v1beta/models/m:generateContent", GENERATE),
    "stream": (PATH, {**CHAT, "stream": True}),
}


def intruder(proxy: Stack) -> sqlite3.Connection:
    """Another program's connection to the file."""
    return sqlite3.connect(proxy.state, isolation_level=None, timeout=5)


@asynccontextmanager
async def locked(proxy: Stack) -> AsyncIterator[sqlite3.Connection]:
    """Somebody else writes and does not end."""
    con = intruder(proxy)
    con.execute("BEGIN IMMEDIATE")
    try:
        yield con
    finally:
        if con.in_transaction:
            con.execute("ROLLBACK")
        con.close()


async def recovered(proxy: Stack) -> int:
    """Until calls are served again; how many were refused meanwhile."""
    async with asyncio.timeout(10):
        refused = 0
        while (answer := await fetch(proxy.port, PATH, CHAT)).status != 200:
            assert_unavailable(answer, "chat")
            refused += 1
            await asyncio.sleep(0.05)
    assert (await proxy.get("/ready")).status == 200
    return refused


def assert_unavailable(answer: Answer, kind: str, says: str = "") -> None:
    """A 503 in the dialect that says why and may be retried."""
    assert answer.status == 503, answer.body
    body = answer.json()
    assert code_in(body, "chat" if kind == "stream" else kind) == "ledger_unavailable"
    assert says in body["error"]["message"]
    assert "x-should-retry" not in answer.headers
    assert str(answer.headers).find("/books.db") < 0 and b"books.db" not in answer.body


def spent(receipts: list[Receipt]) -> int:
    """Nano-dollars of all rows."""
    return sum(r.cost or 0 for r in receipts)


# -- locked --------------------------------------------------------------------------------------


async def test_a_locked_ledger_refuses_in_each_dialect_and_recovers(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        assert (await fetch(proxy.port, PATH, CHAT)).status == 200
        async with locked(proxy):
            answers = await asyncio.gather(*(fetch(proxy.port, *ask) for ask in ASKS.values()))
            for kind, answer in zip(ASKS, answers, strict=True):
                assert_unavailable(answer, kind, "locked by another process")
            assert_unavailable(await fetch(proxy.port, PATH, CHAT), "chat")
            ready = await proxy.get("/ready")
            assert (ready.status, ready.json()["status"]) == (503, "not ready")
            assert len(proxy.sim.requests) == 1
            (row,) = proxy.runtime.budgets()
            assert row["held"] == 0
        refused = await recovered(proxy)
        receipts = await balanced(proxy, 1 + len(ASKS) + 1 + refused + 1)
        kept = [r for r in receipts if r.status == 503]
        assert {(r.end, r.code, r.cost, r.attempts) for r in kept} == {
            ("refused", "ledger_unavailable", 0, 0)
        }
        assert sums(proxy, "purse")["all"][0] == spent(receipts)


async def test_a_short_lock_only_delays(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        async with locked(proxy) as con:
            calls = [asyncio.create_task(fetch(proxy.port, *ask)) for ask in ASKS.values()]
            await flying(proxy, len(ASKS))
            assert not proxy.sim.requests
            con.execute("ROLLBACK")
            assert {a.status for a in await asyncio.gather(*calls)} == {200}
        await balanced(proxy, len(ASKS))


async def test_pass_lets_calls_go_on_unjournaled_and_books_them_later(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML + PASS) as proxy:
        async with locked(proxy):
            answers = await asyncio.gather(*(fetch(proxy.port, *ask) for ask in ASKS.values()))
            assert {a.status for a in answers} == {200}
            assert (await proxy.get("/ready")).json()["ledger"] != "ok"
            assert proxy.runtime.ledger.failed is not None
            again = await fetch(proxy.port, PATH, CHAT)
            assert again.status == 200
            # A row that is not written yet can be seen all the same.
            assert (await proxy.receipt(again)).end == "finished"
        receipts = await balanced(proxy, len(ASKS) + 1)
        assert spent(receipts) > 0
        assert sums(proxy, "purse")["all"][0] == spent(receipts)


async def test_a_stream_under_way_is_not_touched(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        headers = {"x-sim-lockstep": "k", "x-sim-tokens": "20"}
        stream = asyncio.create_task(fetch(proxy.port, *ASKS["stream"], headers))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        async with locked(proxy):
            proxy.sim.ack("k", 10_000)
            answer = await stream
            assert (answer.status, answer.broken) == (200, False)
            assert b"[DONE]" in answer.body
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.usage_source) == ("finished", "provider")
        assert sums(proxy, "purse")["all"][0] == receipt.cost


async def test_a_caller_that_leaves_while_its_hold_waits_owes_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        async with locked(proxy):
            await fetch(proxy.port, PATH, CHAT, leave_after=0.05)
            await flying(proxy, 0)
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.cost, receipt.attempts) == ("client_left", 0, 0)
        assert not proxy.sim.requests
        assert sums(proxy, "purse") == {}


async def test_a_second_candidate_that_was_never_sent_owes_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        headers = {"x-sim-status": "503", "x-sim-for": "bad", "x-sim-ttft": "100ms"}
        call = asyncio.create_task(fetch(proxy.port, PATH, {**CHAT, "model": "both"}, headers))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        async with locked(proxy):
            assert_unavailable(await call, "chat")
        (receipt,) = await balanced(proxy, 1)
        assert len(proxy.sim.requests) == 1
        assert receipt.cost == 0
        assert sums(proxy, "purse") == {}


async def test_closing_under_a_lock_ends_and_the_next_start_books_what_was_open(
    tmp_path: Path,
) -> None:
    con: sqlite3.Connection | None = None
    async with stack(tmp_path, YAML) as proxy:
        call = asyncio.create_task(fetch(proxy.port, PATH, CHAT, {"x-sim-hang-after": "0"}))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        con = intruder(proxy)
        con.execute("BEGIN IMMEDIATE")
    await asyncio.wait([call])
    con.execute("ROLLBACK")
    con.close()
    async with stack(tmp_path, YAML) as proxy:
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.code, receipt.usage_source) == (
            "error",
            "crashed",
            "estimated",
        )
        assert receipt.cost == receipt.held
        assert sums(proxy, "purse")["all"][0] == receipt.cost


# -- full, read-only, gone -----------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path) -> Path:
    """Takes what is left of the disk; removing the file makes room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("policy", ["refuse", "pass"])
async def test_a_full_disk(small_disk: Path, policy: str) -> None:
    async with stack(small_disk, YAML + f"on_ledger_failure: {policy}\n") as proxy:
        assert (await fetch(proxy.port, PATH, CHAT)).status == 200
        filler = _fill(small_disk)
        statuses = []
        for _ in range(200):  # some still fit into the pages that are there
            answer = await fetch(proxy.port, PATH, CHAT)
            statuses.append(answer.status)
            if answer.status == 503:
                assert_unavailable(answer, "chat", "disk full")
            if proxy.runtime.ledger.failed is not None and len(statuses) > 20:
                break
        assert proxy.runtime.ledger.failed is not None
        assert set(statuses) <= ({200, 503} if policy == "refuse" else {200})
        if policy == "refuse":
            assert statuses[-1] == 503
        filler.unlink()
        refused = await recovered(proxy)
        receipts = await balanced(proxy, 1 + len(statuses) + refused + 1)
        assert len(proxy.sim.requests) == sum(r.attempts for r in receipts)
        assert sums(proxy, "purse")["all"][0] == spent(receipts)


async def test_a_ledger_gone_read_only_refuses_and_recovers(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy:
        # What SQLite says after `mount -o remount,ro`, until the file is opened anew.
        proxy.runtime.ledger._con.execute("PRAGMA query_only=ON")
        answer = await fetch(proxy.port, PATH, CHAT)
        assert_unavailable(answer, "chat", "read-only")
        refused = await recovered(proxy)
        await balanced(proxy, refused + 2)
        assert len(proxy.sim.requests) == 1


def _backup(proxy: Stack, to: Path) -> None:
    source, copy = intruder(proxy), sqlite3.connect(to)
    source.backup(copy)
    copy.close()
    source.close()


def _delete(path: Path) -> None:
    for name in ("", "-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)


GONE: dict[str, Callable[[Path], object]] = {
    "deleted": _delete,
    "moved away": lambda path: path.rename(path.with_suffix(".old")),
}


@pytest.mark.parametrize("remove", GONE.values(), ids=GONE)
async def test_a_file_that_vanishes_is_noticed_and_a_restored_copy_taken_up(
    tmp_path: Path, remove: Callable[[Path], object]
) -> None:
    async with stack(tmp_path, YAML) as proxy:
        assert (await fetch(proxy.port, PATH, CHAT)).status == 200
        await balanced(proxy, 1)
        copy = tmp_path / "copy"
        _backup(proxy, copy)
        remove(proxy.state)
        async with asyncio.timeout(10):
            while proxy.runtime.ledger.failed is None:
                await asyncio.sleep(0.02)
        for kind, ask in ASKS.items():
            assert_unavailable(await fetch(proxy.port, *ask), kind)
        assert len(proxy.sim.requests) == 1
        copy.rename(proxy.state)
        refused = await recovered(proxy)
        receipts = await balanced(proxy, 1 + len(ASKS) + refused + 1)
        assert sums(proxy, "purse")["all"][0] == spent(receipts)


async def test_pass_goes_on_without_a_file(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML + PASS) as proxy:
        _delete(proxy.state)
        async with asyncio.timeout(10):
            while proxy.runtime.ledger.failed is None:
                await asyncio.sleep(0.02)
        answers = await asyncio.gather(*(fetch(proxy.port, *ask) for ask in ASKS.values()))
        assert {a.status for a in answers} == {200}
        async with asyncio.timeout(5):
            for answer in answers:
                assert (await proxy.receipt(answer)).end == "finished"
