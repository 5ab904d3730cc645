"""Counters on the path: plain integers in dictionaries, read by `control.metrics_page`.

prometheus-client's own objects cost 6.4 us a request, these 0.7 us; the exporter reads them only
when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

# Upper bounds in microseconds. Overhead is ours (sub-millisecond), first byte the provider's.
OVERHEAD_BOUNDS = (100, 200, 400, 600, 1_000, 2_000, 5_000, 10_000, 50_000, 250_000)
TTFB_BOUNDS = (
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    120_000_000,
)


class Histogram:
    """Counts per bucket and the sum; values are integer microseconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Series:
    """Everything counted for one (provider, model)."""

    __slots__ = (
        "cost_delta_nano",
        "cost_nano",
        "counted_tokens",
        "overrun_nano",
        "reported_tokens",
        "tokens",
        "ttfb",
        "unpriced",
    )

    def __init__(self) -> None:
        # input, cache_read, cache_write, output, reasoning
        self.tokens = [0, 0, 0, 0, 0]
        self.cost_nano = 0
        self.cost_delta_nano = 0  # the provider's own figure minus ours, where it reports one
        self.overrun_nano = 0
        self.unpriced = 0
        self.counted_tokens = 0  # what we counted where the provider also reported
        self.reported_tokens = 0
        self.ttfb = Histogram(TTFB_BOUNDS)


TOKEN_KINDS = ("input", "cache_read", "cache_write", "output", "reasoning")


class Metrics:
    """One per process; survives reloads."""

    __slots__ = (
        "budget_events",
        "bytes_in",
        "bytes_out",
        "errors",
        "examples",
        "explored",
        "feedback",
        "hedges",
        "hedges_withheld",
        "in_flight",
        "lessons",
        "overhead",
        "reload_failures",
        "reloads",
        "requests",
        "series",
        "sticky_cached_tokens",
        "sticky_turns",
        "usage_source",
    )

    def __init__(self) -> None:
        # (provider, model, status, end) -> count
        self.requests: defaultdict[tuple[str, str, int, str], int] = defaultdict(int)
        self.errors: defaultdict[str, int] = defaultdict(int)  # our code -> count
        # (budget, kind: threshold 80, exceeded, shadow, overrun) -> count
        self.budget_events: defaultdict[tuple[str, str], int] = defaultdict(int)
        # second attempts by what became of them, and those that were due but not made, by why
        self.hedges: defaultdict[str, int] = defaultdict(int)
        self.hedges_withheld: defaultdict[str, int] = defaultdict(int)
        self.examples: defaultdict[str, int] = defaultdict(int)  # chosen, or why they were not
        self.sticky_turns = 0  # kept where their conversation began, not where the strategy said
        self.sticky_cached_tokens = 0  # that such turns read from the provider's prompt cache
        self.feedback = 0  # ratings taken
        self.explored: defaultdict[str, int] = defaultdict(int)  # kept, sent on, not judged
        self.lessons: defaultdict[str, int] = defaultdict(int)  # kept, dropped
        self.usage_source: defaultdict[str, int] = defaultdict(int)
        self.series: defaultdict[tuple[str, str], Series] = defaultdict(Series)
        self.overhead = Histogram(OVERHEAD_BOUNDS)
        self.in_flight = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.reloads = 0
        self.reload_failures = 0
