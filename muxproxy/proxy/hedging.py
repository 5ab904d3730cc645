"""A second attempt beside a first one that is slow to answer; the first sound answer is taken.

    first -- silent for `after` --> second sets out
      a sound answer      goes to the caller; the other attempt is cancelled at once and booked
      one of them fails   the other goes on alone, and what follows is for `attempts` to say

Only for JSON answers to rules with `hedge:`, and once per request. Both attempts are held,
journaled and counted like any other.
"""

from __future__ import annotations

import asyncio
import time
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec

from muxproxy import exchange as words
from muxproxy.budget import Call, Held, estimate
from muxproxy.errors import MuxError
from muxproxy.exchange import Target
from muxproxy.limits import Ticket
from muxproxy.proxy.balancing import keyed
from muxproxy.proxy.candidates import is_well
from muxproxy.proxy.flight import Flight
from muxproxy.proxy.outbound import Outbound, prepare
from muxproxy.proxy.settling import at_estimate
from muxproxy.proxy.terms import HedgeTerms
from muxproxy.upstream import Reply, UpstreamError

if TYPE_CHECKING:
    from muxproxy.proxy.attempts import Tried
    from muxproxy.proxy.health import Live
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.snapshot import Service

# What became of a second attempt. Failed: before the first had answered, or after that failed too.
WON, LOST, FAILED, ABANDONED = "won", "lost", "failed", "abandoned"
_OUTRUN = "outrun"  # told of the attempt that was cancelled
_ENDPOINTS = words.GENERATING | {words.EMBEDDINGS}


class _Asked(msgspec.Struct, gc=False):
    """What of a request says that asking twice does something twice."""

    store: Any = None
    background: Any = None
    conversation: Any = None
    mcp_servers: Any = None
    tools: Any = None


_decode = msgspec.json.Decoder(_Asked).decode


def hedges(x: Exchange) -> bool:
    """Whether a request is of the kind that a second attempt may be made for."""
    ask = x.ask
    return ask is not None and not ask.stream and ask.endpoint in _ENDPOINTS


def repeatable(x: Exchange, outbound: Outbound) -> bool:
    """Whether asking so twice does nothing but answer: nothing is stored, no tool of the provider
    acts on others."""
    assert x.ask is not None
    crossing = outbound.crossing
    endpoint = x.ask.endpoint if crossing is None else crossing.endpoint
    try:
        asked = _decode(outbound.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    stores = asked.store is not False if endpoint == words.RESPOND else bool(asked.store)
    if stores or asked.background or asked.conversation is not None or asked.mcp_servers:
        return False
    tools = asked.tools if isinstance(asked.tools, list) else ()
    return not any(isinstance(tool, dict) and tool.get("type") == "mcp" for tool in tools)


def attempted(x: Exchange) -> tuple[Target, Service]:
    """Whom the attempt under way asks."""
    assert x.target is not None and x.service is not None
    return x.target, x.service


def delay(terms: HedgeTerms, live: Live) -> float | None:
    """Seconds of silence after which a second attempt is due; None: too little is known."""
    if terms.part is None:
        return terms.after
    known = live.percentile_whole(terms.part)
    return terms.floor if known is None else max(known, terms.floor or 0.0)


def foreseen(x: Exchange, service: Service, model: str) -> str | None:
    """What is to be expected of a candidate, in words; None: no rule hedges."""
    if x.terms is None or x.terms.hedge is None:
        return None
    if not hedges(x):
        return "never: only calls that are answered with JSON have a second attempt"
    after = delay(x.terms.hedge, x.proxy.health.of(service.name, model))
    if after is None:
        return "not yet: too few of its times to the first byte are known"
    return f"after {after * 1000:.0f} ms without an answer"


class Hedging:
    """Sends the attempts of one exchange, at most once two at a time."""

    __slots__ = ("_after", "_made", "_terms", "_ticket", "_tried", "_x")

    def __init__(self, x: Exchange, terms: HedgeTerms, tried: Tried) -> None:
        self._x = x
        self._terms = terms
        self._tried = tried
        self._made = False
        self._after = 0.0
        self._ticket: Ticket | None = None  # the limits of the attempt beside the exchange's own

    async def send(self, outbound: Outbound, waiting: list[Target]) -> tuple[Reply, Outbound]:
        """As the exchange's own `send`, for the attempt that it holds for.

        Afterwards the exchange's target and service are those of the attempt that ended last; a
        candidate that was asked besides is no longer `waiting`.
        """
        x = self._x
        _, service = attempted(x)
        live = x.proxy.health.of(service.name, x.booking.model or "")
        after = None if self._made else delay(self._terms, live)
        if after is None:
            reply = await x.send(service, outbound)
            _learn(live, reply)
            return reply, outbound
        self._after = after
        first, second = Flight(x, outbound), None
        try:
            await asyncio.wait((first.task,), timeout=after)
            if not first.task.done():
                second = self._second(first, waiting)
            flight = first
            if second is not None:
                both = (first.task, second.task)
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                flight = self._decided(first, second)
            return await self._alone(flight), flight.outbound
        except BaseException:
            self._abandon(first, second)
            raise

    # -- setting out ------------------------------------------------------------------------

    def _second(self, first: Flight, waiting: list[Target]) -> Flight | None:
        """The second attempt, on its way; None: something speaks against it."""
        x = self._x
        made = self._try(first, waiting)
        if isinstance(made, str):
            x.proxy.metrics.hedges_withheld[made] += 1
            return None
        self._made = first.racing = True
        return made

    def _try(self, first: Flight, waiting: list[Target]) -> Flight | str:
        """The second attempt, or in a word why there is none."""
        x = self._x
        proxy = x.proxy
        if proxy.in_flight.draining:
            return "draining"
        if not repeatable(x, first.outbound):
            return "unsafe"
        found = self._where(first, waiting)
        if found is None:
            return "no_candidate"
        if not proxy.retries.take():
            return "retry_budget"
        made = self._held(first, *found)
        if isinstance(made, str):
            proxy.retries.give_back()
        elif waiting:
            waiting.remove(made.target)
        return made

    def _where(self, first: Flight, waiting: list[Target]) -> tuple[Target, Service] | None:
        """The next candidate that is well and has a connection to spare; where there is none left,
        the first one's provider with another key, or as before."""
        x, now = self._x, time.time()
        services = x.snapshot.services
        for target in waiting or (first.target,):
            service = services[target.provider]
            if is_well(x, target, now) and service.origin.has_room:
                break
        else:
            return None
        if waiting:
            return target, keyed(x, service, target, ()) if service.variants else service
        name, model, headroom = first.service.name, first.model or "", x.proxy.headroom
        others = [
            one
            for one in service.variants
            if one.slot != first.service.slot and headroom.out_until(name, model, one.slot) <= now
        ]
        # Not by `keyed`: the conversation's own key stays the first one's.
        rooms = [headroom.room(name, model, one.slot, now) for one in others]
        return target, others[rooms.index(max(rooms))] if others else first.service

    def _held(self, first: Flight, target: Target, service: Service) -> Flight | str:
        """Hold, journal and send; else nothing is left of it."""
        x, now = self._x, time.time()
        booking, budgets = x.booking, x.proxy.budgets
        call = self._call(first, target, service, now)
        if not budgets.fits(call, now):
            return "budget"
        ticket = Ticket(x.proxy.limits)
        try:
            ticket.enter(call, now)
        except MuxError:
            return "limit"
        held = budgets.hold(call, now)
        assert isinstance(held, Held)  # it fits
        if _lowered(first.held, held):
            held.release()
            ticket.release()
            return "budget"
        x.target, x.service, x.live = target, service, None
        booking.held, booking.price, booking.service = held, held.price, service
        booking.model = target.model if target.model is not None else call.ask.model
        booking.journaled = True  # so that its hold gets an id of its own
        flight = None
        try:
            outbound = prepare(x, service, target)
            if not repeatable(x, outbound):
                return "unsafe"
            flight = Flight(x, outbound, booking.journal(held, x.caller), second=True)
        except MuxError as error:
            return error.code
        finally:
            if flight is None:
                held.release()
                ticket.release()
                first.take_over(x)
        self._ticket = ticket
        return flight

    def _call(self, first: Flight, target: Target, service: Service, now: float) -> Call:
        """The first attempt's call as it is of another candidate; the caller's own ceiling is for
        both."""
        x, call = self._x, first.held.call
        model = target.model if target.model is not None else call.ask.model
        price = x.snapshot.prices.find(service.name, model, int(now))
        ceiling = call.ceiling
        if ceiling is not None:
            ceiling = max(ceiling - (first.held.nano or 0), 0)
        return msgspec.structs.replace(
            call,
            target=target,
            price=price,
            estimate=estimate(call.ask, price, x.proxy.budgets.outputs.p95(model or "")),
            ceiling=ceiling,
        )

    # -- the end ----------------------------------------------------------------------------

    def _decided(self, first: Flight, second: Flight) -> Flight:
        """One of the two has ended: the attempt that the exchange goes on with."""
        if first.task.done():
            if not first.failed:
                # Also an error that no other may better: the second would meet it as well.
                self._tell(second, LOST)
                return self._goes_on(first, self._cancel(second, _OUTRUN))
            self._fail(first, UpstreamError)
            return self._goes_on(second)
        reply = second.reply
        if second.failed or reply is None or reply.status >= 400:
            self._fail(second, MuxError)
            self._tell(second, FAILED)
            return self._goes_on(first)
        # It takes at least as long as it was waited for: or slow answers would never be known,
        # and what counts as slow would fall from hedge to hedge.
        first.live.observe_whole((perf_counter_ns() - first.departed_ns) // 1000)
        self._x.stay = None  # its conversation stays where its prompt is cached
        return self._goes_on(second, self._cancel(first, _OUTRUN))

    def _goes_on(self, flight: Flight, tokens: int = 0) -> Flight:
        """The other one is over, and took so many tokens of its candidate's limits."""
        x, beside = self._x, self._ticket
        assert x.booking.ticket is not None and beside is not None
        if flight.second:
            x.booking.ticket.swap(beside)
        beside.settle(tokens, time.time())
        flight.take_over(x)
        return flight

    async def _alone(self, flight: Flight) -> Reply:
        """The reply of the attempt that is left. Raises as the exchange's `send`."""
        x = self._x
        try:
            reply = await flight.task
        except MuxError as error:
            flight.over = True
            x.sent_anything = flight.request.sent
            if isinstance(error, UpstreamError):
                x.sent_anything = error.sent or flight.reply is not None
                x.booking.attempt_failed(owed=x.sent_anything)
            if flight.second:
                self._tell(flight, FAILED)
            raise
        flight.over = x.sent_anything = True
        x.reply = reply
        _learn(flight.live, reply)
        if flight.second:
            self._tell(flight, FAILED if flight.failed or reply.status >= 400 else WON)
        return reply

    def _fail(self, flight: Flight, kind: type[MuxError]) -> None:
        """It came to nothing while the other one is under way. Raises what is not of that kind."""
        x, tried, reply = self._x, self._tried, flight.reply
        error = flight.task.exception()
        if error is not None and not isinstance(error, kind):
            raise error
        flight.take_over(x)
        flight.over = True
        if error is not None:
            sent = isinstance(error, UpstreamError) and error.sent
            x.booking.attempt_failed(owed=sent or reply is not None)
            tried.broke(flight.target, flight.service, error)
        else:
            assert reply is not None
            cause = flight.cause or str(reply.status)
            tried.refused(flight.target, flight.service, reply, cause)
            tried.keep(flight.target, flight.service, flight.outbound, reply)
        self._leave(flight)

    def _cancel(self, flight: Flight, cause: str) -> int:
        """Close its connection and book it as a call whose caller left; how many tokens."""
        x = self._x
        assert x.ask is not None
        flight.let_go()
        flight.take_over(x)
        usage = at_estimate(x.ask, x.booking) if flight.owed else None
        x.booking.attempt_failed(owed=usage is not None, usage=usage)
        self._tried.note(flight.target, cause)
        self._leave(flight)
        return 0 if usage is None else usage.tokens()

    def _leave(self, flight: Flight) -> None:
        """It is no longer under way."""
        flight.live.in_flight -= 1
        self._x.live = None

    def _abandon(self, first: Flight, second: Flight | None) -> None:
        """The caller left, or something went wrong. The exchange settles the attempt that is
        its own; one besides is booked here."""
        left = [one for one in (first, second) if one is not None and not one.over]
        if second is not None and not second.over:
            self._tell(second, ABANDONED)
            if first in left:
                self._goes_on(first, self._cancel(second, ABANDONED))
                left.remove(second)
        for flight in left:
            flight.let_go()
            flight.take_over(self._x)

    def _tell(self, second: Flight, outcome: str) -> None:
        """What became of the second attempt: to the metrics, the books and the caller."""
        x = self._x
        assert x.plan is not None
        x.proxy.metrics.hedges[outcome] += 1
        where = f"{second.target.provider}/{second.model or '-'}"
        x.plan.reason += f"; hedged after {self._after * 1000:.0f} ms at {where}: {outcome}"


def _lowered(first: Held, second: Held) -> bool:
    """Whether a clamping budget leaves the second attempt a shorter answer than the first."""
    if second.max_tokens is None:
        return False
    return first.max_tokens is None or second.max_tokens < first.max_tokens


def _learn(live: Live, reply: Reply) -> None:
    if reply.status < 400:
        live.observe_whole(max((reply.head_ns - reply.sent_ns) // 1000, 0))
