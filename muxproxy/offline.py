"""A proxy without doors, books or connections, for the commands that only think.

offline.proxy(config, env, rows)   -> as `runtime` would build it, on budgets as they stand
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from muxproxy import logs
from muxproxy.budget import Budgets
from muxproxy.budget.budgets import Row
from muxproxy.compiling import budget_predicates, compile_snapshot
from muxproxy.config import units
from muxproxy.config.model import Config
from muxproxy.drain import InFlight
from muxproxy.exchange import Caller
from muxproxy.limits import Limits, ProviderHeadroom
from muxproxy.metrics import Metrics
from muxproxy.proxy import Proxy
from muxproxy.proxy.health import Health
from muxproxy.tap.counting import TokenCounter
from muxproxy.upstream import Upstreams


def proxy(
    config: Config,
    env: Mapping[str, str],
    rows: Iterable[Row] = (),
    caller: Caller | None = None,
) -> Proxy:
    """Within a running loop. `rows` are the books' sums; `caller` is who asks, whatever the
    request's credentials say. Raises ValueError for what cannot be served."""
    upstreams = Upstreams()
    health = Health()
    snapshot = compile_snapshot(config, upstreams, env, health)
    if caller is not None:
        snapshot.auth = cast(Any, _Known(caller))
    return Proxy(
        snapshot,
        upstreams=upstreams,
        ledger=cast(Any, _Clock()),
        budgets=Budgets(config, rows, time.time(), predicates=budget_predicates(config)),
        limits=Limits(config.limits),
        headroom=ProviderHeadroom(),
        health=health,
        counter=TokenCounter(),
        metrics=Metrics(),
        in_flight=InFlight(),
        log=logs.logger(),
        max_body=units.size(config.server.max_body_bytes),
    )


class _Clock:
    """The ledger's ids, and no ledger."""

    path = ""

    def next_id(self) -> int:
        return int(time.time() * 1000) << 20


class _Known:
    """Stands where the authenticator does."""

    lasting = False

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def caller(self, *given: object) -> Caller:
        del given
        return self._caller
