"""The cache's own SQLite file beside the ledger: answers by the hash of who asked what.

Plain statements on the loop's thread: only requests of rules with `cache:` come here. Losing the
file loses nothing that matters, so any failure turns the cache off (or empties it) and never
fails a call. The file holds answers: it is made readable by its owner only.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

import msgspec

from muxproxy.logs import logger

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, expires REAL NOT NULL, stored REAL NOT NULL,
    size INTEGER NOT NULL, entry BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oldest ON answers (stored);
"""
_FRESH = 0.9  # of the bound, after making room


class Entry(msgspec.Struct, array_like=True):
    """One answer as the caller got it; `headers` without ours."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    provider: str
    model: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class CacheFile:
    """`off` says why it is not used, or is None."""

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.off: str | None = None
        self.hits = 0
        self.misses = 0
        self._con: sqlite3.Connection | None = None
        self._size = 0
        try:
            self._open()
        except sqlite3.DatabaseError:  # no database, or a broken one: it is only a cache
            self._remove()
            try:
                self._open()
            except (sqlite3.Error, OSError) as error:
                self._fail(error)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def get(self, key: bytes, now: float) -> Entry | None:
        """The answer that is still fresh, or None."""
        if self._con is None:
            return None
        try:
            row = self._con.execute(
                "SELECT entry FROM answers WHERE key = ? AND expires > ?", (key, now)
            ).fetchone()
            return None if row is None else _decode(row[0])
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self._fail(error)
            return None

    def put(self, key: bytes, entry: Entry, now: float, ttl: float) -> None:
        """Keep it for `ttl` seconds; the oldest make room for it."""
        if self._con is None:
            return
        data = _encode(entry)
        if len(data) > self.limit:
            return
        try:
            if self._size + len(data) > self.limit:
                self._make_room(len(data), now)
            self._con.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (key, now + ttl, now, len(data), data),
            )
        except sqlite3.Error as error:
            self._fail(error)
            return
        self._size += len(data)

    def close(self) -> None:
        """No more."""
        if self._con is not None:
            with contextlib.suppress(sqlite3.Error):
                self._con.close()
            self._con = None

    def _open(self) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        con = sqlite3.connect(self.path, isolation_level=None, timeout=0.05)
        try:
            con.execute("PRAGMA journal_mode=WAL")
            con.execute("PRAGMA synchronous=OFF")
            con.executescript(_SCHEMA)
            (self._size,) = con.execute("SELECT coalesce(sum(size), 0) FROM answers").fetchone()
        except BaseException:
            con.close()
            raise
        self._con = con

    def _make_room(self, more: int, now: float) -> None:
        assert self._con is not None
        self._con.execute("DELETE FROM answers WHERE expires <= ?", (now,))
        goal = self.limit * _FRESH - more
        while True:
            (size,) = self._con.execute("SELECT coalesce(sum(size), 0) FROM answers").fetchone()
            self._size = size
            if size <= max(goal, 0):
                return
            self._con.execute(
                "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY stored LIMIT"
                " max(1, (SELECT count(*) / 8 FROM answers)))"
            )

    def _fail(self, error: Exception) -> None:
        self.close()
        self.off = type(error).__name__
        logger().warning(f"cache {self.path} is off: {error}")

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(self.path + suffix)
