"""GET /v1/status: everything an operator looks at first, in one answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from muxproxy import __version__
from muxproxy.control.listing import Listed, providers
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.reports import AsyncReader, iso_ms, receipt_json
from muxproxy.metrics import Metrics
from muxproxy.money import NANO

CALLS = 20
_DAY = 86_400


class Standing(Protocol):
    """What is known of the configuration's files."""

    files: tuple[str, ...]
    since: float
    error: str | None
    restart: tuple[str, ...]


class Source(Listed, Protocol):
    """Where the figures come from."""

    metrics: Metrics
    started: float
    warnings: list[str]

    @property
    def standing(self) -> Standing: ...

    def ready(self) -> tuple[bool, dict[str, object]]: ...
    def door_counts(self) -> Mapping[str, int]: ...
    def budgets(self) -> Iterable[Mapping[str, object]]: ...
    def streams(self) -> int: ...


async def status(source: Source, reader: AsyncReader) -> dict[str, Any]:
    """The whole page."""
    now = time.time()
    ready, detail = source.ready()
    metrics, standing = source.metrics, source.standing
    midnight = int(now // _DAY * _DAY) * 1000
    today = await reader.costs(CostQuery(start=midnight, end=int(now * 1000) + 1000))
    calls = await reader.calls(limit=CALLS)
    series = metrics.series.values()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime_s": round(now - source.started, 1),
        "ready": ready,
        "detail": detail,
        "config": {
            "files": list(standing.files),
            "since": iso_ms(int(standing.since * 1000)),
            "current": standing.error is None,
            "error": standing.error,
            "restart_needed": list(standing.restart),
            "warnings": source.warnings,
        },
        "in_flight": metrics.in_flight,
        "streams": source.streams(),
        "connections": source.door_counts().get("open_connections", 0),
        # Since the start; whoever asks twice has the rates.
        "totals": {
            "requests": sum(metrics.requests.values()),
            "errors": sum(metrics.errors.values()),
            "tokens_in": sum(sum(s.tokens[:3]) for s in series),
            "tokens_out": sum(sum(s.tokens[3:]) for s in series),
            "cost_usd": sum(s.cost_nano for s in series) / NANO,
        },
        "today": {name: today["totals"].get(name) for name in ("requests", "errors", "cost_usd")},
        "budgets": list(source.budgets()),
        "providers": providers(source),
        "calls": [receipt_json(receipt) for receipt in calls],
    }
