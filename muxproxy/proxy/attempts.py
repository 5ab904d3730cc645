"""The attempts of one exchange: candidate by candidate, by what each failed of.

    stale or refused connection      the same candidate once more, where there is no other
    408 409 425 429 5xx, time-outs,
    broken answers, overload told
    in the body of a 200             the next candidate; the same one first with `retry: {same: n}`
    anything else                    the answer

Only before a byte has reached the caller. Each attempt is held and settled on its own. When all
failed, the provider's most telling answer goes to the caller.
"""

from __future__ import annotations

import asyncio
import random
import time
from time import perf_counter_ns
from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.errors import MuxError, untraced
from muxproxy.exchange import Target
from muxproxy.proxy.balancing import balance, keyed
from muxproxy.proxy.booking import Downgraded
from muxproxy.proxy.caching import answered
from muxproxy.proxy.candidates import downgraded, is_well, usable
from muxproxy.proxy.complaints import complaint, rank, wished
from muxproxy.proxy.counting import counted_here
from muxproxy.proxy.hedging import Hedging, attempted, hedges
from muxproxy.proxy.splicing import splice, take_back
from muxproxy.proxy.terms import ONCE
from muxproxy.upstream import Reply, UpstreamError

if TYPE_CHECKING:
    from muxproxy.proxy.outbound import Outbound
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.snapshot import Service

# Our own refusals that are about one candidate.
_ANOTHER_MAY = frozenset({"budget_exceeded", "unknown_price", "rate_limited"})
_AGAIN = frozenset({"connect", "dns", "stale"})  # nothing was sent, so trying again costs nothing
_LONGEST_PAUSE = 8.0


async def serve(x: Exchange) -> None:
    """Candidate by candidate until one has answered; then the splice. Raises MuxError."""
    assert x.plan is not None and x.ask is not None
    if x.ask.endpoint == words.COUNT_TOKENS and counted_here(x):
        return
    terms = x.terms
    if terms is not None and terms.cache is not None and await answered(x, terms.cache):
        return
    waiting = usable(x, x.plan.candidates)
    groups = x.snapshot.groups
    if len(waiting) > 1 and (groups is not None or x.plan.balance is not None):
        balance(x, groups or (), waiting)
    tried: Tried | None = None
    hedging: Hedging | None = None
    if terms is not None and terms.hedge is not None and hedges(x):
        tried = Tried(x)
        hedging = Hedging(x, terms.hedge, tried)
    try:
        while waiting:
            target = _next(x, waiting) if len(waiting) > 1 else waiting.pop()
            service = x.snapshot.services[target.provider]
            if service.variants:
                service = keyed(x, service, target, tried.slots if tried is not None else ())
            try:
                outbound = await x.hold(service, target)
                if hedging is None:
                    reply = await x.send(service, outbound)
                else:
                    reply, outbound = await hedging.send(outbound, waiting)
                    target, service = attempted(x)
            except Downgraded as verdict:
                waiting = downgraded(x, verdict)
                tried = tried or Tried(x)
                tried.failure = verdict.verdict.error
                continue
            except MuxError as error:
                tried = tried or Tried(x)
                if hedging is not None:
                    target, service = attempted(x)
                await tried.by_error(target, service, error, waiting)
                continue
            taken = not waiting or x.upload is not None or reply.status == 101
            if reply.status < 400 and taken:
                await splice(x, service, outbound, reply)
                return
            tried = tried or Tried(x)
            if await tried.is_taken(target, service, outbound, reply, waiting):
                return
        assert tried is not None
        await tried.give_up()
    finally:
        if tried is not None:
            tried.close()


def _next(x: Exchange, waiting: list[Target]) -> Target:
    """The first that is not known to be out; the first of all when every one is."""
    now = time.time()
    for at, target in enumerate(waiting):
        if is_well(x, target, now):
            return waiting.pop(at)
    return waiting.pop(0)


class Kept:
    """An error answer that may yet be the one to pass on. Its body arrives meanwhile."""

    __slots__ = ("outbound", "rank", "reply", "service", "target")

    def __init__(
        self, target: Target, service: Service, outbound: Outbound, reply: Reply, rank: int
    ) -> None:
        self.target = target
        self.service = service
        self.outbound = outbound
        self.reply = reply
        self.rank = rank


class Tried:
    """What went wrong so far; exists from the first failure on."""

    __slots__ = ("_kept", "_same", "_x", "failure", "slots")

    def __init__(self, x: Exchange) -> None:
        self._x = x
        self._kept: Kept | None = None
        self._same = 0  # further tries of the candidate under way
        self.failure: MuxError | None = None
        self.slots: set[str] = set()  # keys of the candidate under way that were refused
        x.told = []

    # -- one attempt's outcome --------------------------------------------------------------

    async def by_error(
        self, target: Target, service: Service, error: MuxError, waiting: list[Target]
    ) -> None:
        """No answer came. Returns when there is something to try; else raises."""
        x = self._x
        untraced(error)
        upstream = isinstance(error, UpstreamError)
        cause = self.broke(target, service, error)
        if x.upload is not None or not (upstream or error.code in _ANOTHER_MAY):
            raise error
        if self._late():
            waiting.clear()
        elif upstream and await self._again(target, service, cause, None, bool(waiting)):
            waiting.insert(0, target)
        else:
            self._same = 0

    async def is_taken(
        self,
        target: Target,
        service: Service,
        outbound: Outbound,
        reply: Reply,
        waiting: list[Target],
    ) -> bool:
        """Pass the answer on, unless another try may better it; False: try on."""
        x = self._x
        status = reply.status
        try:
            cause = None if x.upload is not None else await complaint(reply)
        except UpstreamError as error:
            x.booking.attempt_failed(owed=True)
            await self.by_error(target, service, error, waiting)
            return False
        if cause is None:
            await splice(x, service, outbound, reply)
            return True
        self.refused(target, service, reply, cause)
        wait = wished(reply)
        key = status == 429 and self._other_key(service)
        if not waiting and not key and not self._may(service, cause):
            return await self._last(target, service, outbound, reply)
        self.keep(target, service, outbound, reply)
        if self._late():
            waiting.clear()
        elif key or await self._again(target, service, cause, wait, bool(waiting)):
            waiting.insert(0, target)
        else:
            self._same = 0
            self.slots.clear()
        return False

    def broke(self, target: Target, service: Service, error: MuxError) -> str:
        """Write down that no answer came; the cause, in a word."""
        x = self._x
        upstream = isinstance(error, UpstreamError)
        if upstream or self.failure is None:
            self.failure = error
        cause = error.cause if isinstance(error, UpstreamError) else error.code
        self.note(target, cause)
        if upstream and x.live is not None:
            x.proxy.health.failed(service.name, x.live)
        return cause

    def refused(self, target: Target, service: Service, reply: Reply, cause: str) -> None:
        """Write down an answer that is not to be passed on, unless nothing better comes."""
        x = self._x
        x.booking.observe_refusal(service, reply, x.caller)
        if not 400 <= reply.status < 500 and x.live is not None:
            x.proxy.health.failed(service.name, x.live)
        self.note(target, cause)

    def _other_key(self, service: Service) -> bool:
        """Whether the provider has a key that this call has not met its limit with."""
        variants = self._x.snapshot.services[service.name].variants
        self.slots.add(service.slot)
        return any(one.slot not in self.slots for one in variants)

    async def _last(
        self, target: Target, service: Service, outbound: Outbound, reply: Reply
    ) -> bool:
        """Nobody else is left: this answer goes out, unless an earlier one tells more."""
        kept = self._kept
        if kept is not None and kept.rank > rank(reply.status, wished(reply)):
            self._x.booking.attempt_failed(owed=False)
            reply.cancel()
            return False
        await splice(self._x, service, outbound, reply)
        return True

    async def give_up(self) -> None:
        """All failed."""
        x, kept = self._x, self._kept
        if kept is None:
            raise self.failure or MuxError("internal_error", "no candidate was tried")
        self._kept = None
        take_back(x, kept.target, kept.service, kept.reply)
        await splice(x, kept.service, kept.outbound, kept.reply)

    def close(self) -> None:
        """Let go of what was kept."""
        self.failure = None
        if self._kept is not None:
            self._kept.reply.cancel()
            self._kept = None

    # -- whether, and when ------------------------------------------------------------------

    def _tries(self, service: Service) -> tuple[int, float, float]:
        """(further tries, patience, first pause) as the rule or the provider says."""
        terms = self._x.terms
        tries = (terms.tries if terms is not None else None) or service.tries or ONCE
        return tries.same, tries.patience, tries.backoff

    def _may(self, service: Service, cause: str) -> bool:
        return self._same < self._tries(service)[0]

    async def _again(
        self, target: Target, service: Service, cause: str, wait: float | None, others: bool
    ) -> bool:
        """Whether the same candidate is tried once more, after its pause."""
        same, patience, backoff = self._tries(service)
        if cause in _AGAIN and not others:
            same = max(same, 1)
        if self._same >= same or not self._x.proxy.retries.take():
            return False
        if wait is None:
            wait = min(backoff * 2**self._same, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        if wait > min(patience, self._left()):
            return False
        self._same += 1
        if wait:
            await asyncio.sleep(wait)
        return True

    def _left(self) -> float:
        """Seconds that the caller still waits, as far as it or a rule says."""
        x = self._x
        left = float("inf")
        if x.deadline_ns:
            left = (x.deadline_ns - perf_counter_ns()) / 1e9
        told = x.fields.get(b"x-stainless-read-timeout") or x.fields.get(b"x-stainless-timeout")
        if told is not None:
            try:
                gone = (perf_counter_ns() - x.accepted_ns) / 1e9
                left = min(left, float(told) - gone)
            except ValueError:
                pass
        return left

    def _late(self) -> bool:
        """Whether the request's own deadline has passed."""
        deadline_ns = self._x.deadline_ns
        return bool(deadline_ns) and perf_counter_ns() >= deadline_ns

    def note(self, target: Target, cause: str) -> None:
        """Tell the caller and the books of an attempt that came to nothing."""
        self._x.told.append(f"{target.provider}/{self._x.booking.model or '-'}: {cause}")

    def keep(self, target: Target, service: Service, outbound: Outbound, reply: Reply) -> None:
        """The attempt under way owes nothing; keep its answer if it tells most so far."""
        self._x.booking.attempt_failed(owed=False)
        kept, told = self._kept, rank(reply.status, wished(reply))
        if kept is not None and kept.rank > told:
            reply.cancel()
            return
        if kept is not None:
            kept.reply.cancel()
        if reply.status < 400:  # an overload within a 200: the road answers for it
            self.failure = MuxError("overloaded", "the provider is overloaded")
            reply.cancel()
            return
        self._kept = Kept(target, service, outbound, reply, told)
