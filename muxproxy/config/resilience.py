"""The keys of the YAML that say how muxproxy stays up: retries, time-outs, health.

Part of `config.model`, which names these structs; see there.
"""

from __future__ import annotations

from muxproxy.config.marks import Delay, Duration, Size, Strict


class Retry(Strict, frozen=True, kw_only=True):
    """More tries of one candidate. Another candidate is asked without it."""

    same: int = 0
    """Further tries of the same candidate after 408, 409, 425, 429, 5xx and time-outs."""
    patience: Duration = "30s"
    """Longest wait for a provider's retry-after; never longer than the caller's SDK waits."""
    backoff: Duration = "250ms"
    """First pause where the provider names none; doubled each time, up to 8s, with jitter."""


class Hedge(Strict, frozen=True, kw_only=True):
    """A second attempt beside one that is slow to answer; never of streamed answers."""

    after: Delay = "p95"
    """When the first has sent no byte for so long: a duration, or p50, p90, p95 or p99 of what
    the candidate lately took to begin its JSON answers to rules that hedge."""
    floor: Duration | None = None
    """With a percentile: never sooner than this, and at this while fewer than 20 times are known;
    null: no second attempt while they are not."""


class RuleTimeouts(Strict, frozen=True, kw_only=True):
    """As the provider's `timeouts`, for the requests of one rule; null: the provider's."""

    connect: Duration | None = None
    """TCP and TLS."""
    first_byte: Duration | None = None
    """From the request sent to the head of the answer."""
    idle: Duration | None = None
    """Between two reads of a body."""
    total: Duration | None = None
    """The whole request with all its attempts and waits."""


class Breaker(Strict, frozen=True, kw_only=True):
    """When a candidate is passed over because it fails, and when it is tried again."""

    failures: int = 5
    """So many in a row (5xx, time-outs, broken connections) open it; 0: never."""
    open_for: Duration = "10s"
    """Then one request may probe it; doubled while probes fail, up to 5m."""


class Probe(Strict, frozen=True, kw_only=True):
    """A GET that shows whether a provider is there; any answer below 500 does."""

    path: str | None = None
    """Behind base_url; null: /models, for Anthropic /v1/models, for Gemini /v1beta/models."""
    every: Duration = "30s"
    """Between two probes."""
    timeout: Duration = "5s"
    """For the whole answer."""
    failures: int = 3
    """So many in a row, and its models are passed over until one is answered."""


class RuleCache(Strict, frozen=True, kw_only=True):
    """Answers to identical requests of one caller, given again without asking the provider."""

    ttl: Duration = "1h"
    """How long an answer is kept; 0s: not at all (with `join`)."""
    any: bool = False
    """Also where the answer may vary: temperature not 0 or not given."""
    join: bool = False
    """Identical requests in flight wait for the first one's answer."""


class CacheBounds(Strict, frozen=True, kw_only=True):
    """The file that rules with `cache:` share."""

    file: str | None = None
    """null: the ledger's file with `.cache` behind its name."""
    max_bytes: Size = "256MiB"
    """Of all answers together; the oldest make room."""
    max_entry: Size = "1MiB"
    """Of one answer; longer ones are not kept."""
