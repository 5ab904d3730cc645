"""The statements of one transaction. No transaction control here: `store` begins and commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from muxproxy.exchange import Hold, Receipt, Spend
from muxproxy.ledger.rows import (
    INSERT_DIM,
    INSERT_HOLD,
    DimKey,
    Given,
    Row,
    call_row,
    dim_id,
    dim_key,
    dim_row,
    hold_row,
    insert_call,
)

Entry = tuple[Receipt, Sequence[Spend], int | None]  # what settle() took; the hold it closes
Close = tuple[int, Sequence[Spend]]  # a hold that ends without a row of its own

_DIMS_KEPT = 4096

# A write that changes nothing.
TOUCH = "UPDATE meta SET value = value WHERE key = 'ledger.rolled'"

_CLOSE = "DELETE FROM holds WHERE id = ?"
_SPEND = (
    "INSERT INTO usage (budget, scope, start, nano, tokens) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (budget, scope, start)"
    " DO UPDATE SET nano = nano + excluded.nano, tokens = tokens + excluded.tokens"
)
_LATE = "INSERT OR IGNORE INTO late (id) VALUES (?)"


class Writer:
    """Writes through one connection and remembers which dims the file already has."""

    __slots__ = ("_con", "_dims", "_fresh")

    def __init__(self, con: sqlite3.Connection) -> None:
        self._con = con
        self._dims: dict[DimKey, int] = {}
        self._fresh: dict[DimKey, int] = {}

    def write(
        self,
        holds: Iterable[Hold],
        entries: Iterable[Entry],
        closes: Iterable[Close],
        floor: int,
    ) -> None:
        """Within the caller's transaction. Ids below `floor` are noted for the roll-up as late.

        Raises sqlite3.Error, and OverflowError or ValueError for what SQLite cannot hold.
        """
        con = self._con
        calls: dict[Given, list[Row]] = {}
        late: list[tuple[int]] = []
        closed: list[tuple[int]] = []
        usage: dict[tuple[str, str, int], tuple[int, int]] = {}
        for receipt, spends, close in entries:
            given, row = call_row(receipt, self._dim(receipt))
            if given in calls:
                calls[given].append(row)
            else:
                calls[given] = [row]
            if receipt.id < floor:
                late.append((receipt.id,))
            if close is not None:
                closed.append((close,))
            if spends:
                _add(usage, spends)
        for close, spends in closes:
            closed.append((close,))
            if spends:
                _add(usage, spends)
        held = [hold_row(hold) for hold in holds]
        # Receipts and deletions first: their pages are the ones the holds then reuse.
        if closed:
            con.executemany(_CLOSE, closed)
        for given, rows in calls.items():
            con.executemany(insert_call(given), rows)
        if late:
            con.executemany(_LATE, late)
        if usage:
            con.executemany(_SPEND, [(*key, *value) for key, value in usage.items()])
        if held:
            con.executemany(INSERT_HOLD, held)

    def book(self, spends: Sequence[Spend]) -> None:
        """Add to the counters alone (top-ups, corrections)."""
        usage: dict[tuple[str, str, int], tuple[int, int]] = {}
        _add(usage, spends)
        self._con.executemany(_SPEND, [(*key, *value) for key, value in usage.items()])

    def committed(self) -> None:
        """What was written is in the file."""
        if self._fresh:
            if len(self._dims) > _DIMS_KEPT:
                self._dims.clear()
            self._dims.update(self._fresh)
            self._fresh.clear()

    def rolled_back(self) -> None:
        """What was written is not in the file."""
        self._fresh.clear()

    def _dim(self, receipt: Receipt) -> int:
        key = dim_key(receipt)
        id = self._dims.get(key) or self._fresh.get(key)
        if id is None:
            id = self._fresh[key] = dim_id(key)
            self._con.execute(INSERT_DIM, dim_row(id, key))
            if key[6]:
                self._con.executemany(
                    "INSERT OR IGNORE INTO dim_tags (dim, tag) VALUES (?, ?)",
                    [(id, tag) for tag in key[6]],
                )
        return id


def _add(usage: dict[tuple[str, str, int], tuple[int, int]], spends: Sequence[Spend]) -> None:
    for s in spends:
        key = (s.budget, s.scope, s.window)
        nano, tokens = usage.get(key, (0, 0))
        usage[key] = (nano + s.nano, tokens + s.tokens)
