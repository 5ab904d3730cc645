"""Lessons and ratings in the books: replaced, bounded, and first to go when there is trouble."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from muxproxy.errors import MuxError
from muxproxy.ledger import schema, shelf
from muxproxy.ledger.lessons import Counts, Lesson, counts, labelled
from muxproxy.ledger.reports import Reader
from tests.ledger.books import drained, receipt
from tests.ledger.conftest import Open

NOW = 1_760_000_000_000 << 20


def lesson(number: int, alias: str = "auto", side: str = "cheap", **more: Any) -> Lesson:
    return Lesson(id=NOW + number, alias=alias, side=side, features=b"\x01\x02", **more)


async def test_only_what_has_a_label_is_given_newest_first(open_ledger: Open) -> None:
    ledger = open_ledger()
    given = [
        lesson(1, enough=True, score=0.25, cheap_nano=5),
        lesson(
            2, side="strong", enough=False, better=True, cheap_nano=5, strong_nano=70, share=0.5
        ),
        lesson(3),  # nobody said anything
        lesson(4),  # rated
        lesson(5, side="strong"),  # rated: says nothing of the cheap model
        lesson(6, alias="other", enough=True, text="words"),
        lesson(7, side="strong", enough=False),  # was the strong one any better?
        lesson(8, side="strong", enough=False),  # rated
    ]
    assert all(ledger.teach(one) for one in given)
    await asyncio.gather(*(ledger.rate(NOW + n, n / 10) for n in (1, 4, 5, 8, 99)))
    await drained(ledger)
    with Reader(ledger.path) as reader:
        found = reader.ask(labelled(0, None, 10))
        assert [one.id - NOW for one in found] == [8, 6, 4, 2, 1]
        assert found[3] == given[1]
        assert [one.feedback for one in found] == [0.8, None, 0.4, None, 0.1]
        assert [one.id - NOW for one in reader.ask(labelled(0, "auto", 2))] == [8, 4]
        assert reader.ask(labelled((NOW >> 20) + 1, None, 10)) == []
        assert reader.ask(counts(0, "auto")) == Counts(7, 2, 1, 3)


async def test_a_rating_may_be_there_before_its_call(open_ledger: Open) -> None:
    ledger = open_ledger()
    await ledger.rate(NOW, 0.5)
    await ledger.rate(NOW, 1.0)
    ledger.settle(receipt(NOW), held=False)
    await drained(ledger)
    found = ledger.find(NOW)
    assert found is not None and found.feedback == 1.0


async def test_a_ledger_in_trouble_drops_lessons_and_refuses_ratings(
    open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(patience=0.05)
    monkeypatch.setattr(shelf, "_MOST_JOBS", 3)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert [ledger.teach(lesson(n)) for n in range(5)] == [True, True, True, False, False]
    with pytest.raises(MuxError) as caught:
        await ledger.rate(NOW, 1.0)
    assert caught.value.code == "ledger_unavailable"
    assert not ledger.teach(lesson(9))
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(5):
        while ledger.failed is not None:
            await asyncio.sleep(0.01)
    await ledger.rate(NOW, 1.0)
    await drained(ledger)
    with Reader(ledger.path) as reader:
        assert reader.ask(counts(0, None)).lessons == 3


def test_books_of_before_learn_and_keep_their_calls(tmp_path: Any) -> None:
    path = str(tmp_path / "old.db")
    con = sqlite3.connect(path, isolation_level=None)
    for _, apply in schema.MIGRATIONS[:1]:
        apply(con)
    con.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
    con.execute("PRAGMA user_version=1")
    more = '[1,null,false,1,null,null,null,null,0,null,null,null,null,"/x","",[]]'  # no `explored`
    con.execute("INSERT INTO dims (id, caller) VALUES (1, 'ann')")
    con.execute(
        "INSERT INTO calls (id, dim, total_us, bytes_in, bytes_out, more)"
        " VALUES (7, 1, 0, 0, 0, ?)",
        (more,),
    )
    assert schema.migrate(con, path) == schema.VERSION - 1
    assert con.execute("SELECT explored FROM receipts").fetchall() == [(None,)]
    con.close()
    with Reader(path) as reader:
        (found,) = reader.calls()
    assert (found.caller, found.explored, found.feedback) == ("ann", False, None)
