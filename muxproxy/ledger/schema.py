"""The tables, as an ordered list of migrations applied at open in one transaction.

Never edit a migration that has been released: append one. `user_version` is the number applied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from muxproxy.ledger.failures import LedgerError
from muxproxy.ledger.rollup import COLUMNS as ROLLUP_COLUMNS
from muxproxy.ledger.rows import More, more_at

APPLICATION_ID = 0x6D757870  # "muxp": tells our file from any other SQLite database


def _first(con: sqlite3.Connection) -> None:
    # calls.id is time-ordered (Unix ms << 20 | counter): the primary key is the time index, and
    # rows are appended to the rightmost page. No secondary index: each would dirty one more
    # 4 KiB page per commit.
    # `more` is a JSON array (rows.More): see rows for what has a column and what has not. Tokens
    # are null for zero and for "not said" alike, but for input: null there says there is no usage.
    con.execute(
        "CREATE TABLE calls (id INTEGER PRIMARY KEY, dim INTEGER NOT NULL,"
        " status INTEGER NOT NULL DEFAULT 200, end TEXT NOT NULL DEFAULT 'finished', run TEXT,"
        " input INTEGER, cache_read INTEGER, cache_write_5m INTEGER, cache_write_1h INTEGER,"
        " output INTEGER, reasoning INTEGER, audio_in INTEGER, audio_out INTEGER, images INTEGER,"
        " requests INTEGER, cost INTEGER, overrun INTEGER NOT NULL DEFAULT 0,"
        " total_us INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,"
        " more TEXT NOT NULL, features BLOB, usage_raw BLOB)"
    )
    # Who, where and why, once per combination: a call's row carries 8 bytes instead of 100, and
    # the roll-up groups by one integer. id is a hash of the rest, so nothing is ever looked up.
    con.execute(
        "CREATE TABLE dims (id INTEGER PRIMARY KEY, provider TEXT, model TEXT,"
        " caller TEXT NOT NULL, user TEXT, team TEXT, rule TEXT, tags TEXT)"
    )
    con.execute(
        "CREATE TABLE dim_tags (dim INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (dim, tag))"
        " WITHOUT ROWID"
    )
    # In flight only: a page or two that stay in the cache. `hold` is exchange.Hold as JSON.
    con.execute("CREATE TABLE holds (id INTEGER PRIMARY KEY, hold TEXT NOT NULL)")
    con.execute(
        "CREATE TABLE usage (budget TEXT NOT NULL, scope TEXT NOT NULL, start INTEGER NOT NULL,"
        " nano INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (budget, scope, start))"
        " WITHOUT ROWID"
    )
    con.execute(
        "CREATE TABLE budgets (name TEXT PRIMARY KEY, definition BLOB NOT NULL,"
        " changed_ms INTEGER NOT NULL) WITHOUT ROWID"
    )
    con.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
    columns = ", ".join(f"{name} INTEGER NOT NULL" for name in ROLLUP_COLUMNS)
    # slot: hours, or days, since 1970 in UTC.
    for name in ("rollup", "rollup_days"):
        con.execute(
            f"CREATE TABLE {name} (slot INTEGER NOT NULL, dim INTEGER NOT NULL, {columns},"
            " PRIMARY KEY (slot, dim)) WITHOUT ROWID"
        )
    # Calls that were written after the roll-up had passed their id.
    con.execute("CREATE TABLE late (id INTEGER PRIMARY KEY)")
    con.execute("INSERT INTO meta VALUES ('ledger.rolled', 0), ('ledger.pruned', 0)")
    _view(con)


def _view(con: sqlite3.Connection) -> None:
    """For people with an SQLite shell."""
    con.execute("DROP VIEW IF EXISTS receipts")
    rest = ", ".join(
        f"json_extract(c.more, '{more_at(name)}') AS {name}" for name in More.__struct_fields__
    )
    con.execute(
        "CREATE VIEW receipts AS SELECT printf('%016x', c.id) AS xid,"
        " datetime((c.id >> 20) / 1000, 'unixepoch') AS time_utc, d.caller, d.user, d.team,"
        f" d.rule, d.provider, d.model, c.cost / 1e9 AS cost_usd, c.*, {rest}"
        " FROM calls c JOIN dims d ON d.id = c.dim"
    )


def _learning(con: sqlite3.Connection) -> None:
    # What callers thought of an answer: 0 useless, 1 good. Without foreign key: a call's rating
    # may be committed before the call's own row.
    con.execute(
        "CREATE TABLE feedback (id INTEGER PRIMARY KEY, score REAL NOT NULL,"
        " time_ms INTEGER NOT NULL)"
    )
    # See lessons.Lesson.
    con.execute(
        "CREATE TABLE lessons (id INTEGER PRIMARY KEY, alias TEXT NOT NULL, side TEXT NOT NULL,"
        " enough INTEGER, better INTEGER, share REAL, score REAL, cheap_nano INTEGER,"
        " strong_nano INTEGER, features BLOB NOT NULL, text TEXT)"
    )
    _view(con)  # `explored` came to the receipts


MIGRATIONS: tuple[tuple[str, Callable[[sqlite3.Connection], None]], ...] = (
    ("calls, dims, holds, usage, budgets, meta, rollup", _first),
    ("feedback, lessons", _learning),
)
VERSION = len(MIGRATIONS)


def check(con: sqlite3.Connection, path: str) -> int:
    """The file's version. Raises LedgerError when it is not ours or newer than we know."""
    application = con.execute("PRAGMA application_id").fetchone()[0]
    version = int(con.execute("PRAGMA user_version").fetchone()[0])
    tables = con.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (application or version or tables):
        raise LedgerError(
            f"ledger {path}: it is an SQLite database of another program; "
            "name another file under `state:`"
        )
    if version > VERSION:
        raise LedgerError(
            f"ledger {path}: it was written by a newer muxproxy (schema {version}, this one knows "
            f"{VERSION}); start that version, or name another file under `state:`"
        )
    return version


def migrate(con: sqlite3.Connection, path: str) -> int:
    """Bring the file to VERSION in one transaction; how many migrations ran.

    Raises LedgerError (see `check`) and sqlite3.Error; the file is then as it was.
    """
    if check(con, path) == VERSION:
        return 0
    con.execute("BEGIN IMMEDIATE")
    try:
        version = check(con, path)  # again, now that nobody else can change it
        for _name, apply in MIGRATIONS[version:]:
            apply(con)
        con.execute(f"PRAGMA application_id={APPLICATION_ID}")
        con.execute(f"PRAGMA user_version={VERSION}")
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise
    return VERSION - version
