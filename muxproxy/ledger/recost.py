"""Re-pricing history: new costs for stored calls, the roll-up kept in step.

Budget counters are not touched: what was spent under a limit was spent at the prices of its day.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from muxproxy.exchange import Receipt
from muxproxy.ledger import opening, rows, schema
from muxproxy.ledger.failures import LedgerError, explain
from muxproxy.ledger.rollup import DAY_MS, HOUR_MS, ID_SHIFT, first_id

_PAGE = 1000
_STEP = 100  # calls per transaction: a few milliseconds of the write lock


class Change(msgspec.Struct, frozen=True):
    """A call's new price; nano-dollars, None: unknown."""

    id: int
    cost: int | None
    price_version: str | None


class Recoster:
    """Reads and re-prices, beside a running server or without one. Raises LedgerError."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._con = opening.connect(path, "rw", 2.0)
            version = schema.check(self._con, path)
        except sqlite3.Error as exc:
            raise LedgerError(explain(path, exc)) from exc
        if version != schema.VERSION:
            self._con.close()
            raise LedgerError(f"ledger {path}: `muxproxy serve` must bring it up to date first")

    def __enter__(self) -> Recoster:
        return self

    def __exit__(self, *exc: object) -> None:
        self._con.close()

    def calls(self, since_ms: int, until_ms: int) -> Iterator[Receipt]:
        """Calls with usage, oldest first. No transaction stays open between two of them."""
        low = first_id(since_ms)
        while True:
            page = self._con.execute(
                rows.SELECT_CALL.replace(" JOIN ", " CROSS JOIN ")
                + " WHERE c.id >= ? AND c.id < ? AND c.input IS NOT NULL ORDER BY c.id LIMIT ?",
                (low, first_id(until_ms), _PAGE),
            ).fetchall()
            yield from map(rows.receipt_of, page)
            if len(page) < _PAGE:
                return
            low = page[-1][0] + 1

    def apply(self, changes: Sequence[Change]) -> int:
        """Write new prices in short transactions; how many calls had them written."""
        written = 0
        try:
            for start in range(0, len(changes), _STEP):
                self._con.execute("BEGIN IMMEDIATE")
                try:
                    rolled = opening.rolled(self._con)
                    for change in changes[start : start + _STEP]:
                        written += self._one(change, rolled)
                    self._con.execute("COMMIT")
                finally:
                    if self._con.in_transaction:
                        self._con.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise LedgerError(explain(self.path, exc)) from exc
        return written

    def _one(self, change: Change, rolled: int) -> int:
        row = self._con.execute(
            "SELECT c.cost, c.dim, c.id IN (SELECT id FROM late) FROM calls c"
            " WHERE c.id = ? AND c.input IS NOT NULL",
            (change.id,),
        ).fetchone()
        if row is None:  # retention was faster
            return 0
        old, dim, late = row
        self._con.execute(
            "UPDATE calls SET cost = ?, more = json_set(more, ?, ?) WHERE id = ?",
            (change.cost, rows.more_at("price_version"), change.price_version, change.id),
        )
        if change.id < rolled and not late:
            new = change.cost
            ms = change.id >> ID_SHIFT
            for table, span in (("rollup", HOUR_MS), ("rollup_days", DAY_MS)):
                self._con.execute(
                    f"UPDATE {table} SET cost = cost + ?, unpriced = unpriced + ?, free = free + ?"
                    " WHERE slot = ? AND dim = ?",
                    (
                        (new or 0) - (old or 0),
                        (new is None) - (old is None),
                        (new == 0) - (old == 0),
                        ms // span,
                        dim,
                    ),
                )
        return 1
