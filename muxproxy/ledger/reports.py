"""The read side: connections that cannot write, for the control plane and for the command line."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiosqlite

from muxproxy.errors import MuxError
from muxproxy.exchange import Hold, Receipt
from muxproxy.ledger import opening, queries, schema
from muxproxy.ledger.costs import CostQuery, check, costs
from muxproxy.ledger.failures import LedgerError, explain, unavailable
from muxproxy.ledger.queries import Filters, Question, Rows
from muxproxy.money import dollars

T = TypeVar("T")
# Rules that would have matched, as the reason names them.
_SHADOW = re.compile(r"(?:^|; )shadow rule ([^:]+): ")


def receipt_json(r: Receipt) -> dict[str, Any]:
    """A receipt as `calls --json` and GET /v1/calls/ID show it (DESIGN section 7)."""
    u = r.usage
    return {
        "id": format(r.id, "016x"),
        "time": iso_ms(r.time_ms),
        "caller": r.caller,
        "user": r.user,
        "team": r.team,
        "tags": list(r.tags),
        "run": r.run,
        "rule": r.rule,
        "shadow": _SHADOW.findall(r.reason),
        "reason": r.reason,
        "provider": r.provider,
        "model": r.model,
        "asked_model": r.asked_model,
        "dialect": r.dialect,
        "endpoint": r.endpoint,
        "path": r.path,
        "stream": r.stream,
        "status": r.status,
        "end": r.end,
        "code": r.code,
        "attempts": r.attempts,
        "usage": None
        if u is None
        else {
            "input": u.input,
            "cache_read": u.cache_read,
            "cache_write_5m": u.cache_write_5m,
            "cache_write_1h": u.cache_write_1h,
            "output": u.output,
            "reasoning": u.reasoning,
            "audio_in": u.audio_in,
            "audio_out": u.audio_out,
            "images": u.images,
            "input_total": u.input_total,
            "output_total": u.output_total,
        },
        "usage_source": r.usage_source,
        "cost_usd": dollars(r.cost),
        "held_usd": dollars(r.held),
        "overrun_usd": dollars(r.overrun),
        "price_version": r.price_version,
        "edits": list(r.edits),
        "overhead_ms": r.overhead_us / 1000,
        "ttfb_ms": None if r.ttfb_us is None else r.ttfb_us / 1000,
        "total_ms": r.total_us / 1000,
        "bytes_in": r.bytes_in,
        "bytes_out": r.bytes_out,
        "explored": r.explored,
        "feedback": r.feedback,
    }


def hold_json(h: Hold) -> dict[str, Any]:
    """An open hold: a call in flight."""
    return {
        "id": format(h.id, "016x"),
        "time": iso_ms(h.time_ms),
        "caller": h.caller,
        "provider": h.provider,
        "model": h.model,
        "held_usd": dollars(h.nano),
        "tokens_in": h.tokens_in,
        "tokens_out": h.tokens_out,
        "budgets": list(h.scopes),
    }


def iso_ms(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _open(path: str) -> sqlite3.Connection:
    """Works beside a running server and without one. Raises LedgerError."""
    if not os.path.exists(path):
        raise LedgerError(f"ledger {path}: no such file; has `muxproxy serve` run here?")
    try:
        try:
            return _checked_connection(path, "ro", 2.0)
        except sqlite3.OperationalError:
            # A directory we cannot write to has no room for the WAL's shared memory; without a
            # WAL the file is all there is and nobody writes.
            if os.path.exists(path + "-wal"):
                raise
            return _checked_connection(path, "ro&immutable=1", 0)
    except sqlite3.Error as exc:
        raise LedgerError(explain(path, exc)) from exc


def _checked_connection(path: str, mode: str, timeout: float) -> sqlite3.Connection:
    con = opening.connect(path, mode, timeout)
    try:
        version = schema.check(con, path)
        if version < schema.VERSION:
            raise LedgerError(
                f"ledger {path}: its schema {version} is older than this muxproxy's "
                f"({schema.VERSION}); `muxproxy serve` brings it up to date"
            )
    except BaseException:
        con.close()
        raise
    return con


class Reader:
    """Plain sqlite3, for the command line. A context manager. Raises LedgerError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._con = _open(path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._con.close()

    def ask(self, question: Question[T]) -> T:
        """Drive a question of `queries` in one read transaction."""
        try:
            self._con.execute("BEGIN")
            try:
                step = next(question)
                while True:
                    found = [] if step is None else self._con.execute(*step).fetchall()
                    step = question.send(found)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            finally:
                self._con.execute("COMMIT")
        except sqlite3.Error as exc:
            raise LedgerError(explain(self.path, exc)) from exc

    def calls(self, filters: Filters | None = None, limit: int = 100) -> list[Receipt]:
        """Settled calls, newest first."""
        return self.ask(queries.calls(filters or Filters(), limit))

    def calls_after(self, id: int, limit: int) -> list[Receipt]:
        """Settled calls of higher ids, oldest first."""
        return self.ask(queries.calls_after(id, limit))

    def call(self, id: int) -> Receipt | None:
        """One settled call."""
        return self.ask(queries.call(id))

    def holds(self) -> list[Hold]:
        """What is in flight."""
        return self.ask(queries.holds())

    def usage(self) -> Rows:
        """(budget, scope, window start, nano, tokens) of every budget counter."""
        return self.ask(queries.usage())

    def costs(self, query: CostQuery) -> dict[str, Any]:
        """See costs.costs. Raises ValueError with costs.check's words."""
        return self.ask(costs(_checked(query)))


class AsyncReader:
    """aiosqlite, for the control plane. Opened at the first question; questions take turns.

    Raises MuxError("ledger_unavailable"), and MuxError("invalid_request") for a bad query.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._db: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def ask(self, question: Question[T]) -> T:
        """Drive a question of `queries` in one read transaction, off the loop's thread."""
        async with self._turn:
            try:
                return await self._drive(question)
            except (sqlite3.Error, LedgerError) as exc:
                await self._close()  # the file may have been replaced: open it anew next time
                raise unavailable(exc.__cause__ or exc) from exc

    async def _drive(self, question: Question[T]) -> T:
        if self._db is None:
            self._db = await _connection(lambda: _open(self.path))
        db = self._db
        try:
            # Within the try: a cancel here does not keep the thread from beginning.
            await db.execute("BEGIN")
            step = next(question)
            while True:
                if step is None:
                    await asyncio.sleep(0)
                    found: Rows = []
                else:
                    found = list(await db.execute_fetchall(*step))  # type: ignore[arg-type]
                step = question.send(found)
        except StopIteration as stop:
            answer: T = stop.value
            return answer
        finally:
            await db.rollback()

    async def aclose(self) -> None:
        """Let go of the file."""
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    async def calls(self, filters: Filters | None = None, limit: int = 100) -> list[Receipt]:
        """Settled calls, newest first."""
        return await self.ask(queries.calls(filters or Filters(), limit))

    async def call(self, id: int) -> Receipt | None:
        """One settled call."""
        return await self.ask(queries.call(id))

    async def holds(self) -> list[Hold]:
        """What is in flight."""
        return await self.ask(queries.holds())

    async def costs(self, query: CostQuery) -> dict[str, Any]:
        """See costs.costs."""
        try:
            question = costs(_checked(query))
        except ValueError as exc:
            raise MuxError("invalid_request", str(exc)) from exc
        return await self.ask(question)


def _checked(query: CostQuery) -> CostQuery:
    problem = check(query)
    if problem is not None:
        raise ValueError(problem)
    return query


async def _connection(connector: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    # When its connector raises, aiosqlite (0.22) stops its thread without waiting for it, and the
    # thread's last word may meet a closed loop. So it never raises there.
    failure: list[Exception] = []

    def connect() -> sqlite3.Connection:
        try:
            return connector()
        except (sqlite3.Error, LedgerError) as exc:
            failure.append(exc)
            return sqlite3.connect(":memory:")

    db = await aiosqlite.Connection(connect, iter_chunk_size=64)
    if failure:
        await db.close()
        raise failure[0]
    return db
