"""A new configuration built beside the running one, off the loop.

    build(...)          in a thread: read, check, compile what is dear
    off_loop(work)      runs it there so that exchanges hardly notice
    Standing            which files, since when, and what is wrong with their present state

The swap itself is `runtime.reload`'s, on the loop, in one step.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from muxproxy.compiling import TERMS, Heavy, compile_heavy
from muxproxy.config.env import Flags
from muxproxy.config.faults import ConfigError, Fault
from muxproxy.config.load import Files, check_file
from muxproxy.config.model import Config
from muxproxy.proxy import Snapshot

T = TypeVar("T")
Signature = tuple[object, ...]

# How long a building thread may keep the interpreter to itself while exchanges wait for it.
_SWITCH_SECONDS = 0.0001
# It makes so many objects (about a millisecond of work), then lets the exchanges run for so long.
_OBJECTS_A_TURN = 1_000
_PAUSE_SECONDS = 0.002
# Sections read once, when the process starts. A change is named, and waits for the next start.
RESTART = ("listen", "admin", "state", "durability", "server")


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What a reading gave: checked and compiled, not yet in force."""

    config: Config
    heavy: Heavy
    warnings: list[str]
    files: tuple[str, ...]


class Standing:
    """What is known of the configuration's files."""

    def __init__(self, path: str | None) -> None:
        self.files: tuple[str, ...] = () if path is None else (path,)
        self.since = time.time()  # the configuration in force was taken then
        self.error: str | None = None  # why what the files say now is not in force
        self.failed_at: float | None = None
        self.restart: tuple[str, ...] = ()  # changes that wait for a restart

    def took(self, files: tuple[str, ...]) -> None:
        """The files are in force."""
        self.files, self.since, self.error, self.failed_at = files, time.time(), None, None

    def refused(self, error: str, files: tuple[str, ...]) -> None:
        """The last good one stays; the files it names are looked at too."""
        self.files = tuple(dict.fromkeys((*self.files, *files)))
        self.error, self.failed_at = error, time.time()

    def shown(self) -> dict[str, object]:
        """For /ready and `status`; empty when all is well."""
        found: dict[str, object] = {}
        if self.error is not None:
            found["reload_error"] = self.error
        if self.restart:
            found["restart_needed"] = list(self.restart)
        return found


class NotTaken(ValueError):
    """The files cannot be used. `files` are those that were read on the way."""

    def __init__(self, message: str, files: tuple[str, ...]) -> None:
        super().__init__(message)
        self.files = files


def build(
    path: str | None, env: Mapping[str, str], flags: Flags, overrides: Mapping[str, Any]
) -> Built:
    """Read, check and compile. Raises NotTaken with every reason."""
    files = Files(path)
    try:
        report = check_file(path, env, flags, terms=TERMS, files=files)
        if report.config is None:
            raise ConfigError(report.faults)
        if files.blank:
            # An editor truncates before it writes: that moment must not take everything away.
            raise ConfigError([_empty(report.source)])
        config = msgspec.structs.replace(report.config, **overrides)
        heavy = compile_heavy(config)
    except (ConfigError, OSError, ValueError) as error:
        raise NotTaken(str(error), tuple(files.read)) from error
    return Built(
        config=config,
        heavy=heavy,
        warnings=[str(one) for one in report.warnings],
        files=tuple(files.read),
    )


def _empty(source: str) -> Fault:
    return Fault(path=source, line=0, column=0, message="the file is empty")


async def off_loop(work: Callable[[], T]) -> T:
    """Run in a thread that lets exchanges go first.

    Taking the interpreter in turns is not enough: an exchange gives it up dozens of times (every
    callback, every step of SQLite), and would wait for its turn each time. So the thread pauses
    after every few thousand objects it made, with the collector's callback as the clock: that is
    called on the thread that allocates, and costs nobody else anything. What was built lives long,
    so it is frozen: later collections need not look at it.
    """
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    builder: list[int] = []

    def pause(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() in builder:
            time.sleep(_PAUSE_SECONDS)

    def run() -> T:
        builder.append(threading.get_ident())
        try:
            return work()
        finally:
            builder.clear()

    sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
    gc.set_threshold(_OBJECTS_A_TURN, 1_000_000, 1_000_000)
    gc.callbacks.append(pause)
    try:
        return await asyncio.to_thread(run)
    finally:
        gc.callbacks.remove(pause)
        gc.freeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


async def let_go(old: Snapshot) -> None:
    """Free a large snapshot bit by bit, off the loop, once no exchange runs on it.

    Freed at once, 1,000 rules hold everything up for 10 ms.
    """
    pieces: list[object] = [*old.rulebook.pieces(), *old.config.rules]
    while sys.getrefcount(old) > _OURS:
        await asyncio.sleep(1.0)
    del old
    await off_loop(partial(_drop, pieces))


_OURS = 2  # let_go's own, and getrefcount's argument


def _drop(pieces: list[object]) -> None:
    while pieces:
        del pieces[-64:]
        time.sleep(_PAUSE_SECONDS)


def signature(files: tuple[str, ...]) -> Signature:
    """What tells one state of the files from another."""
    return tuple(_stat(path) for path in files)


def _stat(path: str) -> tuple[object, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        return (path, error.errno)
    return (path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def changed_for_restart(old: Config, new: Config) -> tuple[str, ...]:
    """Names of changed sections that the running process cannot take."""
    return tuple(name for name in RESTART if getattr(old, name) != getattr(new, name))


def keep_for_restart(old: Config, new: Config) -> Config:
    """`new` with those sections as they are in force."""
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in RESTART})
