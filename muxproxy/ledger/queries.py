"""Questions to the ledger, without I/O.

A question is a generator: it yields (sql, parameters) and is sent the rows, or yields None where
a long computation may let others run; it returns the answer. `reports` drives it, from a plain
connection or through aiosqlite, within one read transaction.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import msgspec

from muxproxy.exchange import Hold, Receipt
from muxproxy.ledger import rows
from muxproxy.ledger.rollup import first_id

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Question = Generator[tuple[str, tuple[Any, ...]] | None, Rows, T]


class Filters(msgspec.Struct, kw_only=True, frozen=True):
    """Which calls. None: any. Times are Unix milliseconds, since <= time < until.

    `before`: only ids below this one (the last id of the previous page).
    """

    since: int | None = None
    until: int | None = None
    before: int | None = None
    caller: str | None = None
    user: str | None = None
    team: str | None = None
    tag: str | None = None
    provider: str | None = None
    model: str | None = None
    rule: str | None = None
    run: str | None = None
    status: int | None = None
    end: str | None = None


_DIMS = ("caller", "user", "team", "provider", "model", "rule")


def dims_where(values: dict[str, str | None], alias: str) -> tuple[list[str], list[Any]]:
    """Conditions on a table's `dim` column for what lives in `dims`."""
    terms = [(name, values.get(name)) for name in _DIMS]
    chosen = [(name, value) for name, value in terms if value is not None]
    where: list[str] = []
    params: list[Any] = []
    if chosen:
        inner = " AND ".join(f"{name} = ?" for name, _ in chosen)
        where.append(f"{alias}.dim IN (SELECT id FROM dims WHERE {inner})")
        params += [value for _, value in chosen]
    if values.get("tag") is not None:
        where.append(f"{alias}.dim IN (SELECT dim FROM dim_tags WHERE tag = ?)")
        params.append(values["tag"])
    return where, params


def calls(filters: Filters, limit: int) -> Question[list[Receipt]]:
    """Settled calls, newest first."""
    where, params = dims_where(msgspec.structs.asdict(filters), "c")
    bounds = (
        ("c.id >= ?", None if filters.since is None else first_id(filters.since)),
        ("c.id < ?", None if filters.until is None else first_id(filters.until)),
        ("c.id < ?", filters.before),
        ("c.run = ?", filters.run),
        ("c.status = ?", filters.status),
        ("c.end = ?", filters.end),
    )
    for term, value in bounds:
        if value is not None:
            where.append(term)
            params.append(value)
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    # CROSS JOIN pins the order: walk calls from the newest, stop at the limit.
    sql = rows.SELECT_CALL.replace(" JOIN ", " CROSS JOIN ") + condition
    found = yield sql + " ORDER BY c.id DESC LIMIT ?", (*params, limit)
    return [rows.receipt_of(row) for row in found]


def calls_after(id: int, limit: int) -> Question[list[Receipt]]:
    """Settled calls of higher ids, oldest first."""
    sql = rows.SELECT_CALL.replace(" JOIN ", " CROSS JOIN ")
    found = yield f"{sql} WHERE c.id > ? ORDER BY c.id LIMIT ?", (id, limit)
    return [rows.receipt_of(row) for row in found]


def call(id: int) -> Question[Receipt | None]:
    """One settled call."""
    found = yield rows.SELECT_CALL + " WHERE c.id = ?", (id,)
    return rows.receipt_of(found[0]) if found else None


def holds() -> Question[list[Hold]]:
    """What is in flight, oldest first."""
    found = yield rows.SELECT_HOLD + " ORDER BY id", ()
    return [rows.hold_of(row) for row in found]


def usage() -> Question[Rows]:
    """(budget, scope, window start, nano, tokens) of every budget counter."""
    found = yield (
        "SELECT budget, scope, start, nano, tokens FROM usage ORDER BY budget, scope, start",
        (),
    )
    return found
