"""The writer: holds before a request is forwarded, receipts after it, on the loop's own thread.

One transaction per tick of the loop for whatever is queued. A commit is a write to the page cache
(about 0.1 ms); it never waits for a lock: busy means another try a millisecond later. What the
database refuses is kept (receipts, bounded) or refused (holds), and the ledger recovers by itself.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from muxproxy.errors import MuxError
from muxproxy.exchange import Hold, Receipt, Spend
from muxproxy.ledger import opening, rows
from muxproxy.ledger.failures import (
    POISON,
    REOPEN,
    WAIT,
    LedgerError,
    explain,
    primary,
    unavailable,
)
from muxproxy.ledger.identity import Identity
from muxproxy.ledger.maintenance import Maintenance
from muxproxy.ledger.pace import Pace
from muxproxy.ledger.rollup import ID_SHIFT
from muxproxy.ledger.shelf import Job, Shelf, Waiter
from muxproxy.ledger.walsync import WalSync
from muxproxy.ledger.writer import TOUCH, Close, Entry, Writer
from muxproxy.logs import logger

Durability = Literal["strict", "relaxed", "power"]

_BUSY_RETRY = 0.001
_FAILED_RETRY = 0.1
_COMPLAIN = 10.0  # seconds between two log lines about the same trouble
_BATCH = 500  # receipts per transaction: about 5 ms, so that a backlog does not stall the loop


class Ledger(Shelf):
    """The books of one file. Every method belongs to the loop's thread.

    `failed` is set while the database cannot be written; `lag` counts what is queued; `dropped`
    counts receipts lost to a full queue (or that no database would take); `recovered` is how many
    calls a crash had left open. `retention` (seconds, None: for ever) may be changed at any time.

    Raises LedgerError from the constructor: file, cause and fix in one line.
    """

    def __init__(
        self,
        path: str,
        durability: Durability = "strict",
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        retention: float | None = None,
        patience: float = 2.0,
        queue: int = 20_000,
    ) -> None:
        self.path = path
        self.failed: MuxError | None = None
        self.dropped = 0
        self._loop = loop or asyncio.get_running_loop()
        self._relaxed = durability == "relaxed"
        self._patience = patience
        self._queue = queue
        self._owner = opening.Owner(path)
        try:
            con, self.recovered = opening.open_writer(path)
        except BaseException:
            self._owner.close()
            raise
        super().__init__(con, self._loop, Pace(self._loop, self._flush))
        self._writer = Writer(con)
        self._identity = Identity(path)
        self._last = opening.highest_id(con)
        self._holds: dict[int, tuple[Hold, Waiter | None]] = {}
        self._entries: dict[int, Entry] = {}
        self._closes: list[Close] = []
        self._busy_since: float | None = None
        self._closed = False
        self._lost = False
        self._complained = -math.inf
        self._maintenance = Maintenance(path, opening.rolled(con), retention)
        self._task = self._loop.create_task(self._maintenance.run())
        self._watch = self._loop.call_later(1.0, self._look)
        self._sync: WalSync | None = None
        if durability == "power":
            self._sync = WalSync(path, self._loop, self._unsynced)

    def next_id(self) -> int:
        """63 bits, ever rising: Unix milliseconds << 20 | counter."""
        id = time.time_ns() // 1_000_000 << ID_SHIFT
        if id <= self._last:
            id = self._last + 1
        self._last = id
        return id

    def hold(self, hold: Hold) -> Waiter | None:
        """Journal a hold. The future resolves once it is committed; None when relaxed.

        Raises MuxError("ledger_unavailable") at once while the database is failing; the future
        fails with it when the database begins to fail, or stays locked for `patience` seconds.
        """
        if self.failed is not None:
            raise self._unavailable()
        if self._relaxed:
            self._holds[hold.id] = (hold, None)
            self._pace.later()
            return None
        waiter = self._loop.create_future()
        self._holds[hold.id] = (hold, waiter)
        self._pace.now()
        return waiter

    def settle(
        self,
        receipt: Receipt,
        spends: Sequence[Spend] = (),
        held: bool = True,
        hold_id: int | None = None,
    ) -> None:
        """Hand over what a call came to; nothing to await, nothing to cancel, never raises.

        Closes the hold `hold_id` (default: the one with the receipt's id) unless `held` is False.
        A second receipt of the same id is dropped and logged: the first one stands.
        """
        if receipt.id in self._entries or self._closed:
            why = "the ledger is closed" if self._closed else "settled twice"
            logger().error("receipt dropped: " + why, extra={"id": format(receipt.id, "016x")})
            return
        close = (receipt.id if hold_id is None else hold_id) if held else None
        if len(self._entries) >= self._queue:
            # Its hold, if journaled, stays open: the next start books it as estimated.
            self._drop("the queue is full", receipt.id)
            return
        if close is not None:
            self._forget(close)
        self._entries[receipt.id] = (receipt, spends, close)
        self._pace.later()

    def release(self, hold_id: int, spends: Sequence[Spend] = ()) -> None:
        """Close an attempt's hold that gets no receipt of its own (a fall-back took over)."""
        if self._closed:
            return
        self._forget(hold_id)
        self._closes.append((hold_id, spends))
        self._pace.later()

    def find(self, id: int) -> Receipt | None:
        """The receipt with this id, whether written already or not.

        Raises MuxError("ledger_unavailable").
        """
        entry = self._entries.get(id)
        if entry is not None:
            return entry[0]
        try:
            row = self._con.execute(rows.SELECT_CALL + " WHERE c.id = ?", (id,)).fetchone()
        except sqlite3.Error as exc:
            raise unavailable(exc) from exc
        return None if row is None else rows.receipt_of(row)

    @property
    def lag(self) -> int:
        """Rows queued."""
        return len(self._entries) + len(self._holds) + len(self._closes) + len(self._jobs)

    @property
    def retention(self) -> float | None:
        """Seconds that calls are kept; None: for ever."""
        return self._maintenance.retention

    @retention.setter
    def retention(self, seconds: float | None) -> None:
        self._maintenance.retention = seconds

    def _flush(self, whole: bool = True) -> None:
        if self._lost:
            self._reopen()
            if self._lost:
                self._pace.again(_FAILED_RETRY)
                return
        if not (self._holds or self._entries or self._closes or self._jobs or self.failed):
            return
        holds = list(self._holds.values())
        entries = list(islice(self._entries.values(), _BATCH)) if whole else ()
        try:
            self._commit(holds, entries, self._closes if whole else (), self._jobs)
        except POISON as exc:
            self._rollback()
            self._one_by_one(holds, entries, exc)
        except sqlite3.Error as exc:
            self._rollback()
            self._trouble(exc)
        if self._entries and not self._pace.waiting:
            self._pace.on()

    def _commit(
        self,
        holds: Sequence[tuple[Hold, Waiter | None]],
        entries: Sequence[Entry],
        closes: Sequence[Close],
        jobs: Sequence[Job],
    ) -> None:
        """Write and commit these, take them off the queues, wake their waiters."""
        con, writer = self._con, self._writer
        con.execute("BEGIN IMMEDIATE")
        # The roll-up's watermark is read with the write lock held: see rollup.advance_script.
        writer.write([h for h, _ in holds], entries, closes, self._maintenance.floor)
        for job in jobs:
            if job.sql:
                con.execute(job.sql, job.params)
            if job.spends:
                writer.book(job.spends)
        if self.failed is not None:
            con.execute(TOUCH)  # with nothing queued, only a real write tells whether it works
        con.execute("COMMIT")
        writer.committed()
        self._maintenance.written += len(holds) + len(entries)
        self._busy_since = None
        if self.failed is not None:
            self.failed = None
            logger().info("the ledger works again", extra={"queued": self.lag})
        for hold, _ in holds:
            self._holds.pop(hold.id, None)
        for entry in entries:
            self._entries.pop(entry[0].id, None)
        if closes:
            self._closes = []
        waiters = [w for _, w in holds if w is not None and not w.done()]
        if jobs:
            waiters += [j.waiter for j in jobs if j.waiter is not None and not j.waiter.done()]
            self._jobs = []
        if self._sync is not None:
            self._sync.wait(waiters)
            return
        for waiter in waiters:
            waiter.set_result(None)

    def _one_by_one(
        self,
        holds: Sequence[tuple[Hold, Waiter | None]],
        entries: Sequence[Entry],
        error: BaseException,
    ) -> None:
        """One of these cannot be stored as it is: find it, mend or drop it, keep the others."""
        logger().warning("a row cannot be stored as it is", extra={"error": str(error)})
        try:
            for hold, waiter in holds:
                try:
                    self._commit([(rows.cleaned(hold), waiter)], (), (), ())
                except POISON as exc:
                    self._rollback()
                    del self._holds[hold.id]
                    _fail(waiter, MuxError("ledger_unavailable", f"cannot journal this: {exc}"))
            for receipt, spends, close in entries:
                try:
                    self._commit((), [(rows.cleaned(receipt), spends, close)], (), ())
                except POISON as exc:
                    self._rollback()
                    del self._entries[receipt.id]
                    self._drop(str(exc), receipt.id)
                    if close is not None:
                        self._closes.append((close, ()))
            self._commit((), (), self._closes, self._jobs)
        except POISON as exc:  # a job's own parameters: its caller's fault, told to its caller
            self._rollback()
            jobs, self._jobs = self._jobs, []
            for job in jobs:
                _fail(job.waiter, exc)
        except sqlite3.Error as exc:
            self._rollback()
            self._trouble(exc)

    # --- failures ------------------------------------------------------------------------------

    def _trouble(self, error: BaseException) -> None:
        """The database refused: wait a little for a lock, else fail the holds and keep trying."""
        now = self._loop.time()
        if primary(error) in WAIT and self.failed is None:
            if self._busy_since is None:
                self._busy_since = now
            if now - self._busy_since < self._patience:
                self._pace.again(_BUSY_RETRY)
                return
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._busy_since = None
        now = self._loop.time()
        if now - self._complained >= _COMPLAIN:
            self._complained = now
            logger().error(explain(self.path, error), extra={"queued": self.lag})
        self.failed = unavailable(error)
        waiters = [w for _, w in self._holds.values()]
        # Refused: nothing is forwarded on their account. Closed as well, for a COMMIT that reports
        # an I/O error may have been written all the same.
        self._closes += [(id, ()) for id in self._holds]
        self._holds.clear()
        for job in self._jobs:
            if job.waiter is not None:
                waiters.append(job.waiter)
        self._jobs = [job for job in self._jobs if job.waiter is None]
        for waiter in waiters:
            _fail(waiter, self._unavailable())
        if primary(error) in REOPEN:
            self._reopen()
        self._pace.again(_FAILED_RETRY)

    def _unsynced(self, waiters: list[Waiter], error: BaseException) -> None:
        logger().error("ledger %s: fsync failed: %s", self.path, error)
        for waiter in waiters:
            _fail(waiter, MuxError("ledger_unavailable", "the ledger cannot be synced to disk"))

    def _rollback(self) -> None:
        self._writer.rolled_back()
        try:
            if self._con.in_transaction:
                self._con.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite rolls back by itself after some errors

    def _look(self) -> None:
        """Once a second: is the file at our path still the one we have open?"""
        self._watch = self._loop.call_later(1.0, self._look)
        problem = None if self._lost else self._identity.problem()
        if problem is not None:
            self._lost = True  # SQLite would go on writing into a file without a name
            error = sqlite3.OperationalError(problem)
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            self._fail(error)

    def _reopen(self) -> None:
        """Try a new connection: the file may be back, or remounted, or a restored copy."""
        try:
            if self._lost and self._identity.same_main():
                # Only the -wal is gone: what it held can still be brought home through our handle.
                self._con.execute("PRAGMA wal_checkpoint(PASSIVE)")
            con = opening.reopen_writer(self.path)
        except (sqlite3.Error, LedgerError):
            return
        self._con.close()
        self._con = con
        self._writer = Writer(con)
        self._identity = Identity(self.path)
        self._lost = False
        self._maintenance.reopen = True
        if self._sync is not None:
            self._sync.reopen()

    def _forget(self, hold_id: int) -> None:
        """A hold that ends before it was written need not be written."""
        queued = self._holds.pop(hold_id, None)
        if queued is not None and queued[1] is not None and not queued[1].done():
            queued[1].set_result(None)

    def _drop(self, why: str, id: int) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8 ...: a full queue must not flood
            logger().error(
                "receipt dropped: " + why, extra={"id": format(id, "016x"), "dropped": self.dropped}
            )

    # --- the end ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Write what is queued (trying for `patience` seconds), checkpoint, close."""
        deadline = self._loop.time() + self._patience
        while self.lag and self._loop.time() < deadline:
            self._flush()
            calm = self.failed is None and self._busy_since is None
            await asyncio.sleep(0 if calm else 0.01)
        if self.lag:
            logger().error("ledger closed with rows unwritten", extra={"rows": self.lag})
        self._closed = True
        self._pace.close()
        self._watch.cancel()
        for _, waiter in self._holds.values():
            _fail(waiter, MuxError("shutting_down", "the ledger is closed"))
        if self._sync is not None:
            await self._sync.aclose()
        self._maintenance.stop()
        await self._task
        if not self._lost:
            await asyncio.to_thread(opening.checkpoint, self.path)
        self._con.close()  # the last connection: SQLite removes the WAL
        self._owner.close()


def _fail(waiter: Waiter | None, error: BaseException) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)
