"""Which models a refused call could have used instead: cheaper, fitting, and able to do it.

Asked for when every candidate was refused for money, so it may take its time; nothing is reserved.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from muxproxy.budget import estimate
from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Ask, Target
from muxproxy.money import dollars
from muxproxy.prices import Price
from muxproxy.prices.abilities import ability
from muxproxy.proxy.translating import spoken
from muxproxy.rules.globs import glob

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

MOST = 3  # alternatives told


def alternatives(exchange: Exchange) -> list[dict[str, object]]:
    """At most three, the cheapest first: {"model": "provider/model", "estimated_cost": dollars}."""
    call = exchange.booking.refused
    ask, snapshot = exchange.ask, exchange.snapshot
    if call is None or ask is None:
        return []
    now, budgets = time.time(), exchange.proxy.budgets
    refused = call.price
    found = []
    for target in named_targets(snapshot.config):
        service = snapshot.services[target.provider]
        model = target.model
        if model is None or service.off or target == call.target:
            continue
        if spoken(service, ask, snapshot.config.translation) is None or not _can(ask, model):
            continue
        if not _may(exchange.caller.models, target):
            continue
        price = snapshot.prices.find(target.provider, model, int(now))
        if price is None:
            continue
        guess = estimate(ask, price, budgets.outputs.p95(model))
        cost = 0 if price.free else price.ceiling(guess.tokens_in, guess.tokens_out)
        if not _cheaper(cost, refused, call.estimate.tokens_in, call.estimate.tokens_out):
            continue
        other = msgspec.structs.replace(call, target=target, price=price, estimate=guess)
        if budgets.fits(other, now):
            found.append((cost, f"{target.provider}/{model}"))
    found.sort()
    return [{"model": name, "estimated_cost": dollars(cost)} for cost, name in found[:MOST]]


def named_targets(config: Config) -> list[Target]:
    """Every provider/model that the configuration names, in its order."""
    texts: list[str] = []
    for value in config.models.values():
        if isinstance(value, Strategy):
            texts += [*filter(None, (value.cheap, value.strong)), *value.models]
        else:
            texts += [value] if isinstance(value, str) else value
    for name, provider in config.providers.items():
        texts += [f"{name}/{model}" for model in provider.models]
    found = []
    for text in dict.fromkeys(texts):
        owner, slash, model = text.partition("/")
        if slash and owner in config.providers:
            found.append(Target(owner, model))
    return found


def _can(ask: Ask, model: str) -> bool:
    """Whether the model can do what is asked; one that is not known is given the benefit."""
    known = ability(model)
    if known is None:
        return True
    if (ask.tools and not known.tools) or (ask.images and not known.images):
        return False
    return ask.prompt_tokens <= known.context and (ask.max_tokens or 0) <= known.output


def _may(allowed: tuple[str, ...] | None, target: Target) -> bool:
    """Whether the caller's key may use it."""
    if allowed is None:
        return True
    names = (target.model or "", f"{target.provider}/{target.model}")
    return any(glob(one)(name) for one in allowed for name in names)


def _cheaper(cost: int, refused: Price | None, tokens_in: int, tokens_out: int) -> bool:
    return refused is None or refused.free or cost < refused.ceiling(tokens_in, tokens_out)
