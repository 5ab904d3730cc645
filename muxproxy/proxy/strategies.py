"""The strategies of aliases: which candidates come first, with a score and a reason.

Made once per configuration; what is live (latencies, circuits, budgets) is only read. Nothing here
waits for anything: whoever wants an answer judged is served by `proxy.cascade`, and who goes first
among equals (weighted, least_in_flight, peak_ewma) is decided by `proxy.balancing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from muxproxy.budget import estimate
from muxproxy.config import units
from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Ask, Learning, Target
from muxproxy.prices import Prices
from muxproxy.proxy.balancing import BALANCES
from muxproxy.proxy.health import OPEN, Health
from muxproxy.proxy.wishes import (
    CHEAP_FIRST,
    QUALITY,
    STRONG_FIRST,
    WISHES,
    cascade_of,
    wished,
)
from muxproxy.routing import judgement
from muxproxy.routing.weights import BadWeights, Weights
from muxproxy.rules.context import Context
from muxproxy.rules.strategist import LISTED, Ordered, Pools, Targets

_SLOW = 3.0  # a candidate so many times slower than the other side's counts as slower
_SLOWER = 0.05
_PRESSED = 0.5  # share of a budget from which it presses
_PRESSURE = 0.5  # what a budget that is used up takes off the score


class Strategies:
    """The strategist of one configuration (see rules.strategist.Strategist)."""

    def __init__(self, config: Config, prices: Prices) -> None:
        """Raises ValueError where the weights cannot be read."""
        self._prices = prices
        self._budgets = tuple(budget.name for budget in config.budgets if not budget.shadow)
        self.health: Health | None = None  # set before the first call
        self._weights: Weights | None = None
        learn = config.routing.learn
        self._learns = {
            alias: (kind == "text", units.share(spec.explore))
            for alias, spec in config.models.items()
            if isinstance(spec, Strategy)
            and (kind := spec.learn or learn) != "off"
            and spec.cheap is not None
            and spec.strong is not None
        }
        used = {s.strategy for s in config.models.values() if isinstance(s, Strategy)}
        path = config.routing.weights
        if used or path is not None:  # by header any alias may be asked for `semantic`
            try:
                self._weights = judgement.weights_at(path)
            except (OSError, BadWeights) as error:
                raise ValueError(f"routing.weights: {path}: {error}") from None

    def order(self, alias: str, spec: Strategy, pools: Pools, context: Context) -> Ordered:
        """See Strategist."""
        wish = wished(context)
        name = WISHES[wish] if wish is not None else spec.strategy
        found = self._order(name, alias, spec, pools, context)
        if alias in self._learns and found.strategy not in (*_BY_FIGURES, LISTED):
            text, share = self._learns[alias]
            learning = Learning(alias, pools.cheap, pools.strong, text, share)
            found = msgspec.structs.replace(found, learning=learning)
        if wish is None:
            return found
        balance = None
        if name in BALANCES:
            balance = (alias, name)
        elif spec.strategy in BALANCES and found.strategy != LISTED:
            balance = (alias, LISTED)  # this order stays
        return msgspec.structs.replace(
            found, reason=f"{found.reason} ({wish} was asked for)", balance=balance
        )

    def _order(
        self, name: str, alias: str, spec: Strategy, pools: Pools, context: Context
    ) -> Ordered:
        listed = pools.listed or (*pools.cheap, *pools.strong)
        if name == CHEAP_FIRST and not pools.cheap:
            name = "cheapest"
        if name in _BY_FIGURES:
            return _BY_FIGURES[name](self, alias, spec, pools, listed, context.ask, context.now)
        if name in BALANCES or spec.strategy in BALANCES:
            return Ordered(listed, LISTED, f"{alias} in the order listed")
        if not pools.cheap or not pools.strong:
            return Ordered(listed, LISTED, f"{alias} in the order listed: no cheap and strong side")
        if name == CHEAP_FIRST:
            return Ordered((*pools.cheap, *pools.strong), name, f"{alias}: cheap first")
        if name == STRONG_FIRST:
            return Ordered((*pools.strong, *pools.cheap), name, f"{alias}: strong first")
        if name == "cascade":
            return self._cascade(alias, spec, pools, context)
        scored = self._score(name, spec, context)
        if name == "hybrid":
            return self._hybrid(alias, spec, pools, context, scored)
        threshold = self._threshold(name, spec)
        found = _by_threshold(name, alias, threshold, pools, scored.score, scored.reason)
        if spec.examples is not None and pools.listed:  # further routes: last, unless one is like
            return msgspec.structs.replace(found, candidates=(*found.candidates, *pools.listed))
        return found

    def _threshold(self, name: str, spec: Strategy) -> float:
        """The alias's own; else what the training of the weights found."""
        if spec.threshold is not None:
            return spec.threshold
        learned = None if self._weights is None else self._weights.header.threshold
        return judgement.EVEN if learned is None or name == "heuristic" else learned

    def _cascade(self, alias: str, spec: Strategy, pools: Pools, context: Context) -> Ordered:
        """The cheap ones first and judged. Who wants quality skips them where the prompt alone
        says that the strong ones are needed."""
        wish, score, about = cascade_of(context.ask), None, ""
        if wish is not None:
            about = f" by {wish.kind}, bar {wish.bar:g}"
            if wish.kind == QUALITY:
                score = self._score("semantic", spec, context).score
                about += f", score {score:.2f}"
                threshold = self._threshold("semantic", spec)
                if score >= threshold:
                    both = (*pools.strong, *pools.cheap)
                    why = f"{alias}: strong at once{about} >= {threshold:g}"
                    return Ordered(both, "cascade", why, score)
        both = (*pools.cheap, *pools.strong)
        why = f"{alias}: cheap first, its answer judged{about}"
        return Ordered(both, "cascade", why, score, len(pools.cheap), spec)

    def _score(self, name: str, spec: Strategy, context: Context) -> judgement.Scored:
        text, ask = context.text("text").reading.text, context.ask
        if name == "heuristic" or self._weights is None:
            asked = {"tools": ask.tools, "turns": ask.messages, "json": ask.json}
            counts: Mapping[str, float] = spec.counts or judgement.HEURISTIC
            return judgement.heuristic(counts, text, asked)
        return judgement.semantic(self._weights, text)

    def _hybrid(
        self, alias: str, spec: Strategy, pools: Pools, context: Context, scored: judgement.Scored
    ) -> Ordered:
        """The score, moved by what the budgets, circuits and latencies say."""
        score, why = scored.score, [scored.reason]
        shares = (context.budgets.share(b, context.caller, context.ask) for b in self._budgets)
        share = max((s for s in shares if s is not None), default=0.0)
        if share > _PRESSED:
            score -= _PRESSURE * min((share - _PRESSED) / (1 - _PRESSED), 1.0)
            why.append(f"budget {share:.0%} used")
        cheap_out, strong_out = self._out(pools.cheap), self._out(pools.strong)
        if cheap_out != strong_out:
            why.append("cheap is out" if cheap_out else "strong is out")
            candidates = (
                (*pools.strong, *pools.cheap) if cheap_out else (*pools.cheap, *pools.strong)
            )
            return Ordered(candidates, "hybrid", f"{alias}: {', '.join(why)}", max(score, 0.0))
        cheap, strong = self._latency(pools.cheap[0]), self._latency(pools.strong[0])
        if cheap and strong and strong > _SLOW * cheap:
            score -= _SLOWER
            why.append(f"strong is {strong / cheap:.1f} times slower")
        elif cheap and strong and cheap > _SLOW * strong:
            score += _SLOWER
            why.append(f"cheap is {cheap / strong:.1f} times slower")
        score = min(max(score, 0.0), 1.0)
        threshold = self._threshold("hybrid", spec)
        if abs(score - threshold) < spec.band:
            both = (*pools.cheap, *pools.strong)
            text = f"{alias}: score {score:.2f} is near {threshold:g}, cheap first and judged"
            return Ordered(
                both, "hybrid", f"{text}; {', '.join(why)}", score, len(pools.cheap), spec
            )
        return _by_threshold("hybrid", alias, threshold, pools, score, ", ".join(why))

    def _out(self, targets: Targets) -> bool:
        health = self.health
        return health is not None and all(
            health.state(t.provider, t.model or "") == OPEN for t in targets
        )

    def _latency(self, target: Target) -> float | None:
        return (
            None
            if self.health is None
            else self.health.latency(target.provider, target.model or "")
        )

    # -- by figures -------------------------------------------------------------------------

    def _cheapest(
        self, alias: str, spec: Strategy, pools: Pools, listed: Targets, ask: Ask, now: float
    ) -> Ordered:
        del spec, pools

        def cost(target: Target) -> float:
            price = self._prices.find(target.provider, target.model or ask.model, int(now))
            if price is None:
                return float("inf")
            guess = estimate(ask, price, None)
            return price.ceiling(guess.tokens_in, guess.tokens_out)

        costs = [(cost(t), at, t) for at, t in enumerate(listed)]
        costs.sort(key=lambda one: one[:2])
        least = costs[0][0]
        told = "no price is known" if least == float("inf") else f"about ${least / 1e9:.6f}"
        return Ordered(tuple(t for _, _, t in costs), "cheapest", f"{alias}: cheapest, {told}")

    def _fastest(
        self, alias: str, spec: Strategy, pools: Pools, listed: Targets, ask: Ask, now: float
    ) -> Ordered:
        """By the smoothed time to the first byte; who was never asked comes first, once."""
        del spec, pools, ask, now
        times = [(self._latency(t) or 0.0, at, t) for at, t in enumerate(listed)]
        times = [(float("inf") if self._out((t,)) else s, at, t) for s, at, t in times]
        times.sort(key=lambda one: one[:2])
        least = times[0][0]
        told = f"{1000 * least:.0f} ms to the first byte" if least else "not measured yet"
        return Ordered(tuple(t for _, _, t in times), "fastest", f"{alias}: fastest, {told}")


_ByFigures = Callable[[Strategies, str, Strategy, Pools, Targets, Ask, float], Ordered]
_BY_FIGURES: dict[str, _ByFigures] = {
    "cheapest": Strategies._cheapest,
    "fastest": Strategies._fastest,
}


def _by_threshold(
    name: str, alias: str, threshold: float, pools: Pools, score: float, why: str
) -> Ordered:
    if score >= threshold:
        text = f"{alias}: strong first, score {score:.2f} >= {threshold:g}; {why}"
        return Ordered((*pools.strong, *pools.cheap), name, text, score)
    text = f"{alias}: cheap first, score {score:.2f} < {threshold:g}; {why}"
    return Ordered((*pools.cheap, *pools.strong), name, text, score)
