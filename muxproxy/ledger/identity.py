"""Whether the file at a path is still the one that was opened there.

SQLite in WAL mode goes on writing into a file that was deleted or replaced, and says nothing.
"""

from __future__ import annotations

import os


class Identity:
    """Device and inode of the file and of its WAL, taken at once or when first seen."""

    __slots__ = ("_main", "_path", "_wal")

    def __init__(self, path: str) -> None:
        self._path = path
        self._main = _inode(path)
        self._wal = _inode(path + "-wal")

    def same_main(self) -> bool:
        """Whether the database file itself is still ours."""
        return _inode(self._path) == self._main

    def problem(self) -> str | None:
        """A sentence when the file is gone or another one stands in its place."""
        if not self.same_main():
            return "the file was deleted or replaced while in use"
        wal = _inode(self._path + "-wal")
        if self._wal is None:
            self._wal = wal
        elif wal != self._wal:
            return "its -wal file was deleted or replaced while in use"
        return None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
