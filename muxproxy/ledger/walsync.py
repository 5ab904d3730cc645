"""`durability: power`: commits reach the platter before anybody goes on, without stalling the loop.

SQLite's synchronous=FULL would fsync inside COMMIT, on the loop's thread, for milliseconds. The
same bytes are synced here on another thread; commits made meanwhile share the next sync.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Waiter = asyncio.Future[None]


class WalSync:
    """Syncs one WAL file. Waiters are resolved, or handed to `failed` with the error."""

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[list[Waiter], BaseException], None],
    ) -> None:
        self._path = path
        self._fd = _open(path)
        self._loop = loop
        self._failed = failed
        self._waiting: list[Waiter] = []
        self._running: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, "ledger-sync")

    def wait(self, waiters: list[Waiter]) -> None:
        """Resolve these once everything committed so far is on the platter."""
        self._waiting += waiters
        if self._running is None and self._waiting:
            self._start()

    def reopen(self) -> None:
        """The file was replaced; a sync under way ends on the old one."""
        old, self._fd = self._fd, _open(self._path)
        self._pool.submit(os.close, old)  # behind the sync, in the pool's one thread

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        # macOS has no fdatasync.
        sync = getattr(os, "fdatasync", os.fsync)
        self._running = self._loop.run_in_executor(self._pool, sync, self._fd)
        self._running.add_done_callback(lambda done: self._done(batch, done))

    def _done(self, batch: list[Waiter], done: asyncio.Future[None]) -> None:
        self._running = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._failed(batch, error)
        else:
            for waiter in batch:
                if not waiter.done():
                    waiter.set_result(None)
        if self._waiting:
            self._start()

    async def aclose(self) -> None:
        """Wait for what is under way."""
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)  # its callback may have started the next one
        self._pool.shutdown()
        os.close(self._fd)


def _open(path: str) -> int:
    fd = os.open(path + "-wal", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(directory)  # the WAL's own name
    finally:
        os.close(directory)
    return fd
