"""A million rows: every report, the roll-up and retention, with their times printed."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path

import pytest

from muxproxy.exchange import Receipt, Usage
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.maintenance import open_maintenance
from muxproxy.ledger.opening import open_writer
from muxproxy.ledger.reports import Filters, Reader
from muxproxy.ledger.rollup import advance_script
from muxproxy.ledger.rows import Given, Row, call_row, dim_id, dim_key, insert_call
from tests.ledger.books import RAW, hold, wait
from tests.ledger.conftest import Open
from tests.ledger.history import HOUR, NOON, write

COUNT = 1_000_000
SPAN = 30 * 24 * HOUR
REPORTS = (
    (),
    ("provider",),
    ("model",),
    ("key",),
    ("user",),
    ("team", "tag"),
    ("day",),
    ("day", "model"),
    ("hour",),
    ("key", "model", "rule"),
)


def _kinds() -> list[Receipt]:
    """600 combinations of who and what: 50 keys, 12 provider/model pairs."""
    chance = random.Random(1)
    kinds = []
    for key, model in itertools.product(range(50), range(12)):
        kinds.append(
            Receipt(
                id=key * 12 + model,
                time_ms=0,
                caller=f"key-{key}",
                user=f"user-{key % 20}",
                team=f"team-{key % 5}",
                tags=(("prod", "search") if key % 2 else ()),
                rule=f"rule-{key % 7}",
                reason="rule default: to auto",
                provider=f"provider-{model % 4}",
                model=f"model-{model}",
                asked_model="auto",
                dialect="openai",
                endpoint="chat",
                path="/v1/chat/completions",
                status=200,
                attempts=1,
                usage=Usage(input=176, cache_read=1024, output=345),
                usage_source="provider",
                usage_raw=RAW,
                cost=chance.randrange(10**7),
                held=10**7,
                price_version="2026-01-01",
                features=b'{"t":1,"i":0,"m":12,"pc":500,"pt":1200,"mt":1024}',
                edits=("model",),
                total_us=chance.randrange(200_000, 20_000_000),
            )
        )
    return kinds


def _fill(path: str) -> None:
    con, _ = open_writer(path)
    kinds = _kinds()
    write(con, kinds)  # their dims
    con.execute("DELETE FROM calls")
    rows = [call_row(kind, dim_id(dim_key(kind))) for kind in kinds]
    chance = random.Random(2)
    con.execute("PRAGMA synchronous=OFF")
    con.execute("BEGIN")
    for begin in range(0, COUNT, 10_000):
        sorts: dict[Given, list[Row]] = {}
        for i in range(begin, begin + 10_000):
            which, row = chance.choice(rows)
            id = (NOON + i * SPAN // COUNT << 20) + i % 1000
            sorts.setdefault(which, []).append((id, *row[1:]))
        for which, some in sorts.items():
            con.executemany(insert_call(which), some)
    con.execute("COMMIT")
    # All but the last tenth is rolled up at once; how it is beside calls, the rest shows.
    (low,) = con.execute("SELECT value FROM meta WHERE key = 'ledger.rolled'").fetchone()
    for day in range(1, 28):
        high = NOON + SPAN * day // 30 << 20
        con.executescript(advance_script(low, high))
        low = high
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    con.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_million_calls(open_ledger: Open, tmp_path: Path) -> None:
    path = str(tmp_path / "books.db")
    started = time.perf_counter()
    _fill(path)
    print(f"\nfill {time.perf_counter() - started:.1f} s, {Path(path).stat().st_size >> 20} MiB")
    started = time.perf_counter()
    ledger = open_ledger()
    print(f"open {time.perf_counter() - started:.3f} s")

    async with open_maintenance(path) as db:
        work = asyncio.create_task(ledger._maintenance.roll(db, NOON + SPAN - HOUR))
        started = time.perf_counter()
        waits = await _holds_beside(ledger, work)
        print(f"roll-up {time.perf_counter() - started:.1f} s; {_spread(waits)}")
        await ledger._maintenance.checkpoint(db)
    with Reader(path) as reader:
        print(f"roll-up rows {reader._con.execute('SELECT count(*) FROM rollup').fetchone()[0]}")
        for group_by in REPORTS:
            for name, start in (("30 days", NOON), ("1 day", NOON + SPAN - 24 * HOUR)):
                query = CostQuery(start=start + 17, end=NOON + SPAN, group_by=group_by)
                began = time.perf_counter()
                report = reader.costs(query)
                took = time.perf_counter() - began
                print(f"costs {'+'.join(group_by) or 'total':15} {name:8} {took * 1000:7.1f} ms")
                assert report["totals"]["requests"] > 0
        for filters in (
            Filters(),
            Filters(caller="key-7"),
            Filters(model="x"),
            Filters(status=500),
        ):
            began = time.perf_counter()
            reader.calls(filters, 100)
            print(f"calls {filters} {(time.perf_counter() - began) * 1000:.1f} ms")

    async with open_maintenance(path) as db:
        work = asyncio.create_task(ledger._maintenance.prune(db, NOON + SPAN // 10))
        started = time.perf_counter()
        waits = await _holds_beside(ledger, work)
        took = time.perf_counter() - started
        print(f"retention {work.result()} rows {took:.1f} s; {_spread(waits)}")
    with Reader(path) as reader:
        everything = CostQuery(start=NOON - HOUR, end=NOON + 2 * SPAN)
        assert reader.costs(everything)["totals"]["requests"] == COUNT


async def _holds_beside(ledger: object, work: asyncio.Task[int]) -> list[float]:
    """Seconds each hold took while `work` ran."""
    waits = []
    while not work.done():
        id = ledger.next_id()  # type: ignore[attr-defined]
        started = time.perf_counter()
        await wait(ledger.hold(hold(id)))  # type: ignore[attr-defined]
        waits.append(time.perf_counter() - started)
        ledger.release(id)  # type: ignore[attr-defined]
        await asyncio.sleep(0.002)
    await work
    return waits


def _spread(waits: list[float]) -> str:
    waits = sorted(waits)
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    return f"holds p50 {p50 * 1e3:.2f} p99 {p99 * 1e3:.2f} max {waits[-1] * 1e3:.2f} ms"
