"""Reports against plain adding-up, at every stage of the roll-up."""

from __future__ import annotations

import random
import sqlite3
import statistics
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from muxproxy.errors import MuxError
from muxproxy.exchange import Receipt
from muxproxy.ledger.costs import GROUPS, CostQuery, check, days, split
from muxproxy.ledger.opening import open_writer
from muxproxy.ledger.reports import AsyncReader, Reader
from muxproxy.ledger.rollup import (
    BOUNDS,
    advance_script,
    first_id,
    late_script,
    quantile_ms,
    unpack,
)
from tests.ledger.history import HOUR, NOON, added_up, bucket, made_up, write

GROUPINGS = {
    "nothing": (),
    "provider": ("provider",),
    "provider and model": ("provider", "model"),
    "tag": ("tag",),
    "key and tag": ("key", "tag"),
    "day": ("day",),
    "day and user": ("day", "user"),
    "hour": ("hour",),
    "hour, team and rule": ("hour", "team", "rule"),
    "everything": ("day", *GROUPS),
}
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]
SPANS = {
    "whole hours": (NOON, NOON + 60 * HOUR),
    "cut at both ends": (NOON + 1_234_567, NOON + 50 * HOUR + 7_654),
    "within one hour": (NOON + 5 * HOUR + 1_000, NOON + 5 * HOUR + 3_000_000),
    "across one edge": (NOON + 5 * HOUR + 1_800_000, NOON + 6 * HOUR + 1_800_000),
    "more than there is": (NOON - 100 * HOUR, NOON + 1000 * HOUR),
    "none": (NOON - 5 * HOUR, NOON - 4 * HOUR),
}
# How far the roll-up has come, in hours; then late rows, and whether they were caught up with.
STAGES = {
    "not rolled": (0.0, 0, False),
    "half, within an hour": (20.5, 0, False),
    "half, late rows waiting": (30.0, 40, False),
    "half, late rows added": (30.25, 40, True),
    "all": (100.0, 10, True),
}


def _book(path: Path, stage: str) -> list[Receipt]:
    """A ledger at that stage; all its receipts."""
    hours, late, caught_up = STAGES[stage]
    receipts = made_up(7, 600, NOON, 48 * HOUR)
    mark = first_id(NOON + int(hours * HOUR)) + 12345 if hours else 0
    below = [r for r in receipts if r.id < mark]
    tardy = random.Random(1).sample(below, late)
    con, _ = open_writer(str(path))
    missing = {r.id for r in tardy}
    write(con, [r for r in receipts if r.id not in missing])
    if hours:
        # Some of the late ones came before the step, some after.
        write(con, tardy[::2], mark)
        third = first_id(NOON + int(hours * HOUR / 3))
        con.executescript(advance_script(0, third))
        con.executescript(advance_script(third, mark))
        write(con, tardy[1::2], mark)
        if caught_up:
            con.executescript(late_script([r.id for r in tardy[:25]]))
            con.executescript(late_script([r.id for r in tardy[25:]] or [0]))
    con.close()
    return receipts


@pytest.fixture(scope="module", params=STAGES)
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("book") / "books.db"
    return str(path), _book(path, request.param)


def _agrees(path: str, receipts: list[Receipt], query: CostQuery) -> None:
    with Reader(path) as reader:
        report = reader.costs(query)
    expected = added_up(receipts, query)
    found = {tuple(row[name] for name in query.group_by): row for row in report["rows"]}
    assert found.keys() == expected.keys()
    assert report["count"] == len(expected)
    for key, figures in expected.items():
        assert {name: found[key][name] for name in figures} == pytest.approx(figures), key
    alone = CostQuery(
        start=query.start, end=query.end, key=query.key, tag=query.tag, model=query.model
    )
    totals = added_up(receipts, alone).get((), {"requests": 0})
    assert {name: report["totals"][name] for name in totals} == pytest.approx(totals)


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_reports_are_exact(book: tuple[str, list[Receipt]], span: tuple[int, int]) -> None:
    path, receipts = book
    for grouping in GROUPINGS.values():
        for zone in ZONES if grouping == ("day",) else ZONES[2:3]:
            query = CostQuery(start=span[0], end=span[1], group_by=grouping, tz=zone, limit=10**6)
            _agrees(path, receipts, query)


def test_filters_narrow(book: tuple[str, list[Receipt]]) -> None:
    path, receipts = book
    span = {"start": NOON + 5, "end": NOON + 47 * HOUR, "group_by": ("provider", "tag")}
    for filters in ({"key": "key1"}, {"tag": "b"}, {"model": "small", "key": "key2"}):
        _agrees(path, receipts, CostQuery(**span, **filters))  # type: ignore[arg-type]


def test_pages_are_ordered_by_time_then_the_dearest(book: tuple[str, list[Receipt]]) -> None:
    path, _ = book
    query = {"start": NOON, "end": NOON + 48 * HOUR, "group_by": ("day", "key")}
    with Reader(path) as reader:
        whole = reader.costs(CostQuery(**query))["rows"]  # type: ignore[arg-type]
        page = reader.costs(CostQuery(**query, limit=3, offset=2))  # type: ignore[arg-type]
    assert whole == sorted(whole, key=lambda r: (r["day"], -r["cost_usd"]))
    assert page["rows"] == whole[2:5]
    assert page["count"] == len(whole)


def test_latencies_fall_into_the_right_bucket(book: tuple[str, list[Receipt]]) -> None:
    path, receipts = book
    with Reader(path) as reader:
        totals = reader.costs(CostQuery(start=NOON, end=NOON + 48 * HOUR))["totals"]
    times = sorted(r.total_us for r in receipts if r.end != "refused")
    for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95)):
        exact = times[int(q * len(times))]
        assert abs(bucket(int(totals[name] * 1000)) - bucket(exact)) <= 1
        assert totals[name] * 1000 == pytest.approx(exact, rel=0.25)


def test_quantiles_of_known_counts() -> None:
    assert quantile_ms([0] * 24, 0.5) is None
    one = [0] * 24
    one[3] = 1
    assert BOUNDS[2] < (quantile_ms(one, 0.5) or 0) * 1000 <= BOUNDS[3]
    assert quantile_ms([0] * 23 + [9], 1.0) == BOUNDS[23] / 1000
    assert unpack([1 | 5 << 31, 0]) == [1, 5, 0, 0]
    assert statistics.fmean(BOUNDS) > 0


async def test_the_control_plane_gets_the_same(book: tuple[str, list[Receipt]]) -> None:
    path, _ = book
    query = CostQuery(start=NOON, end=NOON + 48 * HOUR, group_by=("hour", "key", "tag"))
    reader = AsyncReader(path)
    with Reader(path) as plain:
        assert await reader.costs(query) == plain.costs(query)
    with pytest.raises(MuxError, match="group_by 'colour'") as caught:
        await reader.costs(CostQuery(start=0, end=1, group_by=("colour",)))
    assert caught.value.code == "invalid_request"
    await reader.aclose()


BAD = {
    "group": (CostQuery(start=0, end=1, group_by=("colour",)), "group_by 'colour'"),
    "order": (CostQuery(start=5, end=5), "after the start"),
    "zone": (CostQuery(start=0, end=1, tz="Mars/Olympus"), "IANA zone"),
    "zone that is a path": (CostQuery(start=0, end=1, tz="../etc"), "IANA zone"),
}


@pytest.mark.parametrize(("query", "says"), BAD.values(), ids=BAD)
def test_bad_queries_are_told(query: CostQuery, says: str) -> None:
    assert says in (check(query) or "")


def test_days_follow_the_clock_change() -> None:
    """2025-10-26 has 25 hours in Berlin."""
    start = 1_761_343_200_000  # 2025-10-25 00:00 in Berlin
    found = days(start, start + 73 * HOUR, ZoneInfo("Europe/Berlin"))
    assert [(day, (high - low) / HOUR) for day, low, high in found] == [
        ("2025-10-25", 24),
        ("2025-10-26", 25),
        ("2025-10-27", 24),
    ]


def test_a_pruned_cut_hour_counts_to_where_it_began() -> None:
    half = HOUR // 2
    edge = NOON + half  # a day's edge in a zone off by half an hour
    whole, direct = split(
        [(NOON, edge), (edge, NOON + 2 * HOUR)], first_id(NOON + 9 * HOUR), first_id(NOON + HOUR)
    )
    slot = NOON // HOUR
    assert [(r.bucket, r.low, r.high) for r in whole] == [
        (0, slot, slot + 1),
        (1, slot + 1, slot + 2),
    ]
    assert direct == []


def test_the_view_for_people(book: tuple[str, list[Receipt]]) -> None:
    path, receipts = book
    con = sqlite3.connect(path)
    row = con.execute("SELECT xid, caller, provider FROM receipts ORDER BY id LIMIT 1").fetchone()
    con.close()
    assert row == (format(receipts[0].id, "016x"), receipts[0].caller, receipts[0].provider)
