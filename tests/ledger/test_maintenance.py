"""Checkpoints, roll-up and retention beside a ledger that goes on writing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import pytest

from muxproxy.ledger import Ledger, maintenance
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.lessons import Lesson
from muxproxy.ledger.maintenance import open_maintenance
from muxproxy.ledger.recost import Change, Recoster
from muxproxy.ledger.reports import Reader
from muxproxy.ledger.rollup import first_id
from tests.ledger.books import call, drained, receipt, spends, table
from tests.ledger.conftest import Open
from tests.ledger.history import HOUR, NOON, added_up, made_up

ALL = CostQuery(start=0, end=NOON + 10_000 * HOUR, group_by=("key", "hour"), limit=10**6)


def _report(path: str, query: CostQuery = ALL) -> dict[str, dict[str, object]]:
    with Reader(path) as reader:
        return {str((r["key"], r["hour"])): r for r in reader.costs(query)["rows"]}


async def test_the_roll_up_keeps_up_with_late_receipts_while_calls_are_written(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_ROLL_ROWS", 50)
    ledger = open_ledger()
    receipts = made_up(3, 900, NOON, 12 * HOUR)
    now, late = receipts[::3], receipts[1::3]
    for r in now:
        ledger.settle(r, held=False)
    await drained(ledger)
    async with open_maintenance(ledger.path) as db:
        rolling = asyncio.create_task(ledger._maintenance.roll(db, NOON + 8 * HOUR))
        for i, r in enumerate(late):
            ledger.settle(r, held=False)
            if i % 20 == 0:
                await asyncio.sleep(0.002)
        await rolling
        await drained(ledger)
        assert ledger._maintenance.floor == first_id(NOON + 8 * HOUR)
        before = _report(ledger.path)
        await ledger._maintenance.roll(db, NOON + 8 * HOUR)
        assert table(ledger.path, "SELECT count(*) FROM late") == [(0,)]
        for r in receipts[2::3]:
            ledger.settle(r, held=False)
        await drained(ledger)
        assert table(ledger.path, "SELECT count(*) > 100 FROM late") == [(1,)]
        with_late = _report(ledger.path)
        await ledger._maintenance.roll(db, NOON + 20 * HOUR)
    assert sum(r["requests"] for r in before.values()) == 600  # type: ignore[misc]
    after = _report(ledger.path)
    assert after == with_late
    expected = added_up(receipts, ALL)
    assert {k: v["requests"] for k, v in after.items()} == {
        str(k): v["requests"] for k, v in expected.items()
    }
    rolled = table(ledger.path, "SELECT sum(requests), sum(cost) FROM rollup")
    assert rolled == [(900, sum(r.cost or 0 for r in receipts))]


async def test_two_that_roll_up_at_once_count_nothing_twice(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_ROLL_ROWS", 20)
    ledger = open_ledger()
    receipts = made_up(8, 400, NOON, 4 * HOUR)
    for r in receipts[::2]:
        ledger.settle(r, held=False)
    await drained(ledger)
    async with open_maintenance(ledger.path) as one, open_maintenance(ledger.path) as other:
        both = [ledger._maintenance.roll(db, NOON + 3 * HOUR) for db in (one, other)]
        await asyncio.gather(*both)
        for r in receipts[1::2]:
            ledger.settle(r, held=False)
        await drained(ledger)
        both = [ledger._maintenance.roll(db, NOON + 9 * HOUR) for db in (one, other)]
        await asyncio.gather(*both)
    assert table(ledger.path, "SELECT sum(requests) FROM rollup") == [(400,)]


async def test_the_watermark_outlives_a_restart(open_ledger: Open) -> None:
    ledger = open_ledger()
    for r in made_up(3, 50, NOON, HOUR):
        ledger.settle(r, held=False)
    await drained(ledger)
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.roll(db, NOON + 2 * HOUR)
    await ledger.aclose()
    again = open_ledger()
    assert again._maintenance.floor == first_id(NOON + 2 * HOUR)
    again.settle(receipt(first_id(NOON) + 7), held=False)
    await drained(again)
    assert table(again.path, "SELECT id FROM late") == [(first_id(NOON) + 7,)]


async def test_an_idle_ledger_writes_nothing(open_ledger: Open) -> None:
    ledger = open_ledger()
    await call(ledger)
    await drained(ledger)
    size = os.path.getsize(ledger.path + "-wal")
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.roll(db, 0)
        await ledger._maintenance.prune(db, 0)
    assert os.path.getsize(ledger.path + "-wal") == size


async def test_retention_deletes_whole_rolled_hours_and_reports_stay(open_ledger: Open) -> None:
    ledger = open_ledger()
    receipts = made_up(4, 700, NOON, 10 * HOUR)
    for r in receipts:
        ledger.settle(r, spends(1), held=False)
    await drained(ledger)
    before = _report(ledger.path)
    async with open_maintenance(ledger.path) as db:
        cut = NOON + 5 * HOUR + 1_800_000
        assert await ledger._maintenance.prune(db, cut) == 0  # not rolled up yet: nothing goes
        await ledger._maintenance.roll(db, NOON + 8 * HOUR)
        gone = await ledger._maintenance.prune(db, cut)
        edge = cut // HOUR * HOUR
        assert gone == sum(r.id >> 20 < edge for r in receipts)
        assert await ledger._maintenance.prune(db, cut) == 0
    assert table(ledger.path, f"SELECT count(*) FROM calls WHERE id < {first_id(edge)}") == [(0,)]
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(700 - gone,)]
    assert _report(ledger.path) == before
    assert ledger.usage_rows()[0][3] == 700


async def test_retention_takes_ratings_and_lessons_with_their_calls(open_ledger: Open) -> None:
    ledger = open_ledger()
    receipts = made_up(5, 450, NOON, 10 * HOUR)
    for r in receipts:
        ledger.settle(r, held=False)
        assert ledger.teach(Lesson(id=r.id, alias="auto", side="cheap", features=b"x"))
    await asyncio.gather(*(ledger.rate(r.id, 0.5) for r in receipts))
    await drained(ledger)
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.roll(db, NOON + 10 * HOUR)
        gone = await ledger._maintenance.prune(db, NOON + 7 * HOUR)
    assert 200 < gone < 450
    for name in ("calls", "lessons", "feedback"):
        assert table(ledger.path, f"SELECT count(*) FROM {name}") == [(450 - gone,)]


async def test_old_budget_windows_go_prepaid_and_top_ups_stay(open_ledger: Open) -> None:
    from muxproxy.exchange import Spend

    ledger = open_ledger()
    now = int(time.time())
    windows = [0, -1, now - 400 * 86_400, now - 3600]
    await ledger.book([Spend("b", "s", window, 1, 1) for window in windows])
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.prune_usage(db, now * 1000)
    assert sorted(row[2] for row in ledger.usage_rows()) == sorted([0, -1, now - 3600])


async def test_checkpoints_start_the_wal_over_and_bound_it(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger()
    for _ in range(100):
        await call(ledger)
    await drained(ledger)
    full = os.path.getsize(ledger.path + "-wal")
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.checkpoint(db)
        assert ledger._maintenance.written == 0
        for _ in range(50):
            await call(ledger)
        await drained(ledger)
        assert os.path.getsize(ledger.path + "-wal") == full  # overwritten from its beginning
        monkeypatch.setattr(maintenance, "_TRUNCATE_BYTES", 1)
        old = sqlite3.connect(ledger.path, isolation_level=None)
        old.execute("BEGIN")
        old.execute("SELECT count(*) FROM calls").fetchone()  # keeps a PASSIVE one from ending
        await call(ledger)
        await drained(ledger)
        await ledger._maintenance.checkpoint(db)
        assert ledger.failed is None
        old.execute("COMMIT")
        old.close()
        ledger._maintenance.written = 1
        await call(ledger)
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(152,)] or ledger.lag


async def test_rounds_run_by_themselves_and_outlive_a_failure(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "_PERIOD", 0.01)
    monkeypatch.setattr(maintenance, "_ROLL_PERIOD", 0.0)
    monkeypatch.setattr(maintenance, "_CHECKPOINT_ROWS", 1)
    ledger = open_ledger(retention=3600.0)
    for r in made_up(5, 300, NOON, 5 * HOUR):
        ledger.settle(r, held=False)
    await call(ledger)
    async with asyncio.timeout(10):
        while table(ledger.path, "SELECT count(*) FROM calls") != [(1,)]:
            await asyncio.sleep(0.01)
    assert _count(ledger) == 301
    con = sqlite3.connect(ledger.path, isolation_level=None)
    con.execute("ALTER TABLE late RENAME TO later")
    ledger.settle(made_up(5, 300, NOON + 6 * HOUR, HOUR)[0], held=False)
    async with asyncio.timeout(10):
        while "ledger maintenance" not in log.text:
            await asyncio.sleep(0.01)
    con.execute("ALTER TABLE later RENAME TO late")
    con.close()
    async with asyncio.timeout(10):
        while ledger.lag or table(ledger.path, "SELECT count(*) FROM late") != [(0,)]:
            await asyncio.sleep(0.01)
    ledger.retention = None
    assert ledger.retention is None


def _count(ledger: Ledger) -> int:
    with Reader(ledger.path) as reader:
        return int(reader.costs(CostQuery(start=0, end=1 << 42))["totals"]["requests"])


async def test_recosting_keeps_calls_and_roll_up_in_step(open_ledger: Open, tmp_path: Path) -> None:
    ledger = open_ledger()
    receipts = made_up(6, 400, NOON, 6 * HOUR)
    for r in receipts[50:]:
        ledger.settle(r, held=False)
    await drained(ledger)
    async with open_maintenance(ledger.path) as db:
        await ledger._maintenance.roll(db, NOON + 3 * HOUR)
    for r in receipts[:50]:  # late
        ledger.settle(r, held=False)
    await drained(ledger)
    with Recoster(ledger.path) as recoster:
        found = list(recoster.calls(NOON + HOUR, NOON + 5 * HOUR))
        assert [r.id for r in found] == [
            r.id
            for r in receipts
            if r.usage is not None and NOON + HOUR <= r.id >> 20 < NOON + 5 * HOUR
        ]
        costs = [None, 0, 12_345]
        changes = [Change(r.id, costs[i % 3], "v2") for i, r in enumerate(found)]
        assert recoster.apply([*changes, Change(1, 5, "v2")]) == len(changes)
    new = {change.id: change.cost for change in changes}
    for r in receipts:
        r.cost = new.get(r.id, r.cost)
    async with open_maintenance(ledger.path) as db:
        for _ in range(2):
            report = _report(ledger.path)
            for key, figures in added_up(receipts, ALL).items():
                row = report[str(key)]
                assert {n: row[n] for n in figures} == pytest.approx(figures)
            await ledger._maintenance.roll(db, NOON + 30 * HOUR)
    found_again = ledger.find(found[0].id)
    assert found_again is not None and found_again.price_version == "v2"
