"""The money side of one exchange: price, hold, journal, and the one receipt at its end.

One row per call. A failed attempt that may have cost something keeps its hold open until the
call is settled, and its estimated cost is part of the call's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, MutableMapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from muxproxy import exchange as words
from muxproxy.budget import Call, Downgrade, Held, budget_headers, estimate
from muxproxy.budget.windows import FOREVER
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Caller, Hold, Plan, Receipt, Spend, Target, Usage
from muxproxy.headers import Headers
from muxproxy.prices import FREE
from muxproxy.proxy.features import features
from muxproxy.proxy.names import header_value
from muxproxy.proxy.settling import Verdict, judge, may_cost
from muxproxy.proxy.snapshot import Service
from muxproxy.tap.state import State
from muxproxy.upstream import Reply

if TYPE_CHECKING:
    from muxproxy.limits import Ticket
    from muxproxy.prices import Price
    from muxproxy.proxy import Proxy
    from muxproxy.proxy.outbound import Outbound
    from muxproxy.proxy.road import Exchange


Scope = MutableMapping[str, Any]


class Downgraded(Exception):
    """A budget says: plan again with this alias."""

    def __init__(self, verdict: Downgrade) -> None:
        super().__init__(verdict.alias)
        self.verdict = verdict


class Booking:
    """What one exchange holds and owes; settled exactly once."""

    __slots__ = (
        "_cost_seen",
        "_earlier",
        "_priced",
        "_proxy",
        "_snapshot",
        "downgraded",
        "edits",
        "held",
        "hold_id",
        "id",
        "journaled",
        "model",
        "overhead_us",
        "owed_nano",
        "owed_usage",
        "price",
        "refused",
        "service",
        "settled",
        "settled_nano",
        "tap",
        "ticket",
        "time_ms",
        "ttfb_us",
        "unknown",
    )

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._snapshot = proxy.snapshot
        self.id = proxy.ledger.next_id()
        self.time_ms = self.id >> 20
        self.hold_id = self.id
        self.held: Held | None = None
        self.journaled = False
        self.price: Price | None = None
        self.service: Service | None = None
        self.model: str | None = None
        self.tap: State | None = None
        self.ticket: Ticket | None = None
        self.edits: tuple[str, ...] = ()
        self.downgraded: frozenset[str] = frozenset()
        self.overhead_us = 0
        self.ttfb_us: int | None = None
        self.owed_nano = 0  # by failed attempts, and a session's responses so far
        self.owed_usage: Usage | None = None  # what the last unanswered attempt was booked at
        self.unknown = False  # one of those responses has no price
        self._earlier: list[tuple[int, list[Spend]]] = []
        self.settled = False
        self.settled_nano = 0  # what the call cost, as far as it is known
        self.refused: Call | None = None  # what a budget would not take
        self._priced: Usage | None = None
        self._cost_seen: int | None = None

    @property
    def public_id(self) -> str:
        """As in x-muxproxy-id."""
        return format(self.id, "016x")

    @property
    def clamp(self) -> int | None:
        """max_tokens as lowered by a clamping budget."""
        return None if self.held is None else self.held.max_tokens

    @property
    def stops(self) -> bool:
        """Whether a budget may end this call's stream."""
        return self.held is not None and self.held.allowance < FOREVER

    @property
    def held_nano(self) -> int | None:
        """Nano-dollars reserved for the attempt under way."""
        return None if self.held is None else self.held.nano

    # -- before the attempt -----------------------------------------------------------------

    def hold(
        self,
        caller: Caller,
        ask: Ask,
        plan: Plan,
        service: Service,
        target: Target,
        ceiling: int | None,
        scope: Scope,
    ) -> Awaitable[None] | None:
        """Reserve over every limit and budget in one step and journal it.

        Returns what to await before anything is sent, or None. Raises MuxError (402, 429, 503)
        or Downgraded; nothing is reserved then.
        """
        proxy = self._proxy
        now = time.time()
        model = target.model if target.model is not None else ask.model
        self.service, self.model = service, model
        if ask.endpoint in words.FREE:
            price: Price | None = FREE
        else:
            price = self._snapshot.prices.find(service.name, model, int(now))
        guess = estimate(ask, price, proxy.budgets.outputs.p95(model or ""))
        call = Call(
            caller=caller,
            ask=ask,
            plan=plan,
            target=target,
            price=price,
            estimate=guess,
            ceiling=ceiling,
            context=(caller, ask, scope["headers"], now),
            downgraded=self.downgraded,
        )
        if self.ticket is None:
            self.ticket = proxy.limits.admit(call, now)
        else:
            self.ticket.enter(call, now)
        if not may_cost(ask, scope["method"]):
            return None
        try:
            verdict = proxy.budgets.hold(call, now)
        except MuxError:
            self.refused = call
            raise
        if isinstance(verdict, Downgrade):
            self.downgraded |= {verdict.budget}
            raise Downgraded(verdict)
        self.held = verdict
        self.price = verdict.price
        if ask.endpoint in words.FREE:
            return None
        return self.journal(verdict, caller)

    def journal(self, held: Held, caller: Caller) -> Awaitable[None] | None:
        """Write the hold down before anything is sent; what to await, or None."""
        proxy = self._proxy
        if self.journaled:
            self.hold_id = proxy.ledger.next_id()
        tokens_in, tokens_out = held.reserved
        try:
            waiter = proxy.ledger.hold(
                Hold(
                    id=self.hold_id,
                    time_ms=self.time_ms,
                    caller=caller.key,
                    provider=held.call.target.provider,
                    model=self.model or "",
                    nano=held.nano,
                    tokens_in=tokens_in,
                    tokens_out=tokens_out,
                    scopes=held.scopes,
                    user=caller.user,
                    team=caller.team,
                    tags=caller.tags,
                    run=caller.run,
                    rule=held.call.plan.rule,
                )
            )
        except MuxError:
            if proxy.passes_without_ledger:
                return None
            raise
        self.journaled = True
        if waiter is None or not proxy.passes_without_ledger:
            return waiter
        return self._suppressed(waiter)

    @staticmethod
    async def _suppressed(waiter: Awaitable[None]) -> None:
        with contextlib.suppress(MuxError):
            await waiter

    # -- after it ---------------------------------------------------------------------------

    def attempt_failed(self, *, owed: bool, usage: Usage | None = None) -> None:
        """The attempt ended without an answer to relay; `owed` when it may have cost money: for
        `usage`, or what it held."""
        held = self.held
        if held is None:
            return
        self.held = None
        spends: list[Spend] = []
        if not owed:
            held.release()
        elif usage is None:
            self.owed_nano += held.nano or 0
            self.owed_usage = Usage(input=held.reserved[0], output=held.reserved[1])
            spends = held.settle_at_hold(time.time())
        else:
            cost, self.owed_usage = self.price_of(usage), usage
            self.owed_nano += cost or 0
            spends = held.settle(cost, usage.tokens(), time.time())
        if self.journaled:
            self._earlier.append((self.hold_id, spends))

    def observe_reply(
        self, service: Service, outbound: Outbound, reply: Reply, caller: Caller
    ) -> None:
        """The head is there."""
        self.edits = outbound.edits
        self.ttfb_us = max((reply.head_ns - reply.sent_ns) // 1000, 0)
        self._observe_headroom(service, reply, caller)

    def observe_refusal(self, service: Service, reply: Reply, caller: Caller) -> None:
        """A head that says no, and is not passed on."""
        self._observe_headroom(service, reply, caller)

    def _observe_headroom(self, service: Service, reply: Reply, caller: Caller) -> None:
        # Limits are per account: where callers bring their own keys, each has its own.
        self._proxy.headroom.observe(
            service.name,
            self.model or "",
            reply.headers,
            reply.status,
            time.time(),
            caller.key if service.off else service.slot,
        )

    def headers(self, plan: Plan | None, target: Target | None) -> Headers:
        """Our own answer headers, without the overhead."""
        out: Headers = [(b"x-muxproxy-id", b"%016x" % self.id)]
        if plan is not None and plan.rule is not None:
            out.append((b"x-muxproxy-rule", header_value(plan.rule)))
        if target is not None:
            out.append((b"x-muxproxy-provider", header_value(target.provider)))
            if self.model is not None:
                out.append((b"x-muxproxy-model", header_value(self.model)))
        if self.held is not None and self.held.entries:
            out.extend(budget_headers(self.held, time.time()))
        return out

    def cost_now(self) -> int | None:
        """What the finished answer costs, before it is settled (for router_metadata)."""
        tap = self.tap
        if tap is None or (usage := tap.usage) is None:
            return None
        return self.price_of(usage)

    def price_of(self, usage: Usage) -> int | None:
        """Nano-dollars of `usage`; asked once per exchange, for the provider's own figures are
        compared with ours in it."""
        if self._priced is not usage:
            assert self.service is not None
            self._priced = usage
            self._cost_seen = self._snapshot.prices.settle(self.service.name, self.price, usage)
        return self._cost_seen

    # -- the end ----------------------------------------------------------------------------

    def settle(self, exchange: Exchange) -> None:
        """Usage -> cost -> receipt -> metrics. Does nothing the second time."""
        if self.settled:
            return
        self.settled = True
        now = time.time()
        verdict = judge(exchange, self)
        cost = self._cost(verdict)
        self.settled_nano = cost or 0
        overrun, spends = self._close(verdict, cost, now)
        if self.ticket is not None:
            self.ticket.settle(_tokens(verdict.usage), now)
        receipt = self._receipt(exchange, verdict, cost)
        receipt.overrun = overrun
        proxy = self._proxy
        for hold_id, earlier in self._earlier:
            if hold_id != self.hold_id or self.held is not None:
                proxy.ledger.release(hold_id, earlier)
            else:
                spends = [*spends, *earlier]
        proxy.ledger.settle(receipt, spends, held=self.journaled, hold_id=self.hold_id)
        proxy.account(receipt, verdict, exchange)

    def _cost(self, verdict: Verdict) -> int | None:
        if verdict.session and (self.unknown or verdict.rest is None):
            return None if self.unknown else self.owed_nano
        if verdict.rest is not None:
            base = self.price_of(verdict.rest)
        elif verdict.usage is None or self.service is None:
            base = 0 if verdict.nothing_owed else None
            if base is None and verdict.at_hold and self.held is not None:
                base = self.held.nano
        else:
            base = self.price_of(verdict.usage)
        return base if base is None else base + self.owed_nano

    def _close(self, verdict: Verdict, cost: int | None, now: float) -> tuple[int, list[Spend]]:
        held = self.held
        if held is None:
            return 0, []
        usage = verdict.rest if verdict.session else verdict.usage
        if usage is None and (verdict.nothing_owed or verdict.session):
            held.release()
            return 0, []
        own = None if cost is None else cost - self.owed_nano
        spends = held.settle(own, _tokens(usage), now)
        return held.overrun, spends

    def _receipt(self, exchange: Exchange, verdict: Verdict, cost: int | None) -> Receipt:
        ask, plan, target, caller = exchange.ask, exchange.plan, exchange.target, exchange.caller
        relay = exchange.relay
        reason = "" if plan is None else plan.reason
        if exchange.told:
            reason = f"{reason}; failed: {', '.join(exchange.told)}"
        # Fifteen names, the rest set: with more, Python builds a dict for the call.
        receipt = Receipt(
            id=self.id,
            time_ms=self.time_ms,
            caller=caller.key,
            reason=reason,
            model=self.model,
            endpoint=exchange.route.endpoint,
            path=exchange.route.path,
            status=verdict.status,
            end=verdict.end,
            attempts=exchange.attempts,
            usage=verdict.usage or self.owed_usage,
            usage_source=verdict.source or (words.ESTIMATED if self.owed_usage else None),
            cost=cost,
            edits=self.edits,
            overhead_us=self.overhead_us,
        )
        receipt.user, receipt.team, receipt.run = caller.user, caller.team, caller.run
        receipt.tags = caller.tags
        if plan is not None:
            receipt.rule, receipt.explored = plan.rule, plan.explored
            if plan.tags:
                receipt.tags = (*caller.tags, *plan.tags)
        if target is not None:
            receipt.provider = target.provider
        if ask is None:
            receipt.dialect = exchange.route.dialect
        else:
            receipt.asked_model, receipt.dialect = ask.model, ask.dialect
            receipt.stream, receipt.bytes_in = ask.stream, ask.body_bytes
            receipt.features = features(ask)
        receipt.code, receipt.ttfb_us, receipt.held = verdict.code, self.ttfb_us, self.held_nano
        if self.tap is not None:
            receipt.usage_raw = self.tap.usage_raw
        if self.price is not None:
            receipt.price_version = self._snapshot.prices.version
        if relay is not None:
            receipt.bytes_out = relay.bytes_out
        receipt.total_us = (perf_counter_ns() - exchange.accepted_ns) // 1000
        return receipt


def _tokens(usage: Usage | None) -> int:
    return 0 if usage is None else usage.tokens()
