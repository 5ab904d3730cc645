"""Conversations that stay where they began: a "yes" in the middle of a tool loop must not change
the model and throw the provider's prompt cache away.

A conversation is told by its beginning, its caller and the model it asks for; a run has many of
them. Only digests are kept, and only so many; the longest unused goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Target
from muxproxy.proxy.affinity import conversation_of

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


class Conversations:
    """Where each conversation is. One per process."""

    def __init__(self) -> None:
        self.most = 100_000
        self._places: OrderedDict[bytes, Target] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: bytes) -> Target | None:
        """Where it is."""
        place = self._places.get(key)
        if place is not None:
            self._places.move_to_end(key)
        return place

    def put(self, key: bytes, place: Target) -> None:
        """It is there now."""
        self._places[key] = place
        self._places.move_to_end(key)
        while len(self._places) > self.most:
            self._places.popitem(last=False)


class Stay:
    """One turn of a conversation."""

    __slots__ = ("kept", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.kept: Target | None = None  # where it stays although the strategy said otherwise

    def over(self, x: Exchange) -> None:
        """The call is settled: it was answered there."""
        places, metrics = x.proxy.conversations, x.proxy.metrics
        relay, tap = x.relay, x.booking.tap
        if relay is None or relay.end_kind != words.FINISHED or x.status >= 400:
            return
        if x.target is not None:
            places.put(self.key, x.target)
        stayed = self.kept is not None and x.target == self.kept
        if stayed and tap is not None and tap.usage is not None:
            metrics.sticky_cached_tokens += tap.usage.cache_read or 0


def settled(x: Exchange) -> bool:
    """Whether this conversation began somewhere already, and will stay there."""
    plan, ask = x.plan, x.ask
    assert plan is not None and ask is not None
    if not plan.sticks or (isinstance(plan.spec, Strategy) and not plan.spec.sticky):
        return False
    conversation = conversation_of(x)
    if conversation is None:
        return False
    return x.proxy.conversations.find(conversation + (ask.model or "").encode()) in plan.candidates


def stay(x: Exchange) -> Stay | None:
    """Put the candidate of this conversation first, where a strategy or a text chose."""
    plan, ask = x.plan, x.ask
    assert plan is not None and ask is not None
    if isinstance(plan.spec, Strategy) and not plan.spec.sticky:
        return None
    conversation = conversation_of(x)
    if conversation is None or ask.endpoint not in words.GENERATING:
        return None
    key = conversation + (ask.model or "").encode()
    found = Stay(key)
    place = x.proxy.conversations.find(key)
    if place is None or place.provider not in x.snapshot.services:
        return found
    if place not in plan.candidates and (
        plan.sticks != words.BY_TEXT or x.caller.models is not None
    ):
        return found
    first = plan.candidates[: plan.judged]
    if plan.candidates[0] != place:
        found.kept = place
        x.proxy.metrics.sticky_turns += 1
        plan.candidates = (place, *(t for t in plan.candidates if t != place))
        plan.reason += f"; stays at {place.provider}/{place.model or '-'}, as it began"
    if place not in first:
        plan.judged = 0  # it is with the strong ones
    return found
