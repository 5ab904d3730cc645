"""Hold, settle, release, crash, restart in any order: each hold ends once and the sums agree."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from muxproxy.exchange import Spend
from muxproxy.ledger import Ledger
from tests.ledger.books import drained, hold, receipt, table, wait

HELD = 100


def _spend(nano: int) -> list[Spend]:
    return [Spend("all", "*", 0, nano, 1)]


def _abandon(ledger: Ledger) -> asyncio.Task[None]:
    """Stop without writing anything, as a killed process does."""
    ledger._closed = True
    ledger._pace.close()
    ledger._watch.cancel()
    ledger._maintenance.stop()
    ledger._con.close()
    ledger._owner.close()
    return ledger._task


class Books(RuleBasedStateMachine):
    open_holds = Bundle("open_holds")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.dir = Path(tempfile.mkdtemp())
        self.path = self.dir / "0.db"
        self.generation = 0
        self.ledger = self._open()
        self.open: set[int] = set()  # journaled, unsettled
        self.queued: dict[int, int] = {}  # handed over, perhaps not written: id -> cost
        self.rows: dict[int, int] = {}  # in the file: id -> cost

    def _open(self) -> Ledger:
        return Ledger(str(self.path), "strict", self.loop)

    def _run(self, coroutine: object) -> None:
        self.loop.run_until_complete(coroutine)  # type: ignore[arg-type]

    def _written(self) -> None:
        self.rows |= self.queued
        self.queued.clear()

    def _crashed(self, ids: set[int]) -> None:
        """What the next start makes of holds nobody ended."""
        self.rows |= dict.fromkeys(ids, HELD)
        self.open.clear()
        self.queued.clear()

    @rule(target=open_holds)
    def take(self) -> int:
        id = self.ledger.next_id()
        scopes = ("all|*|0",)
        self._run(wait(self.ledger.hold(hold(id, HELD, scopes=scopes))))
        self.open.add(id)
        if not self.ledger.lag:  # whatever was queued rode along, or waits for a later commit
            self._written()
        return id

    @rule()
    def take_and_leave_at_once(self) -> None:
        """The caller is gone before the hold was written."""
        id = self.ledger.next_id()
        self.ledger.hold(hold(id, HELD, scopes=("all|*|0",)))
        self.ledger.settle(receipt(id, 1), _spend(1))
        self.queued[id] = 1

    @rule(id=consumes(open_holds), cost=st.integers(0, 500))
    def settle(self, id: int, cost: int) -> None:
        if id in self.open:  # else a crash has ended it
            self.ledger.settle(receipt(id, cost), _spend(cost))
            self.queued[id] = cost

    @rule(id=consumes(open_holds), other=consumes(open_holds), cost=st.integers(0, 500))
    def settle_second_attempt(self, id: int, other: int, cost: int) -> None:
        if id in self.open and other in self.open:
            self.ledger.release(id)
            self.ledger.settle(receipt(id, cost), _spend(cost), hold_id=other)
            self._run(drained(self.ledger))
            self._written()
            self.rows[id] = cost
            self.open -= {id, other}

    @rule()
    def without_a_hold(self) -> None:
        id = self.ledger.next_id()
        self.ledger.settle(receipt(id, 3), _spend(3), held=False)
        self.queued[id] = 3

    @rule()
    def drain(self) -> None:
        self._run(drained(self.ledger))
        self._written()

    @rule()
    def restart(self) -> None:
        self._run(self.ledger.aclose())
        settled = set(self.queued)
        self._written()
        self._crashed(self.open - settled - self.rows.keys())
        self.ledger = self._open()

    @rule()
    def crash(self) -> None:
        self.generation += 1
        path = self.dir / f"{self.generation}.db"
        shutil.copy(self.path, path)
        shutil.copy(f"{self.path}-wal", f"{path}-wal")
        self._run(_abandon(self.ledger))
        self.path = path
        # Queued receipts are lost with the process; their holds, if journaled, are not.
        self._crashed(self.open - self.rows.keys())
        self.ledger = self._open()

    @invariant()
    def sums_agree(self) -> None:
        rows = dict(table(self.path, "SELECT id, cost FROM calls"))
        assert rows == self.rows
        booked = table(self.path, "SELECT ifnull(sum(nano), 0) FROM usage")
        assert booked == [(sum(rows.values()),)]
        holds = {id for (id,) in table(self.path, "SELECT id FROM holds")}
        assert holds == self.open - self.rows.keys()

    def teardown(self) -> None:
        self._run(self.ledger.aclose())
        self.loop.close()
        shutil.rmtree(self.dir)


Books.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase
