"""Active probes: a small GET every so often, so that a dead provider is known before a call is.

Over the provider's own pool, so that a probe meets the TLS, egress proxy and address that calls
meet. Never books anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from muxproxy.errors import MuxError
from muxproxy.headers import Headers
from muxproxy.proxy.health.health import Health
from muxproxy.upstream import Origin, Request, Times, Upstreams

_BODY = 1024 * 1024


class Probe(msgspec.Struct, frozen=True):
    """What to ask a provider; seconds. `headers` carry its key, so they are never shown."""

    origin: Origin
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    every: float
    timeout: float
    failures: int

    def __repr__(self) -> str:
        return f"Probe({self.target!r})"


class Prober:
    """One task per probed provider; a reload replaces them all."""

    def __init__(
        self, health: Health, upstreams: Upstreams, clock: Callable[[], int], log: logging.Logger
    ) -> None:
        """`clock`: perf_counter_ns."""
        self._health = health
        self._upstreams = upstreams
        self._clock = clock
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def configure(self, probes: Mapping[str, Probe]) -> None:
        """Probe these from now on."""
        for task in self._tasks.values():
            task.cancel()
        self._health.forget_down(set(probes))
        loop = asyncio.get_running_loop()
        self._tasks = {
            name: loop.create_task(self._watch(name, probe)) for name, probe in probes.items()
        }

    async def aclose(self) -> None:
        """No more probes."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, name: str, probe: Probe) -> None:
        failed = 0
        while True:
            if await self._answers(probe):
                failed = 0
                if self._health.up(name):
                    self._log.info("provider answers its probe again", extra={"provider": name})
            else:
                failed += 1
                if failed >= probe.failures and self._health.down(name):
                    self._log.warning("provider does not answer probes", extra={"provider": name})
            await asyncio.sleep(probe.every)

    async def _answers(self, probe: Probe) -> bool:
        """Any answer below 500 is one: a 401 or 404 shows that somebody is there."""
        headers: Headers = list(probe.headers)
        limit = probe.timeout
        request = Request(
            method=b"GET",
            target=probe.target,
            headers=headers,
            deadline_ns=self._clock() + int(limit * 1e9),
            times=Times(connect=limit, first_byte=limit, idle=limit),
        )
        try:
            reply = await self._upstreams.send(probe.origin, request)
            await reply.read(_BODY)
        except MuxError:
            return False
        return reply.status < 500
