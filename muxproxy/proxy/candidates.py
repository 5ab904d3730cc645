"""Which of a plan's candidates can answer, and what the caller itself says about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.errors import MuxError
from muxproxy.exchange import Target
from muxproxy.money import parse_dollars
from muxproxy.proxy.booking import Downgraded
from muxproxy.proxy.translating import spoken
from muxproxy.proxy.wishes import cascade_of

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


def pinned(x: Exchange) -> str | None:
    """The provider that /p/NAME or an absolute-form target's host chose."""
    name = x.route.provider or x.provider
    if name is not None and name not in x.snapshot.services:
        raise MuxError("not_found", f"no provider is named {name!r} in the configuration")
    return name


def usable(x: Exchange, planned: Sequence[Target]) -> list[Target]:
    """Those of `planned` that can answer this caller, in order. Raises MuxError: none can."""
    assert x.plan is not None and x.ask is not None
    ask, snapshot = x.ask, x.snapshot
    # A provider without its key serves with the caller's own, but only where the caller
    # itself was heading: a key must not be handed to somebody else.
    own = pinned(x) or snapshot.rulebook.home(ask.dialect)
    found, skipped = [], []
    for target in planned:
        service = snapshot.services[target.provider]
        dialect = spoken(service, ask, snapshot.config.translation)
        if dialect is None:
            skipped.append(f"{target.provider} speaks {service.dialect}")
        elif service.off and (target.provider != own or dialect != ask.dialect):
            skipped.append(f"{target.provider} is off: {service.off} is not set")
        else:
            found.append(target)
    if not found:
        why = "; ".join(dict.fromkeys(skipped)) or "no provider is configured"
        off = all(" is off: " in reason for reason in skipped)
        raise MuxError(
            "provider_off" if off else "unsupported_translation",
            f"nothing can answer this {ask.dialect} call: {why}",
        )
    return found


def is_well(x: Exchange, target: Target, now: float) -> bool:
    """Whether its circuit lets a call pass, and it is not known to be at its own limit."""
    model = target.model or ("" if x.ask is None else x.ask.model or "")
    return x.proxy.health.admits(target.provider, model) and not _out(x, target, model, now)


def _out(x: Exchange, target: Target, model: str, now: float) -> bool:
    """Whether it is known to be at its own limit, with every key."""
    provider = target.provider
    service = x.snapshot.services[provider]
    out_until = x.proxy.headroom.out_until
    if not service.variants:
        return out_until(provider, model, x.caller.key if service.off else "") > now
    return all(out_until(provider, model, one.slot) > now for one in service.variants)


def downgraded(x: Exchange, verdict: Downgraded) -> list[Target]:
    """A budget says: go on with the models of its alias. Raises MuxError: it cannot be."""
    assert x.plan is not None and x.ask is not None
    if x.ask.endpoint not in words.INSPECTED:
        raise verdict.verdict.error  # its model stands where it is not edited
    alias, budget = verdict.verdict.alias, verdict.verdict.budget
    x.plan.chosen = True
    x.plan.alias = alias
    x.plan.reason += f"; budget {budget} is used up: downgraded to {alias}"
    choice = x.snapshot.rulebook.resolve(alias, x.ask)
    return usable(x, choice.candidates)


def ceiling(x: Exchange) -> int | None:
    """What the caller lets this request still cost, nano-dollars; of several limits the least."""
    assert x.ask is not None
    header, wish = x.fields.get(b"x-max-budget"), cascade_of(x.ask)
    limits = [] if wish is None or wish.max_budget is None else [wish.max_budget]
    if header is not None:
        limits.append(_dollars("x-max-budget", header.decode("latin-1")))
    if x.ask.max_budget is not None:
        limits.append(_dollars("max_budget", x.ask.max_budget))
    return max(min(limits) - x.spent_nano, 0) if limits else None


def _dollars(name: str, given: object) -> int:
    try:
        return parse_dollars(given)  # type: ignore[arg-type]
    except ValueError as error:
        raise MuxError("invalid_request", f"{name}: {error}") from None
