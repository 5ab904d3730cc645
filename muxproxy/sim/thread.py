"""A simulator on a loop and thread of its own, for tests and tools that are not asynchronous."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from muxproxy.sim.server import SimServer, start


class SimThread:
    """A simulator elsewhere. Everything of SimServer may be read from here (`server`); calls that
    change it go through `run`."""

    def __init__(self, server: SimServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    @property
    def url(self) -> str:
        return self.server.url

    def run(self, call: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """`call(*args, **keywords)` on the simulator's loop; its result."""

        async def inside() -> Any:
            return call(*args, **keywords)

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    def until(self, predicate: Callable[[SimServer], bool], timeout: float = 5.0) -> None:
        """As SimServer.until, blocking."""
        waiting = self.server.until(predicate, timeout)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(timeout + 5)


@contextmanager
def in_thread(
    *,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    **settings: Any,
) -> Iterator[SimThread]:
    """Runs a simulator while the block runs; `settings` as for `start`."""
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever, name="muxproxy-sim", daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(start(**settings), loop).result(10)
        try:
            yield SimThread(server, loop)
        finally:
            asyncio.run_coroutine_threadsafe(server.aclose(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
