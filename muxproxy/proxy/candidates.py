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
    """The caller's own limit for this request, nano-dollars."""
    assert x.ask is not None
    value = x.fields.get(b"x-max-budget")
    given: object = value.decode("latin-1") if value is not None else x.ask.max_budget
    if given is None and isinstance(x.ask.cascade_config, dict):
        given = x.ask.cascade_config.get("max_budget")
    if given is None:
        return None
    try:
        return max(parse_dollars(given) - x.spent_nano, 0)  # type: ignore[arg-type]
    except ValueError as error:
        name = "x-max-budget" if value is not None else "max_budget"
        raise MuxError("invalid_request", f"{name}: {error}") from None
