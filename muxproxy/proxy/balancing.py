"""Who goes first among equals: the members of a balanced alias, and the keys of a provider.

Figures are those of `health` and `headroom`; candidates that are out are passed over later, by the
attempts.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Ask, Target
from muxproxy.proxy.affinity import rank, session_of
from muxproxy.rules import Rulebook

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.snapshot import Service

WEIGHTED, LEAST, PEAK = "weighted", "least_in_flight", "peak_ewma"
BALANCES = frozenset({WEIGHTED, LEAST, PEAK})
REMEMBERED = 10_000  # sessions and their keys
_UNKNOWN_US = 1000.0  # a member nobody asked yet counts as fast, so that it is tried
_LEAST_ROOM = 0.01


class Group(msgspec.Struct, frozen=True):
    """A balanced alias: its members with their weights."""

    alias: str
    kind: str
    members: dict[Target, float]
    affinity: bool


def groups_of(config: Config, rulebook: Rulebook) -> tuple[Group, ...] | None:
    """The balanced aliases; None: there is none."""
    found = []
    for alias, spec in config.models.items():
        if not isinstance(spec, Strategy) or spec.strategy not in BALANCES:
            continue
        found.append(_group(alias, spec, spec.strategy, rulebook))
    return tuple(found) or None


def _group(alias: str, spec: Strategy, kind: str, rulebook: Rulebook) -> Group:
    members: dict[Target, float] = {}
    names = spec.models or [name for name in (spec.cheap, spec.strong) if name is not None]
    for at, name in enumerate(names):
        weight = spec.weights[at] if spec.weights else 1.0
        for dialect in words.DIALECTS:
            ask = Ask(dialect=dialect, endpoint=words.CHAT, path="")
            for target in rulebook.resolve(name, ask).candidates:
                members.setdefault(target, weight)
    return Group(alias, kind, members, spec.affinity)


def as_wished(x: Exchange, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups as this request's caller wants them; see Ordered.balance."""
    plan = x.plan
    assert plan is not None
    if plan.balance is None or not isinstance(plan.spec, Strategy):
        return groups
    alias, kind = plan.balance
    others = tuple(group for group in groups if group.alias != alias)
    if kind not in BALANCES:
        return others
    return (*others, _group(alias, plan.spec, kind, x.snapshot.rulebook))


def balance(x: Exchange, groups: tuple[Group, ...], waiting: list[Target]) -> None:
    """Put the members of each group into the order of this request; others keep their places."""
    for group in as_wished(x, groups):
        places = [at for at, target in enumerate(waiting) if target in group.members]
        if len(places) < 2:
            continue
        members = [waiting[at] for at in places]
        ordered, how = _ordered(x, group, members)
        for at, target in zip(places, ordered, strict=True):
            waiting[at] = target
        plan = x.plan
        assert plan is not None
        plan.strategy = how
        plan.reason += f"; {group.alias}: {how}"


def _ordered(x: Exchange, group: Group, members: list[Target]) -> tuple[list[Target], str]:
    session = session_of(x) if group.affinity else None
    if session is not None:
        ordered = sorted(members, key=lambda t: -rank(session, f"{t.provider}/{t.model}"))
        return ordered, "affinity"
    weights = group.members
    if group.kind == WEIGHTED:
        # Efraimidis and Spirakis: a weighted order without replacement.
        drawn = {t: random.random() ** (1 / weights[t]) if weights[t] else -1.0 for t in members}
        return sorted(members, key=lambda t: -drawn[t]), WEIGHTED
    random.shuffle(members)
    health = x.proxy.health
    asked = "" if x.ask is None else x.ask.model or ""
    lives = {t: health.of(t.provider, t.model or asked) for t in members}
    if group.kind == LEAST:
        return sorted(members, key=lambda t: (lives[t].in_flight + 1) / (weights[t] or 1e-9)), LEAST
    cost = {t: (lives[t].peak_us or _UNKNOWN_US) * (lives[t].in_flight + 1) for t in members}
    first, second = members[0], members[1]  # two at random
    if cost[second] < cost[first]:
        first = second
    rest = sorted((t for t in members if t is not first), key=lambda t: cost[t])
    return [first, *rest], PEAK


class StickyKeys:
    """Which key a session has; the least recently used are forgotten."""

    def __init__(self) -> None:
        self._slots: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    def get(self, provider: str, session: bytes) -> str | None:
        """The slot, if it is known."""
        slot = self._slots.get((provider, session))
        if slot is not None:
            self._slots.move_to_end((provider, session))
        return slot

    def put(self, provider: str, session: bytes, slot: str) -> None:
        """It has this one from now on."""
        self._slots[provider, session] = slot
        if len(self._slots) > REMEMBERED:
            self._slots.popitem(last=False)


def keyed(x: Exchange, service: Service, target: Target, tried: Collection[str]) -> Service:
    """The provider with one of its keys: the session's, else drawn by what each has left."""
    headroom, now = x.proxy.headroom, time.time()
    model = target.model or ("" if x.ask is None else x.ask.model or "")
    rest = [one for one in service.variants if one.slot not in tried] or list(service.variants)
    free = [one for one in rest if headroom.out_until(service.name, model, one.slot) <= now]
    if not free:
        free = [min(rest, key=lambda one: headroom.out_until(service.name, model, one.slot))]
    session = session_of(x)
    if session is not None:
        slot = x.proxy.sticky_keys.get(service.name, session)
        for one in free:
            if one.slot == slot:
                return one
    rooms = [max(headroom.room(service.name, model, one.slot, now), _LEAST_ROOM) for one in free]
    (chosen,) = random.choices(free, rooms)
    if session is not None:
        x.proxy.sticky_keys.put(service.name, session, chosen.slot)
    return chosen
