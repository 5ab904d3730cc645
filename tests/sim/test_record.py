import asyncio

import pytest

from muxproxy.sim.http import parse_head
from muxproxy.sim.record import Recorded, Records

HEAD = parse_head(b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\nX-B: \xe4")


def test_as_json() -> None:
    record = Recorded(HEAD, 3)
    Records(1).completed(record, b"\xff" + b"x" * 10_000)
    found = record.as_json()
    assert (found["target"], found["connection"], found["body_bytes"]) == ("/x?y=1", 3, 10_001)
    assert len(found["body"]) == 4096
    assert found["headers"] == [["Host", "a"], ["X-B", "ä"]]


def test_only_the_last_are_kept() -> None:
    records = Records(2)
    for number in range(5):
        records.add(Recorded(HEAD, number))
    assert [record.connection for record in records.requests] == [3, 4]


def test_old_bodies_are_forgotten_for_space() -> None:
    records = Records(10, kept_bytes=25)
    rows = [Recorded(HEAD, number) for number in range(3)]
    for row in rows:
        records.add(row)
        records.completed(row, b"x" * 10)
    assert [row.body for row in rows] == [None, b"x" * 10, b"x" * 10]
    assert (rows[0].sha256, rows[0].as_json()["body_bytes"]) == (None, 10)


async def test_until_wakes_on_the_change_that_makes_it_true() -> None:
    records = Records(10)
    waiting = asyncio.create_task(records.until(lambda: records.open == 2, 5))
    for records.open in (1, 2):
        await asyncio.sleep(0)
        assert not waiting.done()
        records.changed()
    await waiting
    failing = asyncio.create_task(records.until(lambda: records.open != 2 and 1 / 0 > 1, 5))
    await asyncio.sleep(0)
    records.open = 3
    records.changed()
    with pytest.raises(ZeroDivisionError):
        await failing
    with pytest.raises(TimeoutError):
        await records.until(lambda: False, 0.001)
