from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from muxproxy.exchange import Receipt, Spend, Usage
from muxproxy.ledger import LedgerError
from tests.ledger.books import call, drained, hold, receipt, spends, table, wait
from tests.ledger.conftest import Open

DURABILITIES = ["strict", "relaxed", "power"]


async def test_ids_rise_and_hold_the_time(open_ledger: Open) -> None:
    ledger = open_ledger()
    before = time.time_ns() // 1_000_000
    ids = [ledger.next_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert before <= ids[0] >> 20 <= ids[-1] >> 20 <= time.time_ns() // 1_000_000 + 1
    assert ids[-1] < 1 << 63
    assert len(format(ids[0], "016x")) == 16


async def test_ids_go_on_above_the_files_even_with_a_clock_set_back(open_ledger: Open) -> None:
    ledger = open_ledger()
    future = ledger.next_id() + (86_400_000 << 20)
    ledger.settle(receipt(future))
    await ledger.aclose()
    assert open_ledger().next_id() == future + 1


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_call_leaves_one_row_no_hold_and_its_spends(
    open_ledger: Open, durability: str
) -> None:
    ledger = open_ledger(durability)
    for nano in (60, 40):
        await call(ledger, nano)
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*), sum(cost) FROM calls") == [(2, 100)]
    assert table(ledger.path, "SELECT * FROM holds") == []
    assert table(ledger.path, "SELECT * FROM usage") == [
        ("daily", "alice", 1700000000, 100, 20),
        ("hard", "*", 0, 100, 20),
    ]


@pytest.mark.parametrize("durability", ["strict", "power"])
async def test_a_hold_is_in_the_file_when_its_future_resolves(
    open_ledger: Open, durability: str
) -> None:
    ledger = open_ledger(durability)
    ids = [ledger.next_id() for _ in range(20)]
    waiters = [ledger.hold(hold(id)) for id in ids]
    assert table(ledger.path, "SELECT id FROM holds") == []  # not yet: this tick is not over
    await asyncio.gather(*[w for w in waiters if w is not None])
    assert [row[0] for row in table(ledger.path, "SELECT id FROM holds ORDER BY id")] == ids


async def test_relaxed_gives_no_future_and_skips_what_ended_meanwhile(open_ledger: Open) -> None:
    ledger = open_ledger("relaxed")
    first, second = ledger.next_id(), ledger.next_id()
    assert ledger.hold(hold(first)) is None
    assert ledger.hold(hold(second)) is None
    ledger.settle(receipt(first), spends())
    assert ledger.lag == 2
    await drained(ledger)
    assert table(ledger.path, "SELECT id FROM holds") == [(second,)]
    assert table(ledger.path, "SELECT id FROM calls") == [(first,)]


async def test_a_receipt_is_found_at_once_and_after_it_was_written(open_ledger: Open) -> None:
    ledger = open_ledger()
    full = Receipt(
        id=ledger.next_id(),
        time_ms=1,
        caller="key",
        user="bob",
        team="search",
        tags=("a", "b"),
        run="r1",
        rule="default",
        reason="because",
        provider="openai",
        model="gpt-4o",
        asked_model="auto",
        dialect="openai",
        endpoint="chat",
        path="/v1/chat/completions",
        stream=True,
        status=200,
        end="client_left",
        code="x",
        attempts=2,
        usage=Usage(
            input=1,
            cache_read=2,
            cache_write_5m=3,
            cache_write_1h=4,
            output=5,
            reasoning=6,
            audio_in=7,
            audio_out=8,
            images=9,
            requests=10,
            tier="priority",
            reported_cost=11,
        ),
        usage_source="provider",
        usage_raw=b'{"a":1}',
        cost=12,
        held=13,
        price_version="v1",
        overrun=14,
        edits=("model",),
        features=b"{}",
        overhead_us=15,
        ttfb_us=16,
        total_us=17,
        bytes_in=18,
        bytes_out=19,
    )
    bare = Receipt(id=ledger.next_id(), time_ms=2)
    for each in (full, bare):
        ledger.settle(each, held=False)
        assert ledger.find(each.id) is each
    await drained(ledger)
    assert ledger.find(full.id) == full
    assert ledger.find(bare.id) == bare
    assert ledger.find(12345) is None


async def test_a_receipt_waits_for_nobody(open_ledger: Open) -> None:
    """Without any hold to ride along with it is written a few milliseconds later."""
    ledger = open_ledger()
    ledger.settle(receipt(ledger.next_id()), held=False)
    assert ledger.lag == 1
    await drained(ledger)


async def test_attempts_have_holds_of_their_own(open_ledger: Open) -> None:
    ledger = open_ledger()
    first, second, third = (ledger.next_id() for _ in range(3))
    for id in (first, second, third):
        await wait(ledger.hold(hold(id)))
    ledger.release(first)
    ledger.release(second, [Spend("daily", "alice", 1700000000, 5, 1)])
    ledger.settle(receipt(first), spends(60), hold_id=third)
    await drained(ledger)
    assert table(ledger.path, "SELECT count(*) FROM holds") == [(0,)]
    assert table(ledger.path, "SELECT id FROM calls") == [(first,)]
    assert table(ledger.path, "SELECT nano FROM usage WHERE budget = 'daily'") == [(65,)]


async def test_a_cancelled_caller_leaves_no_hold(open_ledger: Open) -> None:
    ledger = open_ledger()
    id = ledger.next_id()
    waiter = ledger.hold(hold(id))
    assert waiter is not None
    waiter.cancel()
    ledger.settle(receipt(id, end="client_left"), spends())
    other = ledger.hold(hold(ledger.next_id()))
    await wait(other)
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*) FROM holds") == [(1,)]
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(1,)]


async def test_the_first_receipt_of_an_id_stands(
    open_ledger: Open, log: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger()
    id = await call(ledger, 60)
    ledger.settle(receipt(id, 99), spends(99))  # still queued
    await drained(ledger)
    await wait(ledger.hold(hold(id)))
    ledger.settle(receipt(id, 98), spends(98))  # written already
    other = await call(ledger, 1)  # in the same transaction as the twin
    await drained(ledger)
    assert ledger.dropped == 1
    assert table(ledger.path, "SELECT id, cost FROM calls ORDER BY id") == [(id, 60), (other, 1)]
    assert table(ledger.path, "SELECT nano FROM usage") == [(61,), (61,)]
    assert table(ledger.path, "SELECT count(*) FROM holds") == [(0,)]
    assert log.text.count("receipt dropped") == 2


POISON = {
    "lone surrogate in a name": {"user": "a\ud800b"},
    "lone surrogate in a reason": {"reason": "\udfff"},
    "integer beyond 64 bits": {"bytes_in": 1 << 70},
    "lone surrogate in a tag": {"tags": ("\ud800",)},
    "usage beyond 64 bits": {"usage": Usage(input=1 << 64)},
}


@pytest.mark.parametrize("fields", POISON.values(), ids=POISON)
async def test_what_sqlite_cannot_store_is_mended(
    open_ledger: Open, fields: dict[str, object]
) -> None:
    ledger = open_ledger()
    ids = [await call(ledger, 60), await call(ledger, 40, **fields), await call(ledger, 1)]
    await drained(ledger)
    assert table(ledger.path, "SELECT id FROM calls ORDER BY id") == [(id,) for id in ids]
    assert table(ledger.path, "SELECT nano FROM usage WHERE budget = 'hard'") == [(101,)]
    assert ledger.failed is None


async def test_a_hold_sqlite_cannot_store_is_mended(open_ledger: Open) -> None:
    ledger = open_ledger()
    waiters = [
        ledger.hold(hold(ledger.next_id(), model="\ud800")),
        ledger.hold(hold(ledger.next_id(), nano=1 << 80)),
        ledger.hold(hold(ledger.next_id())),
    ]
    await asyncio.gather(*[w for w in waiters if w is not None])
    assert table(ledger.path, "SELECT count(*) FROM holds") == [(3,)]


async def test_one_commit_for_everything_queued_in_a_tick(open_ledger: Open) -> None:
    ledger = open_ledger()
    version = ledger._con.execute("PRAGMA data_version").fetchone()
    statements: list[str] = []
    ledger._con.set_trace_callback(statements.append)
    done = [await call(ledger) for _ in range(3)]
    statements.clear()
    waiters = [ledger.hold(hold(ledger.next_id())) for _ in range(16)]
    await asyncio.gather(*[w for w in waiters if w is not None])
    assert [s for s in statements if s in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]
    assert ledger._con.execute("PRAGMA data_version").fetchone() == version
    assert ledger.find(done[-1]) is not None


async def test_small_values_budgets_and_top_ups_outlive_a_restart(open_ledger: Open) -> None:
    ledger = open_ledger()
    ledger.set_meta("tap.ratios", b"1")
    ledger.set_meta("tap.ratios", b"2")
    assert ledger.get_meta("tap.ratios") == b"2"
    assert ledger.get_meta("nothing") is None
    await ledger.put_budget("extra", b'{"limit":"$1"}')
    await ledger.put_budget("gone", b"{}")
    await ledger.put_budget("gone", None)
    await ledger.book([Spend("prepaid", "alice", -1, 5_000_000_000, 0)])
    await ledger.aclose()
    again = open_ledger()
    assert again.get_meta("tap.ratios") == b"2"
    assert again.budgets() == {"extra": b'{"limit":"$1"}'}
    assert again.usage_rows() == [("prepaid", "alice", -1, 5_000_000_000, 0)]


async def test_a_second_owner_is_refused_and_the_first_goes_on(open_ledger: Open) -> None:
    ledger = open_ledger()
    with pytest.raises(LedgerError, match=r"in use by another muxproxy \(pid \d+\)"):
        open_ledger()
    await call(ledger)
    await ledger.aclose()
    open_ledger()


async def test_after_the_end_nothing_is_taken(open_ledger: Open) -> None:
    ledger = open_ledger()
    await ledger.aclose()
    ledger.settle(receipt(ledger.next_id()))
    ledger.release(1)
    assert ledger.lag == 0


async def test_a_full_queue_drops_counts_and_keeps_the_rest(
    open_ledger: Open, log: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(queue=3)
    ids = [ledger.next_id() for _ in range(10)]
    for id in ids:
        ledger.settle(receipt(id), held=False)
    assert (ledger.lag, ledger.dropped) == (3, 7)
    assert log.text.count("queue is full") == 3  # 1, 2, 4: never a flood
    await drained(ledger)
    assert table(ledger.path, "SELECT id FROM calls") == [(id,) for id in ids[:3]]


async def test_a_backlog_is_written_in_bounded_transactions(open_ledger: Open) -> None:
    ledger = open_ledger()
    statements: list[str] = []
    for _ in range(1234):
        ledger.settle(receipt(ledger.next_id()), held=False)
    ledger._con.set_trace_callback(statements.append)
    await drained(ledger)
    assert statements.count("COMMIT") == 3
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(1234,)]


async def test_dims_are_stored_once(open_ledger: Open) -> None:
    ledger = open_ledger()
    for i in range(20):
        await call(ledger, tags=("x", "y"), user=f"u{i % 2}")
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*) FROM dims") == [(2,)]
    assert table(ledger.path, "SELECT count(*) FROM dim_tags") == [(4,)]
    ledger = open_ledger()
    await call(ledger, tags=("x", "y"), user="u0")
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*) FROM dims") == [(2,)]


async def test_the_file_is_for_its_owners_eyes_only(open_ledger: Open) -> None:
    ledger = open_ledger()
    assert Path(ledger.path).stat().st_mode & 0o077 == 0
