"""Makers of holds, receipts and spends for the ledger's tests."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from muxproxy.exchange import Hold, Receipt, Spend, Usage
from muxproxy.ledger import Ledger

RAW = (
    b'{"prompt_tokens":1200,"completion_tokens":345,"prompt_tokens_details":{"cached_tokens":1000}}'
)


def hold(id: int, nano: int | None = 100, **more: Any) -> Hold:
    fields = {
        "time_ms": id >> 20,
        "caller": "alice",
        "provider": "openai",
        "model": "gpt-4o",
        "tokens_in": 7,
        "tokens_out": 3,
        "scopes": ("daily|alice|1700000000", "hard|*|0"),
    }
    return Hold(id=id, nano=nano, **(fields | more))


def receipt(id: int, cost: int | None = 60, **more: Any) -> Receipt:
    fields = {
        "time_ms": id >> 20,
        "caller": "alice",
        "provider": "openai",
        "model": "gpt-4o",
        "rule": "default",
        "dialect": "openai",
        "endpoint": "chat",
        "path": "/v1/chat/completions",
        "status": 200,
        "attempts": 1,
        "usage": Usage(input=200, cache_read=1000, output=345),
        "usage_source": "provider",
        "usage_raw": RAW,
        "total_us": 1_000_000,
    }
    return Receipt(id=id, cost=cost, **(fields | more))


def spends(nano: int = 60, tokens: int = 10) -> list[Spend]:
    return [Spend("daily", "alice", 1700000000, nano, tokens), Spend("hard", "*", 0, nano, tokens)]


async def call(ledger: Ledger, nano: int = 60, **more: Any) -> int:
    """One call through hold and settle; its id."""
    id = ledger.next_id()
    waiter = ledger.hold(hold(id))
    if waiter is not None:
        await waiter
    ledger.settle(receipt(id, nano, **more), spends(nano))
    return id


def table(path: Path | str, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a file that a ledger may have open."""
    con = sqlite3.connect(path)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


async def wait(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None:
        await waiter


async def drained(ledger: Ledger) -> None:
    """Everything queued is written; the time-out is a failure bound, not a measurement."""
    async with asyncio.timeout(10):
        while ledger.lag:
            await asyncio.sleep(0.001)
