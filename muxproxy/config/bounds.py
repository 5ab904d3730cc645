"""Bounds of the numbers in `config.resilience`, which the types alone do not give."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from muxproxy.config.model import Config, Rule
from muxproxy.config.notes import Notes, Path
from muxproxy.config.resilience import Retry
from muxproxy.config.units import delay, duration, size

MOST_TRIES = 10
_PATH = re.compile(r"/[!-~]*", re.ASCII)


def bounds(config: Config, notes: Notes) -> None:
    """Counts that make no sense."""
    for retry, path in _retries(config):
        if not 0 <= retry.same <= MOST_TRIES:
            notes.fault((*path, "same"), f"expected a number from 0 to {MOST_TRIES}")
    for at, rule in enumerate(config.rules):
        hedge = rule.hedge
        if hedge is not None and hedge.floor is not None and not _percentile(hedge.after):
            notes.fault(
                ("rules", at, "hedge", "floor"),
                "goes with a percentile only",
                "leave it out: hedge.after says the time itself",
            )
    server = config.server
    if server.max_in_flight is not None and server.max_in_flight < 1:
        notes.fault(("server", "max_in_flight"), "expected a number above 0", "null: no bound")
    if server.max_queue < 0:
        notes.fault(("server", "max_queue"), "expected 0 or more")
    if _read(size, server.max_body_memory) < _read(size, server.max_body_bytes):
        notes.fault(
            ("server", "max_body_memory"),
            "is smaller than one body may be",
            "lower server.max_body_bytes too",
        )
    for name, provider in config.providers.items():
        if provider.api_key is not None and provider.api_keys:
            notes.fault(("providers", name, "api_keys"), "write either api_key or api_keys")
        probe = provider.probe
        where: Path = ("providers", name, "probe")
        if probe is not None and probe.failures < 1:
            notes.fault((*where, "failures"), "expected a number above 0")
        if probe is not None and probe.path is not None and not _PATH.fullmatch(probe.path):
            notes.fault((*where, "path"), "expected a path such as /models")
        if probe is not None and _read(duration, probe.every) == 0:
            notes.fault((*where, "every"), "expected a duration above 0")
        if provider.breaker.failures < 0:
            notes.fault(
                ("providers", name, "breaker", "failures"), "expected 0 or more", "0 means never"
            )


def _read(parse: Callable[[Any], float], text: object) -> float:
    """Infinite where it cannot be read: that is a fault of its own."""
    try:
        return parse(text)
    except ValueError:
        return math.inf


def _percentile(after: str) -> bool:
    """Whether that is no time of its own; one that cannot be read is a fault already."""
    try:
        return delay(after)[0] is not None
    except ValueError:
        return True


def has_terms(rule: Rule) -> bool:
    """Whether a rule says how its requests are served, so that it has an effect without `to`."""
    said = (rule.retry, rule.timeouts, rule.keepalive, rule.hedge, rule.cache)
    return any(one is not None for one in said)


def _retries(config: Config) -> Iterator[tuple[Retry, Path]]:
    for name, provider in config.providers.items():
        if provider.retry is not None:
            yield provider.retry, ("providers", name, "retry")
    for at, rule in enumerate(config.rules):
        if rule.retry is not None:
            yield rule.retry, ("rules", at, "retry")
