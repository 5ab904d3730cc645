"""What rules and providers say about retries and time-outs, compiled once per configuration."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from muxproxy.config.bounds import has_terms
from muxproxy.config.model import Config, Rule
from muxproxy.config.resilience import Hedge, Retry, RuleTimeouts
from muxproxy.config.units import delay, duration
from muxproxy.proxy.health import Terms
from muxproxy.upstream import Times


class Tries(msgspec.Struct, frozen=True):
    """See config.resilience.Retry; seconds."""

    same: int = 0
    patience: float = 30.0
    backoff: float = 0.25


class CacheTerms(msgspec.Struct, frozen=True):
    """See config.resilience.RuleCache; seconds."""

    ttl: float
    any: bool
    join: bool


class HedgeTerms(msgspec.Struct, frozen=True):
    """See config.resilience.Hedge; seconds. `part` of the measured times, or None: `after`."""

    part: float | None
    after: float
    floor: float | None


class RuleTerms(msgspec.Struct, frozen=True):
    """What a request's rules say beyond where it goes; None: nothing."""

    tries: Tries | None = None
    times: RuleTimeouts | None = None
    total: float | None = None
    keepalive: float | None = None
    cache: CacheTerms | None = None
    hedge: HedgeTerms | None = None


ONCE = Tries()


def tries_of(retry: Retry | None) -> Tries | None:
    """Compiled, or None where nothing is said."""
    if retry is None:
        return None
    return Tries(retry.same, duration(retry.patience), duration(retry.backoff))


def rule_terms(config: Config) -> dict[str, RuleTerms] | None:
    """By rule, those that say something; None: no rule does."""
    found = {rule.name: _terms(rule) for rule in config.rules if has_terms(rule)}
    return found or None


def _terms(rule: Rule) -> RuleTerms:
    total = None if rule.timeouts is None else rule.timeouts.total
    return RuleTerms(
        tries=tries_of(rule.retry),
        times=rule.timeouts,
        total=None if total is None else duration(total),
        cache=None
        if rule.cache is None
        else CacheTerms(duration(rule.cache.ttl), rule.cache.any, rule.cache.join),
        keepalive=None if rule.keepalive is None else duration(rule.keepalive),
        hedge=None if rule.hedge is None else hedge_terms(rule.hedge),
    )


def hedge_terms(hedge: Hedge) -> HedgeTerms:
    """Compiled."""
    part, after = delay(hedge.after)
    return HedgeTerms(part, after, None if hedge.floor is None else duration(hedge.floor))


def joined(terms: Mapping[str, RuleTerms], rules: tuple[str, ...]) -> RuleTerms | None:
    """What the rules that took effect say together; the last one that says something counts."""
    found: RuleTerms | None = None
    for name in rules:
        one = terms.get(name)
        if one is None:
            continue
        if found is None:
            found = one
            continue
        said = {f: v for f in one.__struct_fields__ if (v := getattr(one, f)) is not None}
        found = msgspec.structs.replace(found, **said)
    return found


def times_at(rule: RuleTimeouts, provider: Times) -> Times:
    """The provider's time-outs with the rule's put over them."""
    return Times(
        connect=provider.connect if rule.connect is None else duration(rule.connect),
        first_byte=provider.first_byte if rule.first_byte is None else duration(rule.first_byte),
        idle=provider.idle if rule.idle is None else duration(rule.idle),
    )


def breakers(config: Config) -> dict[str, Terms]:
    """When each provider's models are passed over."""
    return {
        name: Terms(provider.breaker.failures, duration(provider.breaker.open_for))
        for name, provider in config.providers.items()
    }
