"""Bounds of the numbers in `config.resilience`, which the types alone do not give."""

from __future__ import annotations

from collections.abc import Iterator

from muxproxy.config.model import Config
from muxproxy.config.notes import Notes, Path
from muxproxy.config.resilience import Retry

MOST_TRIES = 10


def bounds(config: Config, notes: Notes) -> None:
    """Counts that make no sense."""
    for retry, path in _retries(config):
        if not 0 <= retry.same <= MOST_TRIES:
            notes.fault((*path, "same"), f"expected a number from 0 to {MOST_TRIES}")
    for name, provider in config.providers.items():
        if provider.breaker.failures < 0:
            notes.fault(
                ("providers", name, "breaker", "failures"), "expected 0 or more", "0 means never"
            )


def _retries(config: Config) -> Iterator[tuple[Retry, Path]]:
    for name, provider in config.providers.items():
        if provider.retry is not None:
            yield provider.retry, ("providers", name, "retry")
    for at, rule in enumerate(config.rules):
        if rule.retry is not None:
            yield rule.retry, ("rules", at, "retry")
