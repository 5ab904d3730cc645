"""Who is in flight, and how to wait for them: the one registry that shutdown reads.

Own code because hypercorn's graceful_timeout is not honoured on Python 3.12+ (its issue #308).
"""

from __future__ import annotations

import asyncio


class InFlight:
    """The exchanges under way, by their tasks."""

    __slots__ = ("_empty", "closing", "draining", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[asyncio.Task[object], object] = {}
        self.draining = False  # no new connections; calls that were accepted are served
        self.closing = False  # nothing begins any more
        self._empty: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self.tasks)

    def enter(self, task: asyncio.Task[object], exchange: object) -> None:
        """An exchange begins."""
        self.tasks[task] = exchange

    def leave(self, task: asyncio.Task[object]) -> None:
        """An exchange has been settled."""
        self.tasks.pop(task, None)
        if self._empty is not None and not self.tasks and not self._empty.done():
            self._empty.set_result(None)

    async def wait_empty(self, timeout: float) -> bool:
        """True once nothing is in flight, False when `timeout` seconds ran out first."""
        if not self.tasks:
            return True
        self._empty = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._empty, timeout)
        except TimeoutError:
            return False
        finally:
            self._empty = None
        return True

    async def cancel_all(self, grace: float = 2.0) -> int:
        """Cancel what is left and wait for it to settle; how many there were."""
        left = list(self.tasks)
        for task in left:
            task.cancel("shutting down")
        if left:
            await asyncio.wait(left, timeout=grace)
        return len(left)
