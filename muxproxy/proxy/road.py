"""One exchange, read top to bottom in the order it happens.

    auth -> body -> inspection -> rules -> limits -> hold -> upstream -> splice -> settle

Before the first byte every failure is a MuxError, answered in the caller's dialect; after it there
is no second answer. What is held is settled exactly once, in `run`'s `finally`, whatever happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from muxproxy import exchange as words
from muxproxy.auth import with_user
from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError, untraced
from muxproxy.exchange import Ask, Caller, Plan, Target
from muxproxy.headers import Headers
from muxproxy.inspection import all_text, inspect
from muxproxy.proxy import attempts, cascade, examples, learning, wishes
from muxproxy.proxy.booking import Booking
from muxproxy.proxy.caching import Recording
from muxproxy.proxy.candidates import ceiling, pinned
from muxproxy.proxy.fields import as_sent
from muxproxy.proxy.guarding import guard
from muxproxy.proxy.health import Live
from muxproxy.proxy.incoming import ClientLeft, Receive, declared_length, read_body, too_large
from muxproxy.proxy.outbound import Outbound, prepare
from muxproxy.proxy.overload import BodyMemory, Gate
from muxproxy.proxy.refusing import refuse
from muxproxy.proxy.relay import Relay, Sink
from muxproxy.proxy.session import Session, refuse_upgrade
from muxproxy.proxy.snapshot import Service
from muxproxy.proxy.sticky import Stay, stay
from muxproxy.proxy.terms import RuleTerms, joined, times_at
from muxproxy.proxy.unread import begin
from muxproxy.upstream import Reply, Request, UpstreamError

if TYPE_CHECKING:
    from muxproxy.proxy import Proxy

Scope = MutableMapping[str, Any]


class Exchange:
    """One request on its way; lives until it is settled."""

    __slots__ = (
        "accepted_ns",
        "ask",
        "attempts",
        "body",
        "booking",
        "caller",
        "cascade",
        "deadline_ns",
        "departed_ns",
        "error",
        "extra",
        "fields",
        "gate",
        "leased",
        "left",
        "live",
        "memo",
        "plan",
        "provider",
        "proxy",
        "receive",
        "recording",
        "relay",
        "reply",
        "route",
        "scope",
        "sent_anything",
        "service",
        "sink",
        "snapshot",
        "spent_nano",
        "status",
        "stay",
        "target",
        "task",
        "terms",
        "told",
        "upload",
        "waited_ns",
    )

    def __init__(
        self,
        proxy: Proxy,
        scope: Scope,
        receive: Receive,
        sink: Sink,
        route: Route,
        provider: str | None,
        fields: dict[bytes, bytes],
        memo: dict[Any, Any],
    ) -> None:
        self.proxy = proxy
        self.snapshot = proxy.snapshot
        self.scope = scope
        self.receive = receive
        self.sink = sink
        self.route = route
        self.provider = provider  # named by an absolute-form target's host
        # Each header's last value; names that may repeat are read from the list.
        self.fields = fields
        self.memo = memo  # what follows from the head and the snapshot alone
        extensions = scope.get("extensions") or {}
        self.accepted_ns: int = extensions.get("muxproxy.accepted") or perf_counter_ns()
        self.caller = _NOBODY
        self.ask: Ask | None = None
        self.plan: Plan | None = None
        self.target: Target | None = None
        self.service: Service | None = None
        self.body: bytes = b""
        self.upload: AsyncIterator[bytes] | None = None
        self.booking = Booking(proxy)
        self.relay: Relay | Session | None = None
        self.reply: Reply | None = None
        self.attempts = 0
        self.departed_ns = 0  # when the first attempt set out
        self.waited_ns = 0  # for calls beside it, before that
        self.status = 0
        self.error: MuxError | None = None
        self.left = False
        self.sent_anything = False
        self.task: asyncio.Task[Any] | None = None
        self.terms: RuleTerms | None = None
        self.deadline_ns = 0  # of the whole request; 0: none
        self.live: Live | None = None  # the candidate's figures, while it is asked
        self.gate: Gate | None = None  # that let it in
        self.extra: Headers = _NO_HEADERS  # of ours, on the answer
        self.recording: Recording | None = None  # of the answer, for the cache
        self.leased = 0  # bytes of collected body
        self.spent_nano = 0  # by earlier steps of a cascade
        self.cascade: cascade.Cascade | None = None
        self.stay: Stay | None = None  # this turn of its conversation
        self.told: list[str] = _NOTHING  # why each attempt failed

    async def run(self) -> None:
        """The whole road. Never raises."""
        proxy = self.proxy
        task = self.task = asyncio.current_task()
        assert task is not None
        proxy.in_flight.enter(task, self)
        proxy.metrics.in_flight += 1
        proxy.accepted += 1
        try:
            if proxy.in_flight.closing:
                raise MuxError("shutting_down", "muxproxy is shutting down; try again in a moment")
            self.sink.watch(self._pause, self._resume, self._client_left)
            if proxy.gate is not None:
                await proxy.gate.enter()
                self.gate = proxy.gate
            await self._understand()
            assert self.plan is not None and self.ask is not None
            if learning.explore(self) and self.ask.endpoint in words.GENERATING:
                await cascade.serve(self)
            else:
                await attempts.serve(self)
        except MuxError as error:
            refuse(self, error)
        except ClientLeft:
            self.left = True
        except asyncio.CancelledError:
            self._interrupted()
        except Exception:
            proxy.log.exception("an exchange failed", extra={"id": self.booking.public_id})
            refuse(self, MuxError("internal_error", "muxproxy failed; its log says why"))
        finally:
            self._settle()
            self.give_back()
            if self.recording is not None:
                self.recording.close(self)
            if self.gate is not None:
                self.gate.leave()
            self.let_go()
            proxy.metrics.in_flight -= 1
            proxy.in_flight.leave(task)

    def let_go(self) -> None:
        """It is settled. What leads back here goes, because circles wait for the garbage collector,
        which runs rarely, and never for what was in flight during a reload (`off_loop` freezes)."""
        if self.error is not None:
            untraced(self.error)
        self.relay = self.error = self.task = self.cascade = None

    @property
    def memory(self) -> BodyMemory:
        """Where the body's bytes are counted."""
        return self.proxy.bodies

    def give_back(self) -> None:
        """The body was let go."""
        if self.leased:
            self.proxy.bodies.give(self.leased)
            self.leased = 0

    # -- what is asked, and what the rules say ----------------------------------------------

    async def _understand(self) -> None:
        """auth, body, inspection, rules."""
        snapshot, route, scope = self.snapshot, self.route, self.scope
        headers: Headers = scope["headers"]
        caller = self.memo.get("caller")
        if caller is None:
            caller = snapshot.auth.caller(headers, None, scope["query_string"])
            if snapshot.auth.lasting:
                self.memo["caller"] = caller
        self.caller = caller
        if route.endpoint in words.INSPECTED:
            body = self.sink.whole_body()
            if body is None:
                declared = self.fields.get(b"content-length", b"")
                body = await read_body(self.receive, self.proxy.max_body, self, declared)
            elif len(body) > self.proxy.max_body:
                raise too_large(self.proxy.max_body)
            self.body = body
            ask = inspect(route, self.body)
        else:
            begun = await begin(self.receive, self.fields)
            self.body, self.upload = begun.body, begun.stream
            name = pinned(self)
            ask = begun.ask(route, snapshot.services[name].dialect if name else route.dialect)
        self.ask = ask
        if ask.cascade_config is not None or wishes.HEADER in self.fields:
            wishes.check(self)
        now = time.time()
        self.caller = with_user(self.caller, ask.user)
        self.plan = snapshot.rulebook.decide(
            self.caller,
            ask,
            headers,
            now,
            self.proxy.budgets.view(now),
            all_text,
            pinned(self),
        )
        if self.plan.deny is not None:
            raise MuxError("denied_by_rule", self.plan.deny)
        if ask.cascade_config is not None and self.plan.strategy is None:
            self.plan.reason += "; cascade_config: no alias with a cheap and a strong side"
        if self.plan.strategy == "semantic":
            await examples.choose(self)
        if self.plan.sticks:
            self.stay = stay(self)
        if self.proxy.budgets.guard is not None:
            guard(self, self.proxy.budgets.guard, now)
        if snapshot.terms is not None:
            self._take_terms(snapshot.terms)

    def _take_terms(self, terms: Mapping[str, RuleTerms]) -> None:
        """What the rules say beyond where it goes."""
        assert self.plan is not None
        found = self.terms = joined(terms, self.plan.rules)
        if found is not None and found.total is not None:
            self.deadline_ns = self.accepted_ns + int(found.total * 1e9)

    # -- the attempt(s) ---------------------------------------------------------------------

    async def hold(self, service: Service, target: Target) -> Outbound:
        """Reserve over every budget and limit in one step, and journal it."""
        assert self.ask is not None and self.plan is not None
        self.target, self.service = target, service
        self.sent_anything = False
        if self.route.endpoint == words.REALTIME:
            refuse_upgrade(self.route, service.config.websocket)
        journaled = self.booking.hold(
            self.caller,
            as_sent(self, target),
            self.plan,
            service,
            target,
            ceiling(self),
            self.scope,
        )
        outbound = prepare(self, service, target)
        if journaled is not None:
            await journaled
        return outbound

    def depart(self, service: Service, outbound: Outbound) -> Request:
        """The attempt's request, about to be sent: it is under way from here on."""
        self.attempts += 1
        if not self.departed_ns:
            self.departed_ns = perf_counter_ns()
        request = Request(
            method=self.scope["method"].encode(),
            target=outbound.target,
            headers=outbound.headers,
            body=self.upload if self.upload is not None else outbound.body,
            length=declared_length(self.fields) if self.upload is not None else None,
            deadline_ns=self.deadline_ns,
        )
        terms = self.terms
        if terms is not None and terms.times is not None:
            request.times = times_at(terms.times, service.times)
        if self.live is not None:
            self.live.in_flight -= 1
        live = self.live = service.live.get(self.booking.model or "") or self.proxy.health.of(
            service.name, self.booking.model or ""
        )
        live.in_flight += 1
        if live.circuit is not None:
            live.circuit.begin(self.proxy.health.clock())
        self.sent_anything = True  # until send() says otherwise
        return request

    async def send(self, service: Service, outbound: Outbound) -> Reply:
        """One attempt, up to the reply's head."""
        request = self.depart(service, outbound)
        try:
            self.reply = await self.proxy.upstreams.send(service.origin, request)
        except UpstreamError as error:
            self.sent_anything = error.sent
            self.booking.attempt_failed(owed=error.sent)
            raise
        return self.reply

    def overhead_us(self, reply: Reply) -> int:
        """Time spent here until now: not waiting for a provider, be it one that failed, was outrun
        or whose answer fell short."""
        alone = self.attempts == 1 and self.cascade is None
        left = reply.sent_ns if alone else self.departed_ns
        return (
            max(perf_counter_ns() - self.accepted_ns - self.waited_ns - (reply.head_ns - left), 0)
            // 1000
        )

    # -- what may happen meanwhile ----------------------------------------------------------

    def _pause(self) -> None:
        if self.relay is not None:
            self.relay.pause()

    def _resume(self) -> None:
        if self.relay is not None:
            self.relay.resume()

    def _client_left(self) -> None:
        """Called by the door the moment the caller's connection is gone."""
        self.left = True
        if self.relay is not None:
            self.relay.client_left()
        elif self.task is not None:
            self.task.cancel("the client left")

    def _interrupted(self) -> None:
        """Our task was cancelled: the client left, or the drain deadline came."""
        if self.left:
            return
        error = MuxError("shutting_down", "muxproxy is shutting down")
        if self.relay is not None and self.relay.started:
            self.relay.stop(words.ERROR, error)
        else:
            refuse(self, error)

    def _settle(self) -> None:
        """Usage -> cost -> receipt -> metrics: synchronous, nothing in it to cancel."""
        if self.live is not None:
            self.live.in_flight -= 1
            if self.booking.ttfb_us is not None and self.status < 400:
                self.live.observe(self.booking.ttfb_us)
        if self.stay is not None:
            self.stay.over(self)
        self.settle_step(last=True)

    def settle_step(self, *, last: bool = False) -> None:
        """One call of a cascade is over."""
        if not last and self.live is not None:
            self.live.in_flight -= 1
            if self.booking.ttfb_us is not None and self.status < 400:
                self.live.observe(self.booking.ttfb_us)
            self.live = None
        try:
            self.booking.settle(self)
            if last:
                learning.keep(self)
        except Exception:
            self.proxy.log.exception("settling failed", extra={"id": self.booking.public_id})


_NOBODY = Caller()
_NOTHING: list[str] = []
_NO_HEADERS: Headers = []
