"""What `check` says about prices: models that dollar budgets could not account for, budgets that
no call fits into, and fall-backs that were tried already."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from muxproxy.config.check import Extra
from muxproxy.config.faults import nearest
from muxproxy.config.model import Config
from muxproxy.config.notes import Note, Path
from muxproxy.config.strategies import Strategy
from muxproxy.config.units import Expected, amount
from muxproxy.config.values import targets
from muxproxy.prices import Prices

# The least that a call can be: providers refuse fewer output tokens.
_LEAST_IN, _LEAST_OUT = 1, 16


def unpriced(config: Config) -> list[Note]:
    """Targets without a known price, while `unknown_price: deny` is in force."""
    prices = Prices.load(config.prices, config.providers)
    found: list[Note] = []
    told: set[str] = set()
    for text, path in _named(config):
        provider, slash, model = text.partition("/")
        if not slash or provider not in config.providers or text in told or text in config.models:
            continue
        policy = config.providers[provider].unknown_price or config.unknown_price
        if policy == "deny" and prices.find(provider, model, int(time.time())) is None:
            told.add(text)
            close = nearest(model, prices.models(provider))
            meant = f"did you mean {provider}/{close}? Else " if close else ""
            found.append(
                Note(
                    path,
                    f"the price of {text} is unknown, so dollar budgets refuse it",
                    f"{meant}give it under prices:, or set unknown_price",
                )
            )
    return found


def _named(config: Config) -> Iterator[tuple[str, Path]]:
    """Every model that the file names, with its place: an alias's own first."""
    for alias, spec in config.models.items():
        # A list is one remark's place: its entries stand close together.
        for text, path in targets(spec, ("models", alias)):
            yield text, path if isinstance(spec, Strategy) else ("models", alias)
    for at, rule in enumerate(config.rules):
        for text in [rule.to] if isinstance(rule.to, str) else rule.to or []:
            yield text, ("rules", at, "to")
    for at, budget in enumerate(config.budgets):
        if isinstance(budget.on_exceed, dict) and "downgrade" in budget.on_exceed:
            yield budget.on_exceed["downgrade"], ("budgets", at, "on_exceed", "downgrade")
    if config.defaults.model is not None:
        yield config.defaults.model, ("defaults", "model")


def too_small(config: Config) -> list[Note]:
    """Dollar budgets below the smallest call to any model that the file names."""
    prices = Prices.load(config.prices, config.providers)
    least: int | None = None
    for text, _ in _named(config):
        provider, slash, model = text.partition("/")
        price = prices.find(provider, model, int(time.time())) if slash else None
        if provider not in config.providers or price is None or price.free:
            continue
        cost = price.ceiling(_LEAST_IN, _LEAST_OUT)
        least = cost if least is None else min(least, cost)
    found = []
    for at, budget in enumerate(config.budgets):
        try:
            limit = amount(budget.limit)
        except Expected:
            continue
        tokens = limit.unit == "tokens"
        need = _LEAST_IN + _LEAST_OUT if tokens else least
        if need is not None and 0 < limit.value < need and not budget.shadow:
            smallest = f"{need} tokens" if tokens else f"${need / 1e9:.9f}".rstrip("0")
            found.append(
                Note(
                    ("budgets", at, "limit"),
                    f"no request can meet this limit: the smallest call takes {smallest}",
                )
            )
    return found


def tried_already(config: Config) -> list[Note]:
    """Fall-backs that stand earlier in the same list, by their own name or within an alias."""
    found: list[Note] = []
    for alias, spec in config.models.items():
        if isinstance(spec, list):
            found += _twice(config, spec, ("models", alias))
    for at, rule in enumerate(config.rules):
        if isinstance(rule.to, list):
            found += _twice(config, rule.to, ("rules", at, "to"))
    return found


def _twice(config: Config, names: list[str], path: Path) -> Iterator[Note]:
    seen: dict[str, str] = {}
    for at, name in enumerate(names):
        reached = _flat(config, name, frozenset())
        if reached and all(one in seen for one in reached):
            first = seen[reached[0]]
            through = "" if first in (reached[0], name) else f" (through {first})"
            yield Note(
                (*path, at), f"never reached as a fall-back: {name} was tried before{through}"
            )
        for one in reached:
            seen.setdefault(one, name)


def _flat(config: Config, name: str, above: frozenset[str]) -> list[str]:
    """The models that a name stands for; none where a strategy decides."""
    spec = config.models.get(name)
    if spec is None or name in above:
        return [name]
    if isinstance(spec, Strategy):
        return []
    names = [spec] if isinstance(spec, str) else spec
    return [one for each in names for one in _flat(config, each, above | {name})]


EXTRA: Sequence[Extra] = (unpriced, too_small, tried_already)
