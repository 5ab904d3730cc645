"""What other parts keep in the ledger's file: small values, runtime budgets, budget counters,
feedback and lessons.

Rare writes: they ride in the same transactions as holds and receipts.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence

import msgspec

from muxproxy.errors import MuxError
from muxproxy.exchange import Spend
from muxproxy.ledger.lessons import INSERT_LESSON, Lesson, lesson_row
from muxproxy.ledger.pace import Pace

Waiter = asyncio.Future[None]

_SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_MOST_JOBS = 2000  # that wait for the database, before lessons are let go


class Job(msgspec.Struct):
    """A statement, and spends without a call; `waiter` resolves once committed."""

    sql: str
    params: tuple[object, ...]
    waiter: Waiter | None = None
    spends: Sequence[Spend] = ()


class Shelf:
    """The part of the Ledger that is not about calls. Belongs to the loop's thread.

    Everything that returns a future raises MuxError("ledger_unavailable") while `failed`; the
    future fails with it too. Reading raises sqlite3.Error.
    """

    failed: MuxError | None

    def __init__(
        self, con: sqlite3.Connection, loop: asyncio.AbstractEventLoop, pace: Pace
    ) -> None:
        self._con = con
        self._loop = loop
        self._pace = pace
        self._jobs: list[Job] = []

    def usage_rows(self) -> list[tuple[str, str, int, int, int]]:
        """(budget, scope, window start, nano, tokens) of every counter in the file."""
        return self._con.execute("SELECT budget, scope, start, nano, tokens FROM usage").fetchall()

    def book(self, spends: Sequence[Spend]) -> Waiter:
        """Add to budget counters without a call (a top-up)."""
        return self._job("", (), spends)

    def get_meta(self, key: str) -> bytes | None:
        """What set_meta stored (also when not yet written)."""
        for job in self._jobs:
            if job.sql == _SET_META and job.params[0] == key:
                value = job.params[1]
                assert isinstance(value, bytes)
                return value
        row = self._con.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def set_meta(self, key: str, value: bytes) -> None:
        """Store a small value with the next transaction. Keys are `part.name`."""
        self._jobs = [j for j in self._jobs if j.sql != _SET_META or j.params[0] != key]
        self._jobs.append(Job(_SET_META, (key, value)))
        self._pace.later()

    def budgets(self) -> dict[str, bytes]:
        """Runtime budgets: name -> definition (JSON), as last put."""
        return dict(self._con.execute("SELECT name, definition FROM budgets ORDER BY name"))

    def put_budget(self, name: str, definition: bytes | None) -> Waiter:
        """Create, replace or (None) delete a runtime budget."""
        if definition is None:
            return self._job("DELETE FROM budgets WHERE name = ?", (name,))
        return self._job(
            "INSERT OR REPLACE INTO budgets VALUES (?, ?, ?)",
            (name, definition, time.time_ns() // 1_000_000),
        )

    def rate(self, id: int, score: float) -> Waiter:
        """Keep what a caller thought of a call, 0..1; a second rating replaces the first."""
        now = time.time_ns() // 1_000_000
        return self._job("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)", (id, score, now))

    def teach(self, lesson: Lesson) -> bool:
        """Keep a lesson with the next transaction; False: dropped, for the database is behind."""
        if self.failed is not None or len(self._jobs) >= _MOST_JOBS:
            return False
        self._jobs.append(Job(INSERT_LESSON, lesson_row(lesson)))
        self._pace.later()
        return True

    def _job(self, sql: str, params: tuple[object, ...], spends: Sequence[Spend] = ()) -> Waiter:
        if self.failed is not None:
            raise self._unavailable()
        waiter = self._loop.create_future()
        self._jobs.append(Job(sql, params, waiter, spends))
        self._pace.now()
        return waiter

    def _unavailable(self) -> MuxError:
        """A fresh exception each time: raising one object twice grows its traceback for ever."""
        assert self.failed is not None
        return MuxError("ledger_unavailable", self.failed.message)
