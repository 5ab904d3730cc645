"""Checkpoints, roll-up and retention: on another thread and connection, in short steps.

Every write here is one call on aiosqlite's thread that takes the write lock, works for a few
milliseconds and lets go; the lock is never held across a tick of the loop, which would find its
own commits busy for that long. Between steps there is a pause, so the loop always gets its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sqlite3
import time

import aiosqlite

from muxproxy.ledger import opening
from muxproxy.ledger.rollup import HOUR_MS, advance_script, first_id, late_script
from muxproxy.ledger.writer import TOUCH
from muxproxy.logs import logger

_PERIOD = 1.0  # seconds between rounds
_ROLL_PERIOD = 10.0
_USAGE_PERIOD = 3600.0
_CHECKPOINT_ROWS = 2000  # rows written that are worth a checkpoint at once
_CHECKPOINT_PERIOD = 30.0
_TRUNCATE_BYTES = 64 << 20  # a WAL that never found a quiet moment to start over
_BEHIND_MS = 60_000  # calls younger than this are left: most receipts then come before the roll-up
_ROLL_ROWS = 250  # 2-3 ms of the write lock
_PRUNE_ROWS = 200
_USAGE_DAYS = 62  # budget windows older than this are no current window of any kind


class Maintenance:
    """One background task; `run` lives as long as the ledger.

    `floor`: the loop notes calls with ids below it as late (see rollup). `written`: rows since the
    last checkpoint. `retention`: seconds. `reopen`: the file was replaced.
    """

    def __init__(self, path: str, floor: int, retention: float | None) -> None:
        self.path = path
        self.retention = retention
        self.floor = floor
        self.written = 0
        self.reopen = False
        self._stop = asyncio.Event()
        self._checkpointed = self._rolled = time.monotonic()
        self._usage_pruned = -math.inf

    async def run(self) -> None:
        """Rounds until stop(). A failing database is logged once per failure, and tried on."""
        failing = False
        while not await self._rest(_PERIOD):
            try:
                async with open_maintenance(self.path) as db:
                    self.reopen = False
                    while not (self.reopen or self._stop.is_set()):
                        await self.round(db, time.time_ns() // 1_000_000)
                        failing = False
                        await self._rest(_PERIOD)
            except sqlite3.Error as exc:
                if not failing:
                    logger().warning("ledger maintenance: %s", exc)
                failing = True

    def stop(self) -> None:
        """End `run` after the step it is at. Not by cancelling: aiosqlite's thread would report
        to a loop that may be closed by then."""
        self._stop.set()

    async def _rest(self, seconds: float) -> bool:
        """Sleep, but not beyond stop(); whether stop() was called."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        return self._stop.is_set()

    async def round(self, db: aiosqlite.Connection, now_ms: int) -> None:
        """Everything that is due."""
        since = time.monotonic() - self._checkpointed
        if self.written >= _CHECKPOINT_ROWS or (self.written and since >= _CHECKPOINT_PERIOD):
            await self.checkpoint(db)
        if time.monotonic() - self._rolled >= _ROLL_PERIOD:
            self._rolled = time.monotonic()
            await self.roll(db, now_ms - _BEHIND_MS)
            if self.retention is not None:
                await self.prune(db, now_ms - int(self.retention * 1000))
        if time.monotonic() - self._usage_pruned >= _USAGE_PERIOD:
            self._usage_pruned = time.monotonic()
            await self.prune_usage(db, now_ms)

    async def checkpoint(self, db: aiosqlite.Connection) -> None:
        """PASSIVE copies without a lock; only the rest of a large WAL is done under one."""
        self.written = 0
        self._checkpointed = time.monotonic()
        _, frames, copied = await _row(db, "PRAGMA wal_checkpoint(PASSIVE)")
        if frames > 0 and frames == copied:
            # The next commit starts the WAL over and syncs its header (milliseconds): this one
            # does it here, or the loop's would do it there.
            await _done(db, TOUCH)
        elif _size(self.path + "-wal") >= _TRUNCATE_BYTES:
            # It waits for readers with the write lock in its hand: not for long.
            await _row(db, "PRAGMA busy_timeout=20")
            await _row(db, "PRAGMA wal_checkpoint(TRUNCATE)")
            await _row(db, "PRAGMA busy_timeout=1000")

    async def roll(self, db: aiosqlite.Connection, until_ms: int) -> int:
        """Roll up all calls older than `until_ms`; how many steps it took."""
        target = first_id(until_ms)
        low = await _meta(db, "ledger.rolled")
        steps = 0
        while low < target and not self._stop.is_set():
            some = f"SELECT id FROM calls WHERE id >= {low} AND id < {target} ORDER BY id LIMIT 1"
            row = await _row(db, f"{some} OFFSET {_ROLL_ROWS}")
            if not row and not await _row(db, some):
                break  # nothing new: an idle ledger writes nothing
            high = row[0] if row else target
            self.floor = max(self.floor, high)  # before the step: see rollup.advance_script
            await _script(db, advance_script(low, high))
            low = await _meta(db, "ledger.rolled")
            steps += 1
        while not self._stop.is_set() and (
            ids := await _column(
                db, f"SELECT id FROM late WHERE id < {low} ORDER BY id LIMIT {_ROLL_ROWS // 2}"
            )
        ):
            await _script(db, late_script(ids))
            steps += 1
        return steps

    async def prune(self, db: aiosqlite.Connection, before_ms: int) -> int:
        """Delete calls of whole hours before `before_ms` that the roll-up has; how many.

        The roll-up stays: reports over old days keep their figures.
        """
        cut = first_id(before_ms // HOUR_MS * HOUR_MS)
        cut = min(cut, await _meta(db, "ledger.rolled"))
        if cut <= await _meta(db, "ledger.pruned"):
            return 0
        # First the mark, so that no report takes a half-deleted hour from `calls`.
        await _done(db, f"UPDATE meta SET value = {cut} WHERE key = 'ledger.pruned'")
        gone = 0
        while True:
            started = time.monotonic()
            count = await _done(
                db,
                f"DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE id < {cut}"
                f" AND id NOT IN (SELECT id FROM late) ORDER BY id LIMIT {_PRUNE_ROWS})",
            )
            gone += count
            if self._stop.is_set():
                return gone
            if count < _PRUNE_ROWS:
                break
            self.written += count
            if self.written >= _CHECKPOINT_ROWS:
                await self.checkpoint(db)
            await asyncio.sleep(3 * (time.monotonic() - started))
        for table in ("lessons", "feedback"):
            await self._prune_beside(db, table, cut)
        return gone

    async def _prune_beside(self, db: aiosqlite.Connection, table: str, cut: int) -> None:
        """What was kept about calls goes with them."""
        some = f"SELECT id FROM {table} WHERE id < {cut} ORDER BY id LIMIT {_PRUNE_ROWS}"
        while not self._stop.is_set():
            started = time.monotonic()
            if await _done(db, f"DELETE FROM {table} WHERE id IN ({some})") < _PRUNE_ROWS:
                return
            await asyncio.sleep(3 * (time.monotonic() - started))

    async def prune_usage(self, db: aiosqlite.Connection, now_ms: int) -> None:
        """Delete counters of windows long over; prepaid and top-ups (start <= 0) stay."""
        before = now_ms // 1000 - _USAGE_DAYS * 86_400
        await _done(db, f"DELETE FROM usage WHERE start > 0 AND start < {before}")


def open_maintenance(path: str) -> aiosqlite.Connection:
    """A connection on its own thread, to be entered with `async with`."""
    return aiosqlite.Connection(lambda: opening.connect(path, "rw", 1.0), iter_chunk_size=64)


async def _meta(db: aiosqlite.Connection, key: str) -> int:
    return int((await _row(db, f"SELECT value FROM meta WHERE key = '{key}'"))[0])


async def _row(db: aiosqlite.Connection, sql: str) -> tuple[int, ...]:
    for row in await db.execute_fetchall(sql):
        return tuple(row)
    return ()


async def _done(db: aiosqlite.Connection, sql: str) -> int:
    """Run one statement (a transaction of its own); the rows it changed."""
    cursor = await db.execute(sql)
    count = cursor.rowcount
    await cursor.close()
    return count


async def _column(db: aiosqlite.Connection, sql: str) -> list[int]:
    return [row[0] for row in await db.execute_fetchall(sql)]


async def _script(db: aiosqlite.Connection, script: str) -> None:
    """A whole transaction in one call on the thread, then a pause three times as long."""
    started = time.monotonic()
    try:
        await db.executescript(script)
    except sqlite3.Error:
        if db.in_transaction:
            await db.rollback()
        raise
    await asyncio.sleep(3 * (time.monotonic() - started))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
