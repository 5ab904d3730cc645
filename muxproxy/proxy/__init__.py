"""The data path. `Proxy` holds what every exchange shares; `road.Exchange` is one exchange."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from muxproxy import exchange as words
from muxproxy.budget import Budgets
from muxproxy.config.units import duration, size
from muxproxy.dialects.paths import Route
from muxproxy.drain import InFlight
from muxproxy.exchange import Receipt
from muxproxy.exchange_log import Entry, ExchangeLog
from muxproxy.ledger import Ledger
from muxproxy.limits import Limits, ProviderHeadroom
from muxproxy.metrics import Metrics
from muxproxy.proxy.balancing import StickyKeys
from muxproxy.proxy.cachewatch import CacheWatch
from muxproxy.proxy.caching import Cache, cache_for
from muxproxy.proxy.examples import Examples
from muxproxy.proxy.health import Health
from muxproxy.proxy.overload import BodyMemory, Gate
from muxproxy.proxy.relay import Sink
from muxproxy.proxy.retrying import RetryBudget
from muxproxy.proxy.road import Exchange
from muxproxy.proxy.settling import Verdict
from muxproxy.proxy.snapshot import Service, Snapshot
from muxproxy.proxy.sticky import Conversations
from muxproxy.proxy.terms import breakers
from muxproxy.tap.counting import TokenCounter
from muxproxy.upstream import Upstreams

__all__ = ["Exchange", "Proxy", "Service", "Snapshot"]


class Proxy:
    """What outlives a configuration, and the snapshot in force."""

    def __init__(  # noqa: PLR0913 -- everything shared is passed in, once, by runtime
        self,
        snapshot: Snapshot,
        *,
        upstreams: Upstreams,
        ledger: Ledger,
        budgets: Budgets,
        limits: Limits,
        headroom: ProviderHeadroom,
        health: Health,
        counter: TokenCounter,
        metrics: Metrics,
        in_flight: InFlight,
        log: logging.Logger,
        max_body: int,
    ) -> None:
        self.snapshot = snapshot
        self.upstreams = upstreams
        self.ledger = ledger
        self.budgets = budgets
        self.limits = limits
        self.headroom = headroom
        self.health = health
        self.conversations = Conversations()
        self.conversations.most = snapshot.config.routing.conversations
        self.accepted = 0  # exchanges begun
        server = snapshot.config.server
        self.bodies = BodyMemory(size(server.max_body_memory))
        self.cache: Cache | None = None  # where a rule wants one
        self.examples = Examples(ledger.path)
        self.seed = secrets.token_bytes(16)  # of what is drawn by chance
        self.sticky_keys = StickyKeys()
        self.gate: Gate | None = None
        if server.max_in_flight is not None:
            patience = duration(server.queue_timeout)
            self.gate = Gate(server.max_in_flight, server.max_queue, patience)
        self.retries = RetryBudget(lambda: self.accepted)
        self.cache_watch = CacheWatch()
        self.counter = counter
        self.metrics = metrics
        self.in_flight = in_flight
        self.log = log
        self.exchange_log = ExchangeLog(log)
        self.max_body = max_body

    dry = False  # explain asks nobody

    def adopt(self, snapshot: Snapshot) -> None:
        """New exchanges run on this from now on; figures, circuits and the cache go on."""
        self.snapshot = snapshot
        self.health.configure(breakers(snapshot.config))
        self.cache = cache_for(snapshot.config, self.ledger.path, self.cache)
        self.examples.adopt(snapshot.config)

    @property
    def passes_without_ledger(self) -> bool:
        """`on_ledger_failure: pass`."""
        return self.snapshot.config.on_ledger_failure == "pass"

    def handle(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        sink: Sink,
        route: Route,
        provider: str | None,
        fields: dict[bytes, bytes],
        memo: dict[Any, Any],
    ) -> Awaitable[None]:
        """One exchange from its head to its receipt. Never raises.

        `provider` is the one that an absolute-form target's host means; `fields` is
        dict(scope["headers"]); `memo` keeps what follows from the head and the snapshot alone.
        """
        return Exchange(self, scope, receive, sink, route, provider, fields, memo).run()

    def account(self, receipt: Receipt, verdict: Verdict, exchange: Exchange) -> None:
        """Metrics, learning and the log line of a settled call."""
        metrics = self.metrics
        if self.budgets.guard is not None:
            self.budgets.guard.spent(exchange.caller, receipt.cost, time.time())
        provider, model = receipt.provider or "", receipt.model or ""
        metrics.requests[provider, model, receipt.status, receipt.end] += 1
        metrics.bytes_in += receipt.bytes_in
        metrics.bytes_out += receipt.bytes_out
        if receipt.ttfb_us is not None:
            metrics.overhead.observe(receipt.overhead_us)
        if receipt.provider is not None and verdict.usage is not None:
            self._account_usage(receipt, verdict, exchange)
        log = self.snapshot.config.log.exchanges
        if log == "all" or (log == "errors" and receipt.end != words.FINISHED):
            fields = exchange.fields
            self.exchange_log.add(
                Entry(receipt, fields.get(b"x-request-id"), fields.get(b"traceparent"))
            )

    def _account_usage(self, receipt: Receipt, verdict: Verdict, exchange: Exchange) -> None:
        usage = verdict.usage
        assert usage is not None
        series = self.metrics.series[receipt.provider or "", receipt.model or ""]
        tokens = series.tokens
        tokens[0] += usage.input
        tokens[3] += usage.output
        if usage.cache_read:
            tokens[1] += usage.cache_read
        if usage.cache_write_5m or usage.cache_write_1h:
            tokens[2] += (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
        if usage.reasoning:
            tokens[4] += usage.reasoning
        if receipt.cost is None:
            series.unpriced += 1
        else:
            series.cost_nano += receipt.cost
        series.overrun_nano += receipt.overrun
        if receipt.ttfb_us is not None:
            series.ttfb.observe(receipt.ttfb_us)
        self.metrics.usage_source[verdict.source or ""] += 1
        if self.cache_watch.observe(usage):
            self.log.warning(
                "the prompt-cache hit rate has fallen since the last edit of the configuration",
                extra=self.cache_watch.alarm,
            )
        tap, ask = exchange.booking.tap, exchange.ask
        if verdict.source != words.PROVIDER or tap is None or ask is None:
            return
        if ask.endpoint in words.GENERATING:  # counting and embedding generate nothing
            self.budgets.outputs.observe(receipt.model or "", usage.output_total, ask.n)
            self.counter.learn(tap.model or receipt.model or "", tap)
