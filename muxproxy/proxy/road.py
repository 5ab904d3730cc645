"""One exchange, read top to bottom in the order it happens.

    auth -> body -> inspection -> rules -> limits -> hold -> upstream -> splice -> settle

Before the first byte every failure is a MuxError, answered in the caller's dialect; after it there
is no second answer. What is held is settled exactly once, in `run`'s `finally`, whatever happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from muxproxy import exchange as words
from muxproxy.auth import with_user
from muxproxy.dialects import errors as dialect_errors
from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Caller, Plan, Target
from muxproxy.headers import Headers
from muxproxy.inspection import all_text, inspect
from muxproxy.money import parse_dollars
from muxproxy.proxy.booking import Booking, Downgraded
from muxproxy.proxy.counting import counted_here
from muxproxy.proxy.incoming import ClientLeft, Receive, read_body
from muxproxy.proxy.outbound import Outbound, prepare
from muxproxy.proxy.relay import Relay, Sink
from muxproxy.proxy.reply import relay_for
from muxproxy.proxy.snapshot import Service
from muxproxy.proxy.translating import spoken
from muxproxy.proxy.unread import begin
from muxproxy.upstream import Reply, Request, UpstreamError

if TYPE_CHECKING:
    from muxproxy.proxy import Proxy

Scope = MutableMapping[str, Any]

# Answers that send the call to another candidate, when there is one (RFC 9110, RFC 6585; 529 is
# Anthropic's overloaded_error). The same candidate is not asked again: SDKs retry themselves.
FALL_BACK = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


# Our own refusals that are about one candidate.
_ANOTHER_MAY = frozenset({"budget_exceeded", "unknown_price", "rate_limited"})


class Exchange:
    """One request on its way; lives until it is settled."""

    __slots__ = (
        "accepted_ns",
        "ask",
        "attempts",
        "body",
        "booking",
        "caller",
        "error",
        "fields",
        "left",
        "plan",
        "provider",
        "proxy",
        "receive",
        "relay",
        "reply",
        "route",
        "scope",
        "sent_anything",
        "service",
        "sink",
        "snapshot",
        "status",
        "target",
        "task",
        "upload",
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
        self.relay: Relay | None = None
        self.reply: Reply | None = None
        self.attempts = 0
        self.status = 0
        self.error: MuxError | None = None
        self.left = False
        self.sent_anything = False
        self.task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """The whole road. Never raises."""
        proxy = self.proxy
        task = self.task = asyncio.current_task()
        assert task is not None
        proxy.in_flight.enter(task, self)
        proxy.metrics.in_flight += 1
        try:
            if proxy.in_flight.draining:
                raise MuxError("shutting_down", "muxproxy is shutting down; try again in a moment")
            self.sink.watch(self._pause, self._resume, self._client_left)
            await self._understand()
            await self._serve()
        except MuxError as error:
            self._refuse(error)
        except ClientLeft:
            self.left = True
        except asyncio.CancelledError:
            self._interrupted()
        except Exception:
            proxy.log.exception("an exchange failed", extra={"id": self.booking.public_id})
            self._refuse(MuxError("internal_error", "muxproxy failed; its log says why"))
        finally:
            self._settle()
            proxy.metrics.in_flight -= 1
            proxy.in_flight.leave(task)

    # -- what is asked, and what the rules say ----------------------------------------------

    async def _understand(self) -> None:
        """auth, body, inspection, rules."""
        snapshot, route, scope = self.snapshot, self.route, self.scope
        headers: Headers = scope["headers"]
        self.caller = snapshot.auth.caller(headers, None, scope["query_string"])
        if route.endpoint in words.INSPECTED:
            self.body = await read_body(self.receive, self.proxy.max_body)
            ask = inspect(route, self.body)
        else:
            begun = await begin(self.receive, self.fields)
            self.body, self.upload = begun.body, begun.stream
            ask = begun.ask(route)
        self.ask = ask
        now = time.time()
        self.caller = with_user(self.caller, ask.user)
        self.plan = snapshot.rulebook.decide(
            self.caller,
            ask,
            headers,
            now,
            self.proxy.budgets.view(now),
            all_text,
            self._pinned(),
        )
        if self.plan.deny is not None:
            raise MuxError("denied_by_rule", self.plan.deny)

    def _pinned(self) -> str | None:
        """The provider that /p/NAME or an absolute-form target's host chose."""
        name = self.route.provider or self.provider
        if name is not None and name not in self.snapshot.services:
            raise MuxError("not_found", f"no provider is named {name!r} in the configuration")
        return name

    def _candidates(self, planned: Sequence[Target]) -> list[Target]:
        """Those of `planned` that can answer this caller, in order."""
        assert self.plan is not None and self.ask is not None
        ask, snapshot = self.ask, self.snapshot
        # A provider without its key serves with the caller's own, but only where the caller
        # itself was heading: a key must not be handed to somebody else.
        own = self._pinned() or snapshot.rulebook.home(ask.dialect)
        usable, skipped = [], []
        for target in planned:
            service = snapshot.services[target.provider]
            dialect = spoken(service, ask, snapshot.config.translation)
            if dialect is None:
                skipped.append(f"{target.provider} speaks {service.dialect}")
            elif service.off and (target.provider != own or dialect != ask.dialect):
                skipped.append(f"{target.provider} is off: {service.off} is not set")
            else:
                usable.append(target)
        if not usable:
            why = "; ".join(dict.fromkeys(skipped)) or "no provider is configured"
            off = all(" is off: " in reason for reason in skipped)
            raise MuxError(
                "provider_off" if off else "unsupported_translation",
                f"nothing can answer this {ask.dialect} call: {why}",
            )
        return usable

    # -- the attempt(s) ---------------------------------------------------------------------

    async def _serve(self) -> None:
        """Candidate by candidate until one has answered; then the splice."""
        assert self.ask is not None and self.plan is not None
        if self.ask.endpoint == words.COUNT_TOKENS and counted_here(self):
            return
        waiting = self._candidates(self.plan.candidates)
        failure: MuxError | None = None
        while waiting:
            target = waiting.pop(0)
            service = self.snapshot.services[target.provider]
            try:
                outbound = await self._hold(service, target)
                reply = await self._send(service, outbound)
            except Downgraded as verdict:
                waiting = self._downgraded(verdict)
                failure = verdict.verdict.error
                continue
            except MuxError as error:
                if failure is None or isinstance(error, UpstreamError):
                    failure = error
                if not waiting or not _may_go_on(error) or self.upload is not None:
                    raise failure from None
                continue
            if reply.status in FALL_BACK and waiting and self.upload is None:
                reply.cancel()
                self.booking.attempt_failed(owed=False)
                continue
            await self._splice(service, outbound, reply)
            return
        raise failure or MuxError("internal_error", "no candidate was tried")

    async def _hold(self, service: Service, target: Target) -> Outbound:
        """Reserve over every budget and limit in one step, and journal it."""
        assert self.ask is not None and self.plan is not None
        self.target, self.service = target, service
        self.sent_anything = False
        journaled = self.booking.hold(
            self.caller,
            self.ask,
            self.plan,
            service,
            target,
            self._ceiling(),
            self.scope,
        )
        outbound = prepare(self, service, target)
        if journaled is not None:
            await journaled
        return outbound

    def _downgraded(self, verdict: Downgraded) -> list[Target]:
        """A budget says: go on with the models of its alias."""
        assert self.plan is not None and self.ask is not None
        alias, budget = verdict.verdict.alias, verdict.verdict.budget
        self.plan.chosen = True
        self.plan.alias = alias
        self.plan.reason += f"; budget {budget} is used up: downgraded to {alias}"
        choice = self.snapshot.rulebook.resolve(alias, self.ask)
        return self._candidates(choice.candidates)

    def _ceiling(self) -> int | None:
        """The caller's own limit for this request, nano-dollars."""
        assert self.ask is not None
        value = self.fields.get(b"x-max-budget")
        given: object = value.decode("latin-1") if value is not None else self.ask.max_budget
        if given is None:
            return None
        try:
            return parse_dollars(given)  # type: ignore[arg-type]
        except ValueError as error:
            name = "x-max-budget" if value is not None else "max_budget"
            raise MuxError("invalid_request", f"{name}: {error}") from None

    async def _send(self, service: Service, outbound: Outbound) -> Reply:
        """One attempt, up to the reply's head."""
        self.attempts += 1
        request = Request(
            method=self.scope["method"].encode(),
            target=outbound.target,
            headers=outbound.headers,
            body=self.upload if self.upload is not None else outbound.body,
            length=_length(self.fields) if self.upload is not None else None,
        )
        self.sent_anything = True  # until send() says otherwise
        try:
            self.reply = await self.proxy.upstreams.send(service.origin, request)
        except UpstreamError as error:
            self.sent_anything = error.sent
            self.booking.attempt_failed(owed=error.sent)
            raise
        return self.reply

    async def _splice(self, service: Service, outbound: Outbound, reply: Reply) -> None:
        """Head once, then chunk by chunk: the tap sees, the caller gets."""
        self.status = reply.status
        relay = self.relay = relay_for(self, service, outbound, reply)
        # A stream may last for minutes: it must not keep its request's body alive.
        self.body = outbound.body = b""
        if self.ask is not None:
            self.ask.parts = None
        reply.pump(relay)
        relay.open_stream()
        await relay.wait()
        if relay.error is not None and not relay.started:
            raise relay.error

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
            self._refuse(error)

    def _refuse(self, error: MuxError) -> None:
        """Answer in the caller's dialect, if nothing was answered yet."""
        self.error = error
        self.proxy.metrics.errors[error.code] += 1
        if self.relay is not None and self.relay.started:
            self.relay.stop(words.ERROR, error)
            return
        if self.sink.gone:
            return
        dialect = self.ask.dialect if self.ask is not None else self.route.dialect
        body = dialect_errors.render(dialect, error, self.booking.public_id)
        self.status = error.status
        self.sink.start(
            error.status,
            [
                *dialect_errors.headers(error),
                (b"content-length", b"%d" % len(body)),
                *self.booking.headers(self.plan, self.target),
            ],
        )
        if self.scope["method"] != "HEAD":
            self.sink.write(body)
        self.sink.end()

    def _settle(self) -> None:
        """Usage -> cost -> receipt -> metrics: synchronous, nothing in it to cancel."""
        try:
            self.booking.settle(self)
        except Exception:
            self.proxy.log.exception("settling failed", extra={"id": self.booking.public_id})


_NOBODY = Caller()


def _may_go_on(error: MuxError) -> bool:
    """Whether another candidate may serve where this one failed."""
    return isinstance(error, UpstreamError) or error.code in _ANOTHER_MAY


def _length(fields: dict[bytes, bytes]) -> int | None:
    value = fields.get(b"content-length")
    return int(value) if value is not None and value.isdigit() else None
