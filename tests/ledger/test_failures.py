"""Each way the database can fail, at start and at run time: defined, clear, and over when it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muxproxy.errors import MuxError
from muxproxy.ledger import Ledger, LedgerError
from muxproxy.ledger.schema import VERSION, migrate
from tests.ledger.books import call, drained, hold, receipt, spends, table, wait
from tests.ledger.conftest import Open

# --- at start ------------------------------------------------------------------------------------


def _other_program(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE theirs (x)")
    con.close()


def _newer(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("PRAGMA application_id=0x6D757870")
    con.execute(f"PRAGMA user_version={VERSION + 1}")
    con.close()


def _torn(path: Path) -> None:
    """A ledger of which only the first page is left whole."""
    con = sqlite3.connect(path, isolation_level=None)
    con.execute("PRAGMA journal_mode=WAL")
    migrate(con, str(path))
    con.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)


def _swapped_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)


START = {
    "not a database": (lambda p: p.write_bytes(b"hello, world " * 500), "not a ledger"),
    "a database of another program": (_other_program, "another program"),
    "written by a newer version": (_newer, f"schema {VERSION + 1}"),
    "damaged": (_torn, "damaged"),
    "damaged header": (_swapped_header, "not a ledger|damaged"),
    "a directory": (lambda p: p.mkdir(), "cannot be opened|directory"),
}


@pytest.mark.parametrize(("make", "says"), START.values(), ids=START)
async def test_start_is_refused_with_file_and_fix(
    open_ledger: Open, tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "books.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LedgerError, match=says) as caught:
        open_ledger()
    assert str(path) in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else b"")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for leftover in tmp_path.glob("books.db-*"):
        leftover.unlink()
    open_ledger()  # the lock was given back


async def test_start_in_a_directory_that_is_not_there(open_ledger: Open, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="directory exists"):
        open_ledger(path=tmp_path / "none" / "books.db")


async def test_start_while_somebody_holds_the_file(
    open_ledger: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxproxy.ledger.opening._OPEN_PATIENCE", 0.05)
    path = tmp_path / "books.db"
    con = sqlite3.connect(path, isolation_level=None)
    con.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerError, match=r"locked by another process.*end the program"):
        open_ledger()
    con.execute("ROLLBACK")
    con.close()
    open_ledger()


_AS_NOBODY = """
import asyncio, os, sys
from muxproxy.ledger import Ledger, LedgerError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
async def main():
    try:
        Ledger(sys.argv[1])
    except LedgerError as exc:
        print(exc)
asyncio.run(main())
"""

READ_ONLY = {"file": ("books.db", 0o444), "directory": (".", 0o555)}


@pytest.mark.parametrize(("name", "mode"), READ_ONLY.values(), ids=READ_ONLY)
async def test_start_on_a_read_only(
    open_ledger: Open, tmp_path: Path, name: str, mode: int
) -> None:
    await open_ledger().aclose()
    (tmp_path / "books.db").chmod(0o666)
    (tmp_path / "books.db.lock").chmod(0o666)
    tmp_path.chmod(0o777)
    (tmp_path / name).chmod(mode)
    reachable = [*tmp_path.parents]
    modes = [(p, p.stat().st_mode) for p in reachable]
    try:
        for p, old in modes:
            if p.owner() != "root" or not old & 0o001:
                os.chmod(p, old | 0o055)
        ran = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(tmp_path / "books.db")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        for p, old in modes:
            os.chmod(p, old)
        tmp_path.chmod(0o777)
    assert "books.db" in ran.stdout, ran.stderr
    assert "writable for this user" in ran.stdout or "may write there" in ran.stdout


# --- at run time ---------------------------------------------------------------------------------


@pytest.fixture
def intruder(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the ledger's file."""
    con = sqlite3.connect(tmp_path / "books.db", isolation_level=None, timeout=5)
    yield con
    con.close()


async def test_a_short_lock_only_delays(open_ledger: Open, intruder: sqlite3.Connection) -> None:
    ledger = open_ledger()
    intruder.execute("BEGIN IMMEDIATE")
    waiter = ledger.hold(hold(ledger.next_id()))
    ledger.settle(receipt(ledger.next_id()), held=False)
    assert waiter is not None
    done, _ = await asyncio.wait([waiter], timeout=0.05)
    assert not done
    assert ledger.failed is None
    intruder.execute("ROLLBACK")
    await asyncio.wait_for(waiter, 5)
    await drained(ledger)


async def test_a_long_lock_fails_holds_keeps_receipts_and_passes(
    open_ledger: Open, intruder: sqlite3.Connection
) -> None:
    ledger = open_ledger(patience=0.05)
    intruder.execute("BEGIN IMMEDIATE")
    waiter = ledger.hold(hold(ledger.next_id()))
    id = ledger.next_id()
    ledger.settle(receipt(id), spends(), held=False)
    with pytest.raises(MuxError) as caught:
        await asyncio.wait_for(waiter, 5)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.status) == ("ledger_unavailable", 503)
    assert "locked" in caught.value.message
    assert ledger.failed is not None
    with pytest.raises(MuxError, match="locked"):
        ledger.hold(hold(ledger.next_id()))  # at once, from now on
    assert ledger.find(id) is not None
    intruder.execute("ROLLBACK")
    await drained(ledger)
    assert ledger.failed is None
    await call(ledger)
    await drained(ledger)
    assert table(ledger.path, "SELECT count(*), sum(cost) FROM calls") == [(2, 120)]
    assert table(ledger.path, "SELECT count(*) FROM holds") == [(0,)]


def _fill(ledger: Ledger) -> Callable[[], object]:
    """A disk without a page to spare; returns what makes room."""
    pages = ledger._con.execute("PRAGMA page_count").fetchone()[0]
    ledger._con.execute(f"PRAGMA max_page_count={pages}")
    return lambda: ledger._con.execute("PRAGMA max_page_count=1000000")


def _freeze(ledger: Ledger) -> Callable[[], object]:
    ledger._con.execute("PRAGMA query_only=ON")
    return lambda: ledger._con.execute("PRAGMA query_only=OFF")


async def test_a_full_disk_fails_holds_keeps_receipts_and_passes(
    open_ledger: Open, log: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger()
    await call(ledger)
    await drained(ledger)
    make_room = _fill(ledger)
    failures = settled = 0
    for _ in range(300):  # more than fits into the pages there are
        try:
            await wait(ledger.hold(hold(ledger.next_id(), model="m" * 200)))
        except MuxError as exc:
            assert (exc.code, exc.message) == (
                "ledger_unavailable",
                "the ledger cannot be used: disk full",
            )
            failures += 1
        ledger.settle(receipt(ledger.next_id(), reason="x" * 500), spends(), held=False)
        settled += 1
    assert failures
    assert ledger.failed is not None
    assert log.text.count("make room on its disk") == 1
    make_room()
    await drained(ledger)
    assert ledger.failed is None
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(1 + settled,)]
    assert table(ledger.path, "SELECT nano FROM usage WHERE budget = 'hard'") == [
        (60 * (1 + settled),)
    ]


@pytest.mark.parametrize("durability", ["strict", "power"])
async def test_a_file_system_gone_read_only_fails_holds_and_passes(
    open_ledger: Open, durability: str
) -> None:
    """Recovery opens the file anew, as it must after a remount."""
    ledger = open_ledger(durability)
    _freeze(ledger)
    waiter = ledger.hold(hold(ledger.next_id()))
    with pytest.raises(MuxError, match="read-only"):
        await asyncio.wait_for(waiter, 5)  # type: ignore[arg-type]
    ledger.settle(receipt(ledger.next_id()), held=False)
    await drained(ledger)
    assert ledger.failed is None
    await call(ledger)


GONE = {
    "deleted": lambda p: p.unlink(),
    "moved away": lambda p: p.rename(p.with_suffix(".old")),
}


@pytest.mark.parametrize("remove", GONE.values(), ids=GONE)
async def test_a_file_deleted_while_running_is_noticed(
    open_ledger: Open, tmp_path: Path, remove: Callable[[Path], object]
) -> None:
    """SQLite itself would go on writing into the nameless file."""
    ledger = open_ledger()
    await call(ledger)
    await drained(ledger)
    copy = tmp_path / "copy"
    ledger._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(ledger.path, copy)
    remove(Path(ledger.path))
    ledger._look()
    with pytest.raises(MuxError, match="cannot be opened"):
        ledger.hold(hold(ledger.next_id()))
    id = ledger.next_id()
    ledger.settle(receipt(id, 5), spends(5), held=False)
    await asyncio.sleep(0.15)  # lets a retry run: it must not take the nameless file for good
    assert ledger.failed is not None
    assert ledger.lag == 1
    copy.rename(ledger.path)  # a copy restored: it serves again
    await drained(ledger)
    await call(ledger, 7)
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*), sum(cost) FROM calls") == [(3, 72)]


async def test_a_deleted_wal_is_noticed_and_its_rows_brought_home(
    open_ledger: Open, tmp_path: Path
) -> None:
    ledger = open_ledger()
    await call(ledger)
    await drained(ledger)
    Path(ledger.path + "-wal").unlink()
    ledger._look()
    assert ledger.failed is not None
    async with asyncio.timeout(5):
        while ledger.failed is not None:
            await asyncio.sleep(0.01)
    await call(ledger)
    await ledger.aclose()
    assert table(ledger.path, "SELECT count(*) FROM calls") == [(2,)]


async def test_damage_found_at_run_time_fails_holds_without_a_hang(open_ledger: Open) -> None:
    ledger = open_ledger()
    for _ in range(50):
        await call(ledger, reason="x" * 900)
    await drained(ledger)
    ledger._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(ledger.path, "r+b") as file:
        size = os.path.getsize(ledger.path)
        file.seek(4096)
        file.write(b"\x55" * (size - 4096))
    ledger._con.execute("PRAGMA cache_size=0")
    ledger._con.execute("PRAGMA shrink_memory")
    other = sqlite3.connect(ledger.path)  # changes the file, so that the cache is not trusted
    other.execute("PRAGMA user_version=1")
    other.commit()
    other.close()
    with pytest.raises(MuxError) as caught:
        await asyncio.wait_for(wait(ledger.hold(hold(ledger.next_id()))), 5)
    assert caught.value.message == "the ledger cannot be used: damaged"
    with pytest.raises(MuxError):
        ledger.find(ledger.next_id())
    await asyncio.wait_for(ledger.aclose(), 10)


async def test_closing_with_a_dead_database_ends(
    open_ledger: Open, intruder: sqlite3.Connection, log: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(patience=0.05)
    intruder.execute("BEGIN IMMEDIATE")
    ledger.settle(receipt(ledger.next_id()), held=False)
    waiter = ledger.hold(hold(ledger.next_id()))
    await asyncio.wait_for(ledger.aclose(), 10)
    with pytest.raises(MuxError):
        await wait(waiter)
    assert "rows unwritten" in log.text
    intruder.execute("ROLLBACK")


async def test_budget_changes_fail_too(open_ledger: Open, intruder: sqlite3.Connection) -> None:
    ledger = open_ledger(patience=0.02)
    intruder.execute("BEGIN IMMEDIATE")
    ledger.set_meta("kept", b"x")
    with pytest.raises(MuxError):
        await ledger.put_budget("b", b"{}")
    with pytest.raises(MuxError):
        ledger.book(spends())
    intruder.execute("ROLLBACK")
    await drained(ledger)
    assert ledger.get_meta("kept") == b"x"
    assert ledger.budgets() == {}
