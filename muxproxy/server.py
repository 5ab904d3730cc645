"""Start and stop order, signals, reload; the only one to import hypercorn (for HTTP/2, in doors).

configuration -> ledger -> snapshot -> doors -> ready
SIGHUP        -> reload (a bad file changes nothing)
SIGTERM/INT   -> not ready -> stop accepting -> drain -> cancel -> settle -> close ledger -> 0
a second one  -> the same without the drain
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

from muxproxy import __version__
from muxproxy.app import App, door_limits
from muxproxy.config import units
from muxproxy.config.model import Config, Listen
from muxproxy.doors import Door, DoorTls
from muxproxy.runtime import Runtime
from muxproxy.watching import Watcher


class Stop:
    """The stop signals: the first asks, the second insists."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def __call__(self) -> None:
        """A SIGTERM or SIGINT arrived."""
        (self.insisted if self.asked.is_set() else self.asked).set()


def serve(runtime: Runtime, announce: Callable[[list[str]], None]) -> int:
    """Run until a signal says stop; the exit code.

    `announce` is called with the bound addresses once calls are served.
    """
    return uvloop.run(_serve(runtime, announce))


async def _serve(runtime: Runtime, announce: Callable[[list[str]], None]) -> int:
    loop = asyncio.get_running_loop()
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, _reload, runtime, reloads)
    await runtime.start()
    # What was built so far lives as long as the process: collections need not look at it again.
    gc.collect()
    gc.freeze()
    # Exchanges free what they made without its help; with 1,000 of them open, a full collection
    # holds every stream up.
    gc.set_threshold(50_000, 50, 1_000)
    doors: list[Door] = []
    watcher = Watcher(runtime) if runtime.path is not None else None
    try:
        doors = await open_doors(runtime)
        announce(_announced(runtime.config, doors))
        await stop.asked.wait()
        await _drain(runtime, doors, stop)
    finally:
        for door in doors:
            door.abort_all()
        await runtime.in_flight.cancel_all()
        for door in doors:
            await door.aclose()
        if watcher is not None:
            await watcher.aclose()
        await asyncio.gather(*reloads, return_exceptions=True)
        await runtime.aclose()
    return 0


async def open_doors(runtime: Runtime) -> list[Door]:
    """The main door and, where `admin` is set, the control plane's own. Raises OSError."""
    config = runtime.config
    listen = config.listen
    address = listen.address if isinstance(listen, Listen) else listen
    limits = door_limits(config.server)
    door = Door(
        App(runtime, control_here=config.admin is None),
        limits,
        tunnels=runtime.tunnels,
        permit_address=runtime.tunnels.permits,
    )
    doors = [door]
    runtime.door_stats = lambda: _stats(doors)
    try:
        await door.listen(_normal(address), _tls(config))
        if config.admin is not None:
            doors.append(Door(App(runtime, data_here=False), limits))
            await doors[-1].listen(_normal(config.admin))
        names = [name for each in doors for name in each.addresses]
        runtime.ports = {int(n.rpartition(":")[2]) for n in names if not n.startswith("unix:")}
    except BaseException:
        for opened in doors:
            await opened.aclose()
        raise
    return doors


def _announced(config: Config, doors: list[Door]) -> list[str]:
    """The doors' addresses with their schemes; a unix socket's path as it is."""
    secure = _tls(config) is not None
    return [
        name if name.startswith("unix:") else f"{'https' if secure and not at else 'http'}://{name}"
        for at, door in enumerate(doors)
        for name in door.addresses
    ]


def _tls(config: Config) -> DoorTls | None:
    listen = config.listen
    if not isinstance(listen, Listen) or listen.tls is None:
        return None
    return DoorTls(**msgspec.structs.asdict(listen.tls))


def _normal(address: str) -> str:
    """As the door wants it: a bare port means loopback."""
    endpoint = units.address(address)
    if endpoint.unix is not None:
        return f"unix:{endpoint.unix}"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _stats(doors: list[Door]) -> dict[str, int]:
    stats = [door.stats for door in doors]
    return {
        "open_connections": sum(door.open_connections for door in doors),
        "connections": sum(s.connections for s in stats),
        "requests": sum(s.requests for s in stats),
        "tunnels": sum(s.tunnels for s in stats),
        "intercepted": sum(s.intercepted for s in stats),
        "refused": sum(sum(s.refused.values()) for s in stats),
    }


def _reload(runtime: Runtime, reloads: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(runtime.reload_or_log())
    reloads.add(task)
    task.add_done_callback(reloads.discard)


async def _drain(runtime: Runtime, doors: list[Door], stop: Stop) -> None:
    timeout = units.duration(runtime.config.drain_timeout)
    runtime.in_flight.draining = True
    runtime.log.info(
        "stopping", extra={"in_flight": len(runtime.in_flight), "drain_timeout": timeout}
    )
    for door in doors:
        door.stop_accepting()
    drained = asyncio.create_task(_drain_doors(doors, timeout))
    insisted = asyncio.create_task(stop.insisted.wait())
    waiting: set[asyncio.Task[Any]] = {drained, insisted}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _drain_doors(doors: list[Door], timeout: float) -> None:
    await asyncio.gather(*(door.drain(timeout) for door in doors))


def announce_text(addresses: list[str]) -> None:
    """Say on stderr where calls are served."""
    for address in addresses:
        print(f"muxproxy {__version__} listening on {address}", file=sys.stderr, flush=True)
