from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from muxproxy.ledger import LedgerError, schema


@pytest.fixture
def con(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "x.db", isolation_level=None)


def test_migrations_run_once_and_in_order(con: sqlite3.Connection) -> None:
    assert schema.migrate(con, "x") == schema.VERSION
    assert schema.migrate(con, "x") == 0
    assert con.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert len({name for name, _ in schema.MIGRATIONS}) == schema.VERSION
    con.close()


def test_a_later_version_migrates_what_an_earlier_one_left(
    con: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.migrate(con, "x")
    con.execute("INSERT INTO budgets VALUES ('b', x'7b7d', 1)")
    ran: list[str] = []

    def second(c: sqlite3.Connection) -> None:
        c.execute("ALTER TABLE budgets ADD COLUMN note TEXT")
        ran.append("second")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("note", second)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    assert schema.migrate(con, "x") == 1
    assert ran == ["second"]
    assert con.execute("SELECT name, note FROM budgets").fetchall() == [("b", None)]
    con.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    con: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(c: sqlite3.Connection) -> None:
        c.execute("CREATE TABLE half (x)")
        c.execute("CREATE TABLE calls (x)")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("broken", broken)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(con, "x")
    assert con.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert con.execute("PRAGMA user_version").fetchone() == (0,)
    con.close()


def test_a_newer_file_is_refused_and_left_alone(con: sqlite3.Connection) -> None:
    schema.migrate(con, "x")
    con.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    with pytest.raises(LedgerError, match="newer muxproxy"):
        schema.migrate(con, "x")
    con.close()
