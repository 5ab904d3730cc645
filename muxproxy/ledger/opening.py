"""Opening the file: who owns it, which PRAGMAs, what a crash left behind.

Everything here runs before the first request and may wait a little; nothing else does.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from muxproxy.ledger import rows, schema
from muxproxy.ledger.failures import LedgerError, explain
from muxproxy.ledger.writer import TOUCH, Close, Entry, Writer
from muxproxy.logs import logger

_OPEN_PATIENCE = 5.0  # seconds to wait at start for somebody else's lock


def uri(path: str, mode: str) -> str:
    """SQLite's URI of a file; mode rwc, rw or ro."""
    return f"file:{quote(os.path.abspath(path))}?mode={mode}"


def connect(path: str, mode: str, timeout: float) -> sqlite3.Connection:
    """A connection of ours; `timeout` is how many seconds a statement waits for a lock.

    synchronous=NORMAL: in WAL mode a commit is one write to the page cache, safe against kill -9
    and, as a whole file, against power loss; only the last commits before it may be missing.
    wal_autocheckpoint=0: an automatic checkpoint would stall the committing thread 8-10 ms.
    temp_store=MEMORY: sorting for a report writes no temporary file.
    """
    con = sqlite3.connect(
        uri(path, mode), uri=True, isolation_level=None, timeout=timeout, cached_statements=64
    )
    try:
        con.execute("PRAGMA synchronous=NORMAL")
        con.execute("PRAGMA wal_autocheckpoint=0")
        con.execute("PRAGMA temp_store=MEMORY")
        con.execute("PRAGMA cache_size=-4096")
    except BaseException:
        con.close()
        raise
    return con


class Owner:
    """The right to write the file: a lock on FILE.lock, held until close() or the process ends.

    Raises LedgerError when another process has it or the directory cannot be written.
    """

    def __init__(self, path: str) -> None:
        name = path + ".lock"
        try:
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise LedgerError(
                f"ledger {path}: {exc.strerror} ({name}); "
                "check that its directory exists and that this user may write there"
            ) from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            pid = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "?"
            os.close(self._fd)
            raise LedgerError(
                f"ledger {path}: in use by another muxproxy (pid {pid}); "
                "stop it, or name another file under `state:`"
            ) from exc
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds, only the pid in the other's message is missing

    def close(self) -> None:
        """Give the file up. The lock file stays: removing it could free a lock just taken."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_writer(path: str) -> tuple[sqlite3.Connection, int]:
    """The writer's connection, migrated, with a crash's holds settled; and how many there were.

    Raises LedgerError naming file, cause and fix.
    """
    if not Path(path).exists():
        _create(path)
    con: sqlite3.Connection | None = None
    try:
        con = connect(path, "rw", _OPEN_PATIENCE)
        schema.check(con, path)  # before journal_mode: do not convert somebody else's database
        mode = con.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise LedgerError(
                f"ledger {path}: its file system has no shared memory for SQLite's WAL; "
                "name a file on a local disk under `state:`"
            )
        schema.migrate(con, path)
        recovered = recover(con)
        con.execute(TOUCH)  # a read-only file opens, and reads, without complaint
        con.execute("PRAGMA busy_timeout=0")
    except BaseException as exc:
        if con is not None:
            con.close()
        if isinstance(exc, sqlite3.Error):
            raise LedgerError(explain(path, exc)) from exc
        raise
    return con, recovered


def reopen_writer(path: str) -> sqlite3.Connection:
    """A new writer's connection to a file that must be there and be ours; never waits.

    Raises sqlite3.Error or LedgerError.
    """
    con = connect(path, "rw", 0)
    try:
        if schema.check(con, path) != schema.VERSION:
            raise LedgerError(f"ledger {path}: it has another schema; restart muxproxy")
        con.execute(TOUCH)
    except BaseException:
        con.close()
        raise
    return con


def _create(path: str) -> None:
    """An empty file that only this user may read: the books say who called what, and when."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise LedgerError(
            f"ledger {path}: {exc.strerror}; "
            "check that its directory exists and that this user may write there"
        ) from exc


def recover(con: sqlite3.Connection) -> int:
    """Turn the holds that a crash left into receipts, with their spends; how many.

    One transaction: a crash in the middle leaves them to the next start. A hold whose call
    already has a row (its receipt was written by hand or by an attempt) is only closed.
    """
    left = [rows.hold_of(row) for row in con.execute(rows.SELECT_HOLD)]
    if not left:
        return 0
    known = {
        h.id for h in left if con.execute("SELECT 1 FROM calls WHERE id = ?", (h.id,)).fetchone()
    }
    writer = Writer(con)
    entries: list[Entry] = []
    for hold in left:
        receipt, spends = rows.crashed(hold)
        entries.append((receipt, spends, hold.id))
    fresh: list[Entry] = [e for e in entries if e[0].id not in known]
    closed: list[Close] = [(id, ()) for id in known]
    con.execute("BEGIN IMMEDIATE")
    try:
        writer.write((), fresh, closed, rolled(con))
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise
    logger().warning("settled calls that a crash had left open", extra={"calls": len(fresh)})
    return len(fresh)


def highest_id(con: sqlite3.Connection) -> int:
    """The largest id the file knows; 0 for none."""
    row = con.execute(
        "SELECT max(ifnull((SELECT max(id) FROM calls), 0), ifnull((SELECT max(id) FROM holds), 0))"
    ).fetchone()
    return int(row[0])


def rolled(con: sqlite3.Connection) -> int:
    """The roll-up's watermark: calls below this id are in it, but for those in `late`."""
    return int(con.execute("SELECT value FROM meta WHERE key = 'ledger.rolled'").fetchone()[0])


def checkpoint(path: str) -> None:
    """Copy the WAL into the file, as far as nobody is in the way; for another thread at the end."""
    try:
        con = connect(path, "rw", 0)
        try:
            con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            con.close()
    except sqlite3.Error as exc:
        logger().warning("ledger %s: no checkpoint: %s", path, exc)
