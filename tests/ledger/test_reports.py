from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.errors import MuxError
from muxproxy.exchange import Receipt, Usage
from muxproxy.ledger import LedgerError, schema
from muxproxy.ledger.reports import AsyncReader, Filters, Reader, hold_json, iso_ms, receipt_json
from tests.ledger.books import call, drained, hold, receipt, wait
from tests.ledger.conftest import Open

SECTION_7 = (
    "id time caller user run rule provider model dialect path stream status end attempts usage",
    "usage_source cost_usd held_usd price_version overhead_ms ttfb_ms total_ms",
    "reason code asked_model edits team tags endpoint bytes_in bytes_out",
)
USAGE_KEYS = (
    "input cache_read cache_write_5m cache_write_1h output reasoning audio_in audio_out images",
    "input_total output_total",
)


def test_a_receipt_has_the_keys_of_the_contract() -> None:
    shown = receipt_json(
        receipt(1_760_000_000_123 << 20, 1_234_567, held=2_000_000_000, ttfb_us=1500)
    )
    assert set(" ".join(SECTION_7).split()) <= shown.keys()
    assert list(shown["usage"]) == " ".join(USAGE_KEYS).split()
    assert len(shown["id"]) == 16
    assert int(shown["id"], 16) == 1_760_000_000_123 << 20
    assert shown["time"] == "2025-10-09T08:53:20.123Z"
    assert shown["cost_usd"] == 0.001234567
    assert shown["held_usd"] == 2.0
    assert (shown["ttfb_ms"], shown["total_ms"]) == (1.5, 1000.0)
    assert (shown["usage"]["input_total"], shown["usage"]["output_total"]) == (1200, 345)


def test_unknown_is_null_and_never_zero() -> None:
    shown = receipt_json(Receipt(id=1, time_ms=0))
    assert shown["usage"] is None
    assert shown["cost_usd"] is None
    assert shown["ttfb_ms"] is None
    assert receipt_json(receipt(1, usage=Usage(input=1)))["usage"]["cache_read"] is None
    assert iso_ms(7) == "1970-01-01T00:00:00.007Z"


FILTERS: dict[str, tuple[Filters, list[int]]] = {
    "all, newest first": (Filters(), [3, 2, 1, 0]),
    "caller": (Filters(caller="bob"), [1]),
    "model": (Filters(model="small"), [2]),
    "provider": (Filters(provider="anthropic"), [3]),
    "rule": (Filters(rule="short"), [0]),
    "tag": (Filters(tag="x"), [2, 1]),
    "status": (Filters(status=429), [0]),
    "end": (Filters(end="client_left"), [2]),
    "run": (Filters(run="r1"), [3]),
    "two at once": (Filters(tag="x", caller="alice"), [2]),
    "nobody": (Filters(caller="nobody"), []),
}


@pytest.mark.parametrize(("filters", "expected"), FILTERS.values(), ids=FILTERS)
async def test_calls_are_filtered(open_ledger: Open, filters: Filters, expected: list[int]) -> None:
    ledger = open_ledger()
    ids = [
        await call(ledger, rule="short", status=429),
        await call(ledger, caller="bob", tags=("x", "y")),
        await call(ledger, model="small", tags=("x",), end="client_left"),
        await call(ledger, provider="anthropic", run="r1"),
    ]
    await drained(ledger)
    with Reader(ledger.path) as reader:
        assert [r.id for r in reader.calls(filters)] == [ids[i] for i in expected]


async def test_calls_page_by_time_and_id(open_ledger: Open) -> None:
    ledger = open_ledger()
    ids = [(1_760_000_000_000 + i << 20) + 5 for i in range(10)]
    for id in ids:
        ledger.settle(receipt(id), held=False)
    await drained(ledger)
    with Reader(ledger.path) as reader:
        assert [r.id for r in reader.calls(limit=3)] == ids[:-4:-1]
        assert [r.id for r in reader.calls(Filters(before=ids[-3]), 2)] == [ids[-4], ids[-5]]
        window = Filters(since=1_760_000_000_002, until=1_760_000_000_004)
        assert [r.id for r in reader.calls(window)] == [ids[3], ids[2]]
        found = reader.call(ids[0])
        assert found is not None and found.id == ids[0]
        assert reader.call(1) is None


async def test_holds_show_what_is_in_flight(open_ledger: Open) -> None:
    ledger = open_ledger()
    open_hold = hold(ledger.next_id(), 5_000_000)
    await wait(ledger.hold(open_hold))
    await call(ledger)
    await drained(ledger)
    with Reader(ledger.path) as reader:
        assert reader.holds() == [open_hold]
        assert reader.usage() == ledger.usage_rows()
    assert hold_json(open_hold)["held_usd"] == 0.005


async def test_a_reader_works_beside_the_server_and_after_it(open_ledger: Open) -> None:
    ledger = open_ledger()
    with Reader(ledger.path) as reader:
        assert reader.calls() == []
        id = await call(ledger)
        await drained(ledger)
        assert [r.id for r in reader.calls()] == [id]
    await ledger.aclose()
    assert not os.path.exists(ledger.path + "-wal")
    with Reader(ledger.path) as reader:
        assert [r.id for r in reader.calls()] == [id]
        with pytest.raises(sqlite3.OperationalError):
            reader._con.execute("DELETE FROM calls")


async def test_the_async_reader_takes_turns_and_survives_a_cancel(open_ledger: Open) -> None:
    ledger = open_ledger()
    ids = [await call(ledger) for _ in range(5)]
    await drained(ledger)
    reader = AsyncReader(ledger.path)
    answers = await asyncio.gather(*[reader.calls(limit=n) for n in range(1, 5)])
    assert [[r.id for r in answer] for answer in answers] == [
        ids[: -n - 1 : -1] for n in range(1, 5)
    ]
    task = asyncio.create_task(reader.calls())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await reader.calls()) == 5
    found = await reader.call(ids[2])
    assert found is not None
    assert await reader.holds() == []
    await reader.aclose()


async def test_no_file_no_ledger_old_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file"):
        Reader(str(tmp_path / "none.db"))
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(LedgerError, match="not a ledger"):
        Reader(str(tmp_path / "text.db"))
    con = sqlite3.connect(tmp_path / "old.db")
    con.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
    con.close()
    with pytest.raises(LedgerError, match=r"serve. brings it up to date"):
        Reader(str(tmp_path / "old.db"))
    reader = AsyncReader(str(tmp_path / "none.db"))
    with pytest.raises(MuxError) as caught:
        await reader.calls()
    assert caught.value.code == "ledger_unavailable"
    await reader.aclose()


_text = st.text(max_size=20).filter(lambda s: "\x00" not in s)
_maybe = st.none() | st.integers(0, 1 << 50)


@settings(max_examples=60, deadline=None)
@given(
    user=st.none() | _text,
    tags=st.lists(_text, max_size=3, unique=True).map(tuple),
    usage=st.none()
    | st.builds(
        Usage,
        input=st.integers(0, 1 << 40),
        cache_read=_maybe,
        output=st.integers(0, 1 << 40),
        reasoning=_maybe,
        tier=st.none() | _text,
        images_out=_maybe,
        cache_read_audio=_maybe,
        billed_input=_maybe,
        stated_input=_maybe,
        stated_output=_maybe,
    ),
    cost=_maybe,
    edits=st.lists(_text, max_size=3).map(tuple),
    raw=st.none() | st.binary(max_size=50),
)
def test_any_receipt_comes_back_as_it_was(
    user: str | None,
    tags: tuple[str, ...],
    usage: Usage | None,
    cost: int | None,
    edits: tuple[str, ...],
    raw: bytes | None,
) -> None:
    from muxproxy.ledger import rows

    given_ = receipt(
        5, cost, user=user, tags=tags, usage=usage, edits=edits, usage_raw=raw, stream=True
    )
    con = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(con, ":memory:")
    key = rows.dim_key(given_)
    con.execute(rows.INSERT_DIM, rows.dim_row(rows.dim_id(key), key))
    which, row = rows.call_row(given_, rows.dim_id(key))
    con.execute(rows.insert_call(which), row)
    assert rows.receipt_of(con.execute(rows.SELECT_CALL).fetchone()) == given_
    con.close()
