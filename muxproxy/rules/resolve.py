"""Names to candidates: aliases flattened, `provider/model` split, bare names sent home.

The home of a request is the first provider of its caller's dialect, or where there is none the
first provider, which then is spoken to in its own dialect. Everything that does not
depend on the request is worked out when the rules are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from muxproxy import exchange
from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Learning, Target
from muxproxy.rules.context import Context
from muxproxy.rules.strategist import Ordered, Pools, Strategist, Targets

# Who serves a dialect's callers without translation.
SERVED_BY: dict[str, tuple[str, ...]] = {
    exchange.OPENAI: (exchange.OPENAI,),
    exchange.RESPONSES: (exchange.RESPONSES, exchange.OPENAI),
    exchange.ANTHROPIC: (exchange.ANTHROPIC,),
    exchange.GEMINI: (exchange.GEMINI,),
}


class Choice(msgspec.Struct, frozen=True):
    """Candidates in order, without duplicates. `strategy` is None when none was asked."""

    candidates: Targets
    strategy: str | None = None
    reason: str = ""
    score: float | None = None
    judged: int = 0
    spec: Strategy | None = None  # of the strategy that chose
    balance: tuple[str, str] | None = None  # see Ordered
    learning: Learning | None = None


class _Branch(msgspec.Struct, frozen=True):
    """A strategy alias within a list of candidates."""

    alias: str
    spec: Strategy
    pools: Pools


_Part = Target | _Branch


class Resolver:
    """Resolves the names of one configuration."""

    def __init__(self, config: Config, strategist: Strategist) -> None:
        self.providers = frozenset(config.providers)
        self._aliases = config.models
        self._strategist = strategist
        first = None
        if config.translation != "off":
            first = next(iter(config.providers), None)
        self._homes: dict[str, str | None] = {
            dialect: next((n for n, p in config.providers.items() if p.dialect in served), first)
            for dialect, served in SERVED_BY.items()
        }
        self._ready: dict[tuple[tuple[str, ...], str | None], Choice | tuple[_Part, ...]] = {}
        for alias in config.models:
            self.prepare((alias,))

    def home(self, dialect: str) -> str | None:
        """The provider of bare names for callers of that dialect, or None."""
        return self._homes.get(dialect)

    def is_alias(self, name: str) -> bool:
        """Whether `models:` has that name."""
        return name in self._aliases

    def prepare(self, names: tuple[str, ...]) -> None:
        """Work out these names beforehand, for every dialect."""
        for home in {*self._homes.values(), None}:
            if (names, home) not in self._ready:
                parts = tuple(p for n in names for p in self._flatten(n, home, frozenset()))
                targets = tuple(p for p in parts if isinstance(p, Target))
                whole = len(targets) == len(parts)
                self._ready[names, home] = Choice(_unique(targets)) if whole else parts

    def resolve(self, names: tuple[str, ...], context: Context) -> Choice:
        """Candidates for names that were prepared, in order."""
        found = self._ready[names, self._homes.get(context.ask.dialect)]
        if isinstance(found, Choice):
            return found
        targets: list[Target] = []
        chosen: Ordered | None = None
        spec, reasons = None, []
        for part in found:
            if isinstance(part, Target):
                targets.append(part)
                continue
            ordered = self._strategist.order(part.alias, part.spec, part.pools, context)
            if chosen is None:
                chosen, spec = ordered, part.spec
                judged = ordered.judged if not targets else 0
            targets += ordered.candidates
            reasons.append(ordered.reason)
        assert chosen is not None
        return Choice(
            candidates=_unique(targets),
            strategy=chosen.strategy,
            reason="; ".join(reasons),
            score=chosen.score,
            judged=judged,
            spec=spec,
            balance=chosen.balance,
            learning=chosen.learning,
        )

    def split(self, model: str) -> Target | None:
        """The target of `provider/model`; None when the prefix is no provider."""
        prefix, slash, rest = model.partition("/")
        return Target(prefix, rest) if slash and rest and prefix in self.providers else None

    def _flatten(self, name: str, home: str | None, above: frozenset[str]) -> list[_Part]:
        spec = self._aliases.get(name)
        # An alias may be called like the model it stands for: {gpt-4o: [gpt-4o, local/llama]}.
        if spec is None or name in above:
            target = self.split(name) or (Target(home, name) if home is not None else None)
            return [target] if target is not None else []
        above = above | {name}
        if isinstance(spec, Strategy):
            pools = Pools(
                self._targets(spec.cheap, home, above),
                self._targets(spec.strong, home, above),
                tuple(self._targets(one, home, above) for one in spec.models),
            )
            return [_Branch(name, spec, pools)]
        names = [spec] if isinstance(spec, str) else spec
        return [part for one in names for part in self._flatten(one, home, above)]

    def _targets(self, name: str | None, home: str | None, above: frozenset[str]) -> Targets:
        """For a strategy's pools: a strategy inside a strategy counts in its listed order."""
        found: list[Target] = []
        for part in self._flatten(name, home, above) if name is not None else ():
            if isinstance(part, Target):
                found.append(part)
            else:
                found += (*part.pools.cheap, *part.pools.strong, *part.pools.listed)
        return _unique(found)


def _unique(targets: Sequence[Target]) -> Targets:
    return tuple({(t.provider, t.model): t for t in targets}.values())
