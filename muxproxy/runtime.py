"""Everything is built here, by hand, top to bottom, and passed in; and swapped here on reload.

Runtime.from_file -> start() -> snapshot, proxy ... reload() ... -> aclose()
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Protocol

import msgspec

from muxproxy import logs
from muxproxy.browser import is_loopback, split_host
from muxproxy.budget import Budgets, Event
from muxproxy.compiling import (
    TERMS,
    budget_predicates,
    compile_snapshot,
    endpoint,
    probes,
)
from muxproxy.config import units
from muxproxy.config.env import Flags
from muxproxy.config.load import load_file
from muxproxy.config.loaded import NO_FLAGS
from muxproxy.config.model import Config
from muxproxy.drain import InFlight
from muxproxy.exchange import Caller, Receipt
from muxproxy.headers import Headers
from muxproxy.interception import Interception
from muxproxy.ledger import Ledger
from muxproxy.limits import Limits, ProviderHeadroom
from muxproxy.metrics import Metrics
from muxproxy.prices import Price
from muxproxy.proxy import Proxy, Snapshot
from muxproxy.proxy.explaining import Asked, explain
from muxproxy.proxy.health import Health
from muxproxy.proxy.health.probes import Prober
from muxproxy.proxy.plain import is_outside, refuse_inside
from muxproxy.reloading import (
    Built,
    NotTaken,
    Standing,
    build,
    changed_for_restart,
    keep_for_restart,
    let_go,
    off_loop,
    signature,
)
from muxproxy.stored_budgets import StoredBudgets
from muxproxy.tap.counting import TokenCounter
from muxproxy.upstream import Upstreams, spec_from, without_own

ASGIApp = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Control(Protocol):
    """The control plane, once it was asked for."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None: ...
    async def aclose(self) -> None: ...


class Runtime:
    """One running muxproxy, without its doors."""

    def __init__(self, config: Config, path: str | None, env: Mapping[str, str]) -> None:
        self.config = config
        self.path = path
        self.metrics = Metrics()
        self.in_flight = InFlight()
        self.headroom = ProviderHeadroom()
        self.health = Health()
        self.counter = TokenCounter(quiet=lambda: not self.in_flight.tasks)
        self.log = logs.logger()
        self.started = time.time()
        self.standing: Standing = Standing(path)
        self.signature = signature(self.standing.files)
        self.door_stats: Callable[[], Mapping[str, int]] = dict
        self.ports: Collection[int] = ()  # that our doors listen on, once they do
        self._env = env
        self._upstreams: Upstreams | None = None
        self._ledger: Ledger | None = None
        self._proxy: Proxy | None = None
        self._control: Control | None = None
        self._prober: Prober | None = None
        self.stored: StoredBudgets
        self.tunnels = Interception(lambda: self.snapshot, self._refuse_inside)
        self._flags = NO_FLAGS
        self._overrides: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._reloading = asyncio.Lock()
        self._letting_go: set[asyncio.Task[None]] = set()

    @classmethod
    def from_file(
        cls,
        path: str | None,
        env: Mapping[str, str],
        flags: Flags = NO_FLAGS,
        overrides: dict[str, Any] | None = None,
    ) -> Runtime:
        """Read the configuration. Raises ConfigError with all its faults, or OSError."""
        before = signature(() if path is None else (path,))
        loaded = load_file(path, env, flags, TERMS)
        config = _override(loaded.config, overrides)
        env, own = without_own(env, endpoint(config).port)
        runtime = cls(config, path, env)
        runtime.standing.took(loaded.files)
        # A change while it was read is seen as one by whoever watches.
        runtime.signature = before + signature(loaded.files)[1:]
        runtime._flags = flags
        runtime._overrides = overrides or {}
        runtime.warnings = [str(warning) for warning in loaded.warnings]
        if own:
            runtime.warnings.append(f"{', '.join(own)}: leads to muxproxy itself, and is ignored")
        return runtime

    # -- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the ledger and build the first snapshot. Raises LedgerError, ValueError."""
        config = self.config
        self._upstreams = Upstreams(permit=is_outside)
        # First: what cannot be served must not open the books.
        snapshot = compile_snapshot(config, self.upstreams, self._env, self.health)
        self._ledger = Ledger(
            config.state,
            config.durability,
            retention=units.duration(config.retention) if config.retention else None,
        )
        self.stored = StoredBudgets(self._ledger)
        combined = self.stored.beside(config)
        budgets = Budgets(
            combined,
            self._ledger.usage_rows(),
            time.time(),
            predicates=budget_predicates(combined),
            tell=self._tell,
        )
        self._proxy = Proxy(
            snapshot,
            upstreams=self._upstreams,
            ledger=self._ledger,
            budgets=budgets,
            limits=Limits(config.limits),
            headroom=self.headroom,
            health=self.health,
            counter=self.counter,
            metrics=self.metrics,
            in_flight=self.in_flight,
            log=self.log,
            max_body=units.size(config.server.max_body_bytes),
        )
        self.tunnels.configure(config)
        self._proxy.adopt(snapshot)
        self._prober = Prober(self.health, self.upstreams, time.perf_counter_ns, self.log)
        self._prober.configure(probes(snapshot.services))

    async def aclose(self) -> None:
        """Cut what is in flight, settle it, close pools and ledger."""
        self.in_flight.draining = self.in_flight.closing = True
        await self.in_flight.cancel_all()
        for task in self._letting_go:
            task.cancel()
        await asyncio.gather(*self._letting_go, return_exceptions=True)
        if self._control is not None:
            await self._control.aclose()
        if self._prober is not None:
            await self._prober.aclose()
        if self._proxy is not None:
            await self._proxy.exchange_log.aclose()
        if self._upstreams is not None:
            await self._upstreams.aclose()
        if self._proxy is not None:
            self._proxy.examples.close()
            if self._proxy.cache is not None:
                self._proxy.cache.file.close()
        if self._ledger is not None:
            await self._ledger.aclose()

    async def reload(self) -> None:
        """Take the files as they are now; bad ones change nothing.

        Read, checked and compiled in a thread; swapped in one step. Raises NotTaken saying why;
        the last good configuration stays in force.
        """
        async with self._reloading:
            seen = signature(self.standing.files)
            try:
                built = await off_loop(
                    lambda: build(self.path, self._env, self._flags, self._overrides)
                )
                self._swap(built)
            except ValueError as error:
                self.metrics.reload_failures += 1
                files = error.files if isinstance(error, NotTaken) else ()
                self.standing.refused(str(error), files)
                self.signature = seen
                raise
            self.signature = seen

    async def reload_or_log(self) -> None:
        """`reload`, for those who cannot be told why not."""
        try:
            await self.reload()
        except ValueError as error:
            self.log.error(f"configuration not reloaded, the last good one stays: {error}")

    def _swap(self, built: Built) -> None:
        """Everything in force from here on. Raises ValueError before anything changed."""
        pending = changed_for_restart(self.config, built.config)
        config = keep_for_restart(self.config, built.config)
        old = self.snapshot
        snapshot = compile_snapshot(config, self.upstreams, self._env, self.health, built.heavy)
        combined = self.stored.beside(config)
        self.proxy.budgets.rebuild(combined, time.time(), predicates=budget_predicates(combined))
        self.proxy.limits.rebuild(config.limits)
        if pending and pending != self.standing.restart:
            self.log.warning(f"{', '.join(pending)} changed: that takes effect after a restart")
        self.config = config
        self.proxy.adopt(snapshot)
        self.proxy.cache_watch.edited()
        if self._prober is not None:
            self._prober.configure(probes(snapshot.services))
        self.tunnels.configure(config)
        self.ledger.retention = units.duration(config.retention) if config.retention else None
        self.upstreams.retain({spec_from(p, self._env) for p in config.providers.values()})
        logs.level(config.log.level)
        self.metrics.reloads += 1
        for warning in built.warnings:
            if warning not in self.warnings:
                self.log.warning(warning)
        self.warnings = built.warnings
        self.standing.took(built.files)
        self.standing.restart = pending
        self.log.info("configuration reloaded", extra={"file": self.path})
        task = asyncio.create_task(let_go(old))
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    def _tell(self, event: Event) -> None:
        kind = f"{event.kind} {event.percent}" if event.percent else event.kind
        self.metrics.budget_events[event.budget, kind] += 1
        self.log.warning(
            f"budget {event.kind}",
            extra={"budget": event.budget, "scope": event.scope, "percent": event.percent or None},
        )

    # -- what doors and control ask ---------------------------------------------------------

    @property
    def upstreams(self) -> Upstreams:
        """Every pool."""
        assert self._upstreams is not None, "start() first"
        return self._upstreams

    @property
    def ledger(self) -> Ledger:
        """The books."""
        assert self._ledger is not None, "start() first"
        return self._ledger

    @property
    def proxy(self) -> Proxy:
        """The data path."""
        assert self._proxy is not None, "start() first"
        return self._proxy

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.proxy.snapshot

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether calls are served, and what an operator should know."""
        detail: dict[str, object] = {
            "in_flight": len(self.in_flight),
            "ledger": "ok",
            "ledger_lag": self.ledger.lag,
        }
        detail |= self.standing.shown()
        failed = self.ledger.failed
        if failed is not None:
            detail["ledger"] = failed.message
        if self.in_flight.draining:
            detail["draining"] = True
        refusing = failed is not None and self.config.on_ledger_failure == "refuse"
        return not (self.in_flight.draining or refusing), detail

    def is_self(self, authority: tuple[str, str, int]) -> bool:
        """Whether an absolute-form target is our own address (a base_url sent through us).

        By every name we answer to, or it would be forwarded to ourselves, and there, in
        origin-form, reach the control plane.
        """
        _, name, port = authority
        config = self.config
        own = endpoint(config)
        if port not in (self.ports or (own.port,)):
            return False
        plain = name.lower().removesuffix(".")
        return is_loopback(plain) or plain in {split_host(h) for h in (own.host, *config.hosts)}

    def _refuse_inside(self, host: str) -> None:
        """Our callers are on this machine while we listen on loopback: so is what they reach."""
        config = self.snapshot.config
        refuse_inside(host, config.server.inside_hosts, loopback=endpoint(config).loopback)

    def pools(self) -> dict[str, dict[str, int]]:
        """Connections per origin."""
        return {stats.origin: stats.figures() for stats in self.upstreams.stats()}

    def config_current(self) -> bool:
        """Whether the configuration in force is what its files say."""
        return not self.standing.shown()

    def streams(self) -> int:
        """Streamed answers under way."""
        exchanges = self.in_flight.tasks.values()
        asks = (getattr(exchange, "ask", None) for exchange in exchanges)
        return sum(1 for ask in asks if ask is not None and ask.stream)

    def ledger_lag(self) -> int:
        """Rows queued."""
        return self.ledger.lag

    def ledger_path(self) -> str:
        """The ledger's file."""
        return self.ledger.path

    def find_call(self, id: int) -> Receipt | None:
        """A settled call, written or not."""
        return self.ledger.find(id)

    def drift(self) -> Mapping[str, tuple[int, int]]:
        """Per model: (tokens counted, tokens reported)."""
        return self.counter.drift

    def door_counts(self) -> Mapping[str, int]:
        """The doors' counters."""
        return self.door_stats()

    def price(self, provider: str, model: str) -> Price | None:
        """What a model costs now."""
        return self.snapshot.prices.find(provider, model, int(time.time()))

    def cache_alarm(self) -> dict[str, object] | None:
        """{before, after}: the prompt-cache hit rate that the last edit made fall."""
        return self.proxy.cache_watch.alarm

    def budgets(self) -> list[dict[str, object]]:
        """Where every budget stands, and where it was made."""
        own = {budget.name for budget in self.config.budgets}
        rows = self.proxy.budgets.status(time.time())
        return [{**row, "source": "yaml" if row["name"] in own else "api"} for row in rows]

    async def put_budget(self, body: object) -> str:
        """Create or change a budget of the API's; its name. Raises MuxError."""
        return await self.stored.put(body, self.config, self.proxy.budgets)

    async def delete_budget(self, name: str) -> None:
        """Take a budget of the API's out. Raises MuxError."""
        await self.stored.delete(name, self.config, self.proxy.budgets)

    async def top_up(self, name: str, scope: str, amount: str | int | float) -> None:
        """Raise one scope's limit; in the books before this returns. Raises MuxError."""
        await self.stored.top_up(name, scope, amount, self.proxy.budgets)

    async def explain(self, asked: Asked) -> dict[str, object]:
        """What would happen to a request, and why; nothing is sent. Raises MuxError."""
        return await explain(self.proxy, asked)

    def authorize_control(self, headers: Headers, query: bytes) -> Caller | None:
        """In keys mode the control plane wants a key too; whose it is. None in open mode."""
        caller = self.snapshot.auth.caller(headers, None, query)
        return caller if self.snapshot.auth.required else None

    async def rate(self, id: int, score: float) -> None:
        """Keep what was thought of a call; in the books before this returns. Raises MuxError."""
        await self.ledger.rate(id, score)
        self.metrics.feedback += 1

    def build_control(self) -> ASGIApp:
        """The control plane; its imports cost, so they come with its first request."""
        from muxproxy.control.api import build  # noqa: PLC0415

        if self._control is None:
            self._control = build(self)
        return self._control


def _override(config: Config, overrides: dict[str, Any] | None) -> Config:
    return msgspec.structs.replace(config, **overrides) if overrides else config
