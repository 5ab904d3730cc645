"""Watching the configuration: every edit is taken, however the editor or Kubernetes writes it.

Folders are watched, not files, because files are replaced: by rename, or, for a ConfigMap, by a
symlink (`..data`) that moves. Every second the files are looked at besides, for file systems that
tell nothing (network mounts, a container's bind mount). A change is taken once it stands still.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from watchfiles import awatch

from muxproxy.reloading import Signature, signature
from muxproxy.runtime import Runtime

LOOK_MS = 1000
# Events are gathered while they come, for so long: a ledger beside the file makes one per commit.
_GATHER_MS = 400
_STEP_MS = 200
# A file that was not touched for so long is whole.
_STILL_SECONDS = 0.05
_MOST_LOOKS = 100


class Watcher:
    """Runs until `aclose`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = asyncio.Event()
        self._seen = runtime.signature
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop watching."""
        self._stop.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stop.is_set():
            folders = _folders(self._runtime.standing.files)
            try:
                async with aclosing(self._wakes(folders)) as wakes:
                    async for _ in wakes:
                        await self._look()
                        if _folders(self._runtime.standing.files) != folders:
                            break
            except Exception as error:
                self._runtime.log.warning(f"the configuration's folder is not watched: {error}")
                await self._poll()

    def _wakes(self, folders: frozenset[str]) -> AsyncGenerator[object, None]:
        return awatch(
            *folders,
            watch_filter=None,
            debounce=_GATHER_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
        )

    async def _poll(self) -> None:
        """Without events (too many watches on this machine): look, and look again."""
        for _ in range(_MOST_LOOKS):
            if self._stop.is_set():
                return
            await self._look()
            await asyncio.sleep(LOOK_MS / 1000)

    async def _look(self) -> None:
        runtime = self._runtime
        if await self._now() == self._seen or not runtime.config.watch:
            return
        self._seen = await self._still()
        if self._seen == runtime.signature:
            return  # taken already, by SIGHUP or the API
        await runtime.reload_or_log()

    async def _now(self) -> Signature:
        return await asyncio.to_thread(signature, self._runtime.standing.files)

    async def _still(self) -> Signature:
        """The files' state once nobody writes any more."""
        now = await self._now()
        for _ in range(_MOST_LOOKS):
            await asyncio.sleep(_STILL_SECONDS)
            before, now = now, await self._now()
            if now == before:
                break
        return now


def _folders(files: tuple[str, ...]) -> frozenset[str]:
    """Where something may happen to these files, their links followed."""
    found = set()
    for path in files:
        for each in (os.path.abspath(path), os.path.realpath(path)):
            folder = each if os.path.isdir(each) else os.path.dirname(each)
            if os.path.isdir(folder):
                found.add(folder)
    return frozenset(found)
