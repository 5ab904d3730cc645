"""What SQLite's errors mean for us: wait, reopen, or say what to do."""

from __future__ import annotations

import sqlite3

from muxproxy.errors import MuxError

_MASK = 0xFF  # extended result codes carry the primary code in their low byte

WAIT = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# After these the connection itself may be at fault (file replaced, remounted, restored).
REOPEN = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
    }
)
# The row is at fault, not the file.
POISON = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    ValueError,
    TypeError,
)

_CAUSES = {
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked by another process",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_IOERR: "I/O error",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "not a ledger",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "permission denied",
}
_FIXES = {
    sqlite3.SQLITE_BUSY: "end the program that holds it, or name another file under `state:`",
    sqlite3.SQLITE_LOCKED: "end the program that holds it, or name another file under `state:`",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_READONLY: "make the file and its directory writable for this user",
    sqlite3.SQLITE_IOERR: "look at the disk, and whether it is a network file system",
    sqlite3.SQLITE_CORRUPT: (
        "move it away (a new one is made) or restore a copy; "
        "`sqlite3 FILE .recover` saves what is left"
    ),
    sqlite3.SQLITE_NOTADB: "name another file under `state:`, or move this one away",
    sqlite3.SQLITE_CANTOPEN: "check that its directory exists and that this user may write there",
    sqlite3.SQLITE_PERM: "make the file and its directory writable for this user",
}


class LedgerError(Exception):
    """The file cannot serve as ledger. The text names the file, the cause and the fix."""


def primary(error: BaseException) -> int:
    """SQLite's primary result code; 0 for errors that did not come from SQLite itself."""
    code = getattr(error, "sqlite_errorcode", 0)
    return int(code) & _MASK


def cause(error: BaseException) -> str:
    """A few words, fit for a caller's eyes (no path)."""
    return _CAUSES.get(primary(error), "database error")


def unavailable(error: BaseException) -> MuxError:
    """What a caller is told: a 503."""
    return MuxError("ledger_unavailable", f"the ledger cannot be used: {cause(error)}")


def explain(path: str, error: BaseException) -> str:
    """One line for logs and start-up: file, cause, SQLite's words, fix."""
    fix = _FIXES.get(primary(error))
    text = f"ledger {path}: {cause(error)} ({error})"
    return f"{text}; {fix}" if fix else text
