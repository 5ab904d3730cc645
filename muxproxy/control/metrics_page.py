"""`/metrics`: the plain integers of `metrics.Metrics` as a prometheus-client collector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from muxproxy.control.listing import Standing
from muxproxy.limits import ProviderHeadroom
from muxproxy.metrics import TOKEN_KINDS, Histogram, Metrics
from muxproxy.money import NANO

MICRO = 1_000_000
__all__ = ["CONTENT_TYPE_LATEST", "render"]


class Source(Protocol):
    """What the page reads besides the counters."""

    metrics: Metrics
    headroom: ProviderHeadroom

    @property
    def health(self) -> Standing: ...

    def pools(self) -> Mapping[str, Mapping[str, int]]: ...
    def ledger_lag(self) -> int: ...
    def drift(self) -> Mapping[str, tuple[int, int]]: ...
    def door_counts(self) -> Mapping[str, int]: ...
    def config_current(self) -> bool: ...
    def budgets(self) -> Iterable[Mapping[str, object]]: ...


def render(source: Source) -> bytes:
    """The page in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(source))
    return generate_latest(registry)


class _Collector:
    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._source.metrics)
        yield from _per_model(self._source.metrics)
        yield from _gauges(self._source)
        yield from _budgets(self._source.budgets())
        yield from _circuits(self._source.health)
        yield from _headroom(self._source.headroom)


def _requests(metrics: Metrics) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "muxproxy_requests", "Exchanges ended.", labels=["provider", "model", "status", "end"]
    )
    for (provider, model, status, end), count in metrics.requests.items():
        requests.add_metric([provider, model, str(status), end], count)
    yield requests
    events = CounterMetricFamily(
        "muxproxy_budget_events",
        "Thresholds crossed, and what a budget let pass or would have refused.",
        labels=["budget", "kind"],
    )
    for (budget, kind), count in metrics.budget_events.items():
        events.add_metric([budget, kind], count)
    yield events
    errors = CounterMetricFamily("muxproxy_errors", "Failures by our code.", labels=["code"])
    for code, count in metrics.errors.items():
        errors.add_metric([code], count)
    yield errors
    sources = CounterMetricFamily(
        "muxproxy_usage_source", "Where usage figures came from.", labels=["source"]
    )
    for name, count in metrics.usage_source.items():
        sources.add_metric([name], count)
    yield sources
    hedges = CounterMetricFamily(
        "muxproxy_hedges", "Second attempts beside a slow first one.", labels=["outcome"]
    )
    for name, count in metrics.hedges.items():
        hedges.add_metric([name], count)
    withheld = CounterMetricFamily(
        "muxproxy_hedges_withheld", "Second attempts that were due but not made.", labels=["reason"]
    )
    for name, count in metrics.hedges_withheld.items():
        withheld.add_metric([name], count)
    yield from (hedges, withheld)
    examples = CounterMetricFamily(
        "muxproxy_examples", "Calls routed by example prompts, or why not.", labels=["outcome"]
    )
    for name, count in metrics.examples.items():
        examples.add_metric([name], count)
    yield examples
    yield CounterMetricFamily(
        "muxproxy_sticky_turns",
        "Calls kept at the model of their conversation against the strategy's choice.",
        metrics.sticky_turns,
    )
    yield CounterMetricFamily(
        "muxproxy_sticky_cached_tokens",
        "Prompt tokens such calls read from the provider's cache.",
        metrics.sticky_cached_tokens,
    )
    yield from _learning(metrics)
    overhead = HistogramMetricFamily(
        "muxproxy_overhead_seconds", "Time spent in muxproxy before the caller's first byte."
    )
    _add(overhead, [], metrics.overhead)
    yield overhead


def _learning(metrics: Metrics) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "muxproxy_feedback", "Ratings of calls that callers gave.", metrics.feedback
    )
    explored = CounterMetricFamily(
        "muxproxy_explored",
        "Cheap-routed calls whose answer was judged to learn from it.",
        labels=["outcome"],
    )
    for outcome, count in metrics.explored.items():
        explored.add_metric([outcome], count)
    yield explored
    lessons = CounterMetricFamily(
        "muxproxy_lessons", "Calls kept to learn from, and dropped.", labels=["outcome"]
    )
    for outcome, count in metrics.lessons.items():
        lessons.add_metric([outcome], count)
    yield lessons


def _per_model(metrics: Metrics) -> Iterator[Metric]:
    labels = ["provider", "model"]
    tokens = CounterMetricFamily(
        "muxproxy_tokens", "Tokens by kind; no token is in two kinds.", labels=[*labels, "kind"]
    )
    cost = CounterMetricFamily("muxproxy_cost_dollars", "Dollars settled.", labels=labels)
    delta = GaugeMetricFamily(
        "muxproxy_reported_cost_delta_dollars",
        "The provider's own cost figures minus ours.",
        labels=labels,
    )
    overrun = CounterMetricFamily(
        "muxproxy_overrun_dollars", "Dollars settled beyond the hold.", labels=labels
    )
    unpriced = CounterMetricFamily(
        "muxproxy_unpriced_requests", "Calls whose price is unknown.", labels=labels
    )
    ttfb = HistogramMetricFamily(
        "muxproxy_ttfb_seconds", "Request sent to first byte of the answer.", labels=labels
    )
    for key, series in metrics.series.items():
        pair = list(key)
        for kind, count in zip(TOKEN_KINDS, series.tokens, strict=True):
            tokens.add_metric([*pair, kind], count)
        cost.add_metric(pair, series.cost_nano / NANO)
        if series.cost_delta_nano:
            delta.add_metric(pair, series.cost_delta_nano / NANO)
        overrun.add_metric(pair, series.overrun_nano / NANO)
        unpriced.add_metric(pair, series.unpriced)
        _add(ttfb, pair, series.ttfb)
    yield from (tokens, cost, delta, overrun, unpriced, ttfb)


def _gauges(source: Source) -> Iterator[Metric]:
    metrics = source.metrics
    yield GaugeMetricFamily("muxproxy_in_flight", "Exchanges under way.", metrics.in_flight)
    yield GaugeMetricFamily(
        "muxproxy_ledger_lag_rows", "Rows waiting to be written.", source.ledger_lag()
    )
    yield CounterMetricFamily("muxproxy_received_bytes", "Request bytes.", metrics.bytes_in)
    yield CounterMetricFamily("muxproxy_sent_bytes", "Response bytes.", metrics.bytes_out)
    yield CounterMetricFamily("muxproxy_reloads", "Configurations taken.", metrics.reloads)
    yield CounterMetricFamily(
        "muxproxy_reload_failures", "Configurations refused.", metrics.reload_failures
    )
    yield GaugeMetricFamily(
        "muxproxy_config_current",
        "1: the configuration in force is what its files say.",
        int(source.config_current()),
    )
    pools = GaugeMetricFamily(
        "muxproxy_pool_connections", "Upstream connections.", labels=["origin", "state"]
    )
    for origin, stats in source.pools().items():
        for state, count in stats.items():
            pools.add_metric([origin, state], count)
    yield pools
    door = GaugeMetricFamily("muxproxy_door", "The door's counters.", labels=["name"])
    for name, count in source.door_counts().items():
        door.add_metric([name], count)
    yield door
    drift = GaugeMetricFamily(
        "muxproxy_counted_to_reported_ratio",
        "Output tokens we counted per token the provider reported.",
        labels=["model"],
    )
    for model, (counted, reported) in source.drift().items():
        if reported:
            drift.add_metric([model], counted / reported)
    yield drift


def _budgets(rows: Iterable[Mapping[str, object]]) -> Iterator[Metric]:
    labels = ["budget", "scope"]
    families = {
        name: GaugeMetricFamily(f"muxproxy_budget_{name}", f"Budget {name}.", labels=labels)
        for name in ("limit", "spent", "held")
    }
    for row in rows:
        for name, family in families.items():
            value = row.get(name)
            if isinstance(value, int | float):
                family.add_metric([str(row["name"]), str(row["scope"])], value)
    yield from families.values()


def _headroom(headroom: ProviderHeadroom) -> Iterator[Metric]:
    labels = ["provider", "model", "key", "kind"]
    limit = GaugeMetricFamily(
        "muxproxy_provider_ratelimit_limit", "A rate limit as the provider tells it.", labels=labels
    )
    remaining = GaugeMetricFamily(
        "muxproxy_provider_ratelimit_remaining", "What the provider says is left.", labels=labels
    )
    for provider, model, key, kind, gauge in headroom.gauges():
        for family, value in ((limit, gauge.limit), (remaining, gauge.remaining)):
            if value >= 0:
                family.add_metric([provider, model, key, kind], value)
    yield from (limit, remaining)


_STATES = {"closed": 0, "half_open": 1, "open": 2}


def _circuits(health: Standing) -> Iterator[Metric]:
    labels = ["provider", "model"]
    state = GaugeMetricFamily(
        "muxproxy_circuit_state", "0 closed, 1 half open, 2 open.", labels=labels
    )
    opened = CounterMetricFamily(
        "muxproxy_circuit_opened", "How often the circuit opened.", labels=labels
    )
    under_way = GaugeMetricFamily(
        "muxproxy_candidate_in_flight", "Calls under way at a candidate.", labels=labels
    )
    for provider in health.providers():
        for found in health.models(provider):
            pair = [provider, str(found["model"])]
            state.add_metric(pair, _STATES[str(found["state"])])
            opened.add_metric(pair, int(str(found["opened_total"])))
            under_way.add_metric(pair, int(str(found["in_flight"])))
    yield from (state, opened, under_way)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    running = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        running += count
        buckets.append((str(bound / MICRO), running))
    buckets.append(("+Inf", running + histogram.counts[-1]))
    family.add_metric(labels, buckets, histogram.total / MICRO)
