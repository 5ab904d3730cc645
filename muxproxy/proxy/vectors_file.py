"""Embeddings that were paid for, in an SQLite file of their own beside the ledger.

Rows are found by the model that made them and the SHA-256 of the text; the text itself is not
there. A digest can be compared with those of guesses, so the file is its owner's only. It is but
a cache: any failure turns it off (or empties it) and fails no call.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from array import array
from hashlib import sha256

from muxproxy.logs import logger
from muxproxy.routing.nearest import Vector

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    place TEXT NOT NULL, digest BLOB NOT NULL, prompt INTEGER NOT NULL, at INTEGER NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (place, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oldest ON vectors (prompt, at);
"""
_FRESH = 0.9  # of the bound, after making room


def digest_of(text: str) -> bytes:
    """What a text is found by."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


class VectorsFile:
    """Opened on first use. Plain statements on the loop's thread, each of one row. Without a
    `path` nothing is kept."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.off = not path
        self._con: sqlite3.Connection | None = None
        self._prompts = 0
        self._clock = 0  # of insertions

    def get(self, place: str, text: str) -> Vector | None:
        """The vector that `place` (provider/model, dimensions) gave for that text."""
        try:
            con = self._open()
            if con is None:
                return None
            row = con.execute(
                "SELECT vector FROM vectors WHERE place = ? AND digest = ?",
                (place, digest_of(text)),
            ).fetchone()
            if row is None:
                return None
            found = array("f")
            found.frombytes(row[0])
            return found
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._fail(error)
            return None

    def put(self, place: str, text: str, vector: Vector, *, most: int | None = None) -> None:
        """Keep it; `most`: it is a prompt's, of which there are to be no more than that."""
        try:
            con = self._open()
            if con is None:
                return
            if most is not None and self._prompts >= most:
                self._make_room(con, int(most * _FRESH))
            self._clock += 1
            done = con.execute(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?, ?)",
                (place, digest_of(text), most is not None, self._clock, vector.tobytes()),
            )
            if most is not None:
                self._prompts += done.rowcount
            else:  # what was a prompt is an example now: it is no longer among those that go
                con.execute(
                    "UPDATE vectors SET prompt = 0 WHERE place = ? AND digest = ?",
                    (place, digest_of(text)),
                )
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def close(self) -> None:
        """No more."""
        if self._con is not None:
            with contextlib.suppress(sqlite3.Error):
                self._con.close()
            self._con = None
        self.off = True

    def _make_room(self, con: sqlite3.Connection, goal: int) -> None:
        con.execute(
            "DELETE FROM vectors WHERE prompt = 1 AND at <= (SELECT at FROM vectors WHERE"
            " prompt = 1 ORDER BY at DESC LIMIT 1 OFFSET ?)",
            (goal,),
        )
        (self._prompts,) = con.execute("SELECT count(*) FROM vectors WHERE prompt = 1").fetchone()

    def _open(self) -> sqlite3.Connection | None:
        if self._con is None and not self.off:
            try:
                self._con = self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, or the disk is full
                    raise
                # No database, or a broken one: it is only a cache.
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        os.unlink(self.path + suffix)
                self._con = self._connect()
        return self._con

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        con = sqlite3.connect(self.path, isolation_level=None, timeout=0.05)
        try:
            con.execute("PRAGMA journal_mode=WAL")
            con.execute("PRAGMA synchronous=OFF")
            con.executescript(_SCHEMA)
            (self._prompts, self._clock) = con.execute(
                "SELECT coalesce(sum(prompt), 0), coalesce(max(at), 0) FROM vectors"
            ).fetchone()
        except BaseException:
            con.close()
            raise
        return con

    def _fail(self, error: Exception) -> None:
        self.close()
        logger().warning(f"embeddings are not kept in {self.path}: {error}")
