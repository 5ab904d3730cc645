"""What would happen to a request, and why: the road itself, walked without sending anything.

The exchange, the rules, the holds and the request upstream are those of live calls. Only their
surroundings differ: nothing is written to the books, holds are given back at once, limits are
looked at and not counted, and nobody is asked upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec
import orjson

from muxproxy.budget import Budgets, Call, Downgrade, Held
from muxproxy.budget.accounts import Counter
from muxproxy.config.dump import MASK
from muxproxy.dialects.paths import classify
from muxproxy.drain import InFlight
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Plan, Target
from muxproxy.headers import SECRET, Headers
from muxproxy.inspection import all_text
from muxproxy.limits import Limits, Ticket
from muxproxy.metrics import Metrics
from muxproxy.money import NANO
from muxproxy.prices import Price
from muxproxy.prices.rates import KINDS
from muxproxy.proxy.booking import Downgraded
from muxproxy.proxy.candidates import downgraded, usable
from muxproxy.proxy.hedging import foreseen
from muxproxy.proxy.learning import exploring
from muxproxy.proxy.outbound import Outbound
from muxproxy.proxy.road import Exchange
from muxproxy.proxy.snapshot import Service

if TYPE_CHECKING:
    from muxproxy.proxy import Proxy

# Members of an Ask that a person may see; never its text.
_ASK = (
    *("dialect", "endpoint", "path", "model", "stream", "tools", "images", "json", "messages"),
    *("prompt_chars", "prompt_tokens", "max_tokens", "n", "user", "body_bytes"),
)
_PLAN = ("rule", "reason", "alias", "strategy", "score", "deny")


class Asked(msgspec.Struct, kw_only=True):
    """A request to explain. `headers` have lower-case names."""

    method: str = "POST"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    body: Any = None  # JSON, or the body itself as text


async def explain(proxy: Proxy, asked: Asked) -> dict[str, Any]:
    """Everything about it, as JSON. Raises MuxError for a path that no request may have."""
    path, _, query = asked.path.partition("?")
    body = asked.body.encode() if isinstance(asked.body, str) else orjson.dumps(asked.body)
    headers: Headers = [
        (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in asked.headers.items()
    ]
    scope = {
        "type": "http",
        "method": asked.method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "extensions": None,
    }
    route = classify(asked.method, path)
    dry = _Dry(proxy)
    exchange = Exchange(dry, scope, _once(body), _NoSink(), route, None, dict(headers), {})  # type: ignore[arg-type]
    return await _Explanation(dry, exchange).whole()


def _once(body: bytes) -> Any:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class _Explanation:
    def __init__(self, dry: _Dry, exchange: Exchange) -> None:
        self._dry = dry
        self._exchange = exchange

    async def whole(self) -> dict[str, Any]:
        exchange = self._exchange
        refused: MuxError | None = None
        try:
            await exchange._understand()
        except MuxError as error:
            refused = error
        caller, plan = exchange.caller, exchange.plan
        found: dict[str, Any] = {
            "caller": {
                "key": caller.key,
                "user": caller.user,
                "team": caller.team,
                "tags": list(caller.tags),
                "run": caller.run,
            },
            "ask": None,
            "rules": [],
            "plan": None,
            "candidates": [],
        }
        if exchange.ask is not None:
            found["ask"] = {name: getattr(exchange.ask, name) for name in _ASK}
            found["rules"] = self._rules(exchange.ask)
        if plan is not None:
            found["plan"] = _plan_json(plan)
            found["plan"]["explore"] = exploring(exchange)[0] if exchange.ask else 0.0
        if refused is None and plan is not None:
            try:
                refused = await self._candidates(plan, found["candidates"])
            except MuxError as error:
                refused = error
        found["outcome"] = _outcome(refused, found["candidates"])
        return found

    def _rules(self, ask: Ask) -> list[dict[str, Any]]:
        exchange, now = self._exchange, self._dry.now
        verdicts = exchange.snapshot.rulebook.explain(
            exchange.caller,
            ask,
            exchange.scope["headers"],
            now,
            self._dry.budgets.view(now),
            all_text,
        )
        shadow = {rule.name for rule in exchange.snapshot.config.rules if rule.shadow}
        return [
            {
                "rule": one.rule,
                "matched": one.matched,
                "reached": one.reached,
                "shadow": one.rule in shadow,
                "why": one.why,
            }
            for one in verdicts
        ]

    async def _candidates(self, plan: Plan, into: list[dict[str, Any]]) -> MuxError | None:
        """Each candidate as the attempts would meet it; why the call would be refused, or None."""
        exchange = self._exchange
        waiting = list(plan.candidates)
        failure: MuxError | None = None
        served = False
        while waiting:
            target = waiting.pop(0)
            entry: dict[str, Any] = {"provider": target.provider, "model": target.model}
            into.append(entry)
            try:
                usable(exchange, [target])
                service = exchange.snapshot.services[target.provider]
                outbound = await exchange.hold(service, target)
            except Downgraded as verdict:
                budget, alias = verdict.verdict.budget, verdict.verdict.alias
                entry["verdict"] = f"budget {budget} is used up: downgrade to {alias}"
                self._describe(entry, target)
                waiting = downgraded(exchange, verdict)
                failure = verdict.verdict.error
            except MuxError as error:
                entry["verdict"] = f"refused: {error.message}"
                entry["code"] = error.code
                self._describe(entry, target)
                failure = failure or error
            else:
                entry["verdict"] = "a fall-back" if served else "would be sent"
                entry["circuit"] = exchange.proxy.health.state(
                    target.provider, exchange.booking.model or ""
                )
                self._describe(entry, target)
                if not served:
                    entry["hedge"] = foreseen(exchange, service, exchange.booking.model or "")
                entry["request"] = _request(exchange, service, outbound)
                served = True
            finally:
                self._give_back()
        return None if served else failure or exchange_failed()

    def _describe(self, entry: dict[str, Any], target: Target) -> None:
        """Price, estimate, budgets and limits as this attempt met them."""
        booking, dry = self._exchange.booking, self._dry
        seen = dry.budgets.call or dry.limits.call
        if seen is None:
            return
        model = target.model if target.model is not None else seen.ask.model
        held = booking.held
        price = held.rate if held is not None else seen.price
        entry["model"] = model
        entry["price"] = None if price is None else _price_json(price)
        estimate = seen.estimate
        entry["estimate"] = {
            "tokens_in": estimate.tokens_in,
            "tokens_out": estimate.tokens_out,
            "cost_usd": None
            if price is None
            else price.ceiling(estimate.tokens_in, estimate.tokens_out) / NANO,
        }
        entry["max_tokens"] = booking.clamp
        entry["budgets"] = [_budget_json(one, held) for one in dry.budgets.counters]
        limits = self._exchange.snapshot.config.limits
        entry["limits"] = [{"name": limit.name, "per": limit.per} for limit in limits]

    def _give_back(self) -> None:
        booking = self._exchange.booking
        if booking.held is not None:
            booking.held.release()
        booking.held = booking.ticket = None
        booking.journaled = False
        self._dry.budgets.call = self._dry.limits.call = None
        self._dry.budgets.counters = []


def exchange_failed() -> MuxError:
    """No candidate at all."""
    return MuxError("model_not_found", "no candidate is left")


def _outcome(refused: MuxError | None, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    if refused is not None:
        return {"status": refused.status, "code": refused.code, "message": refused.message}
    first = next(one for one in candidates if "request" in one)
    return {"status": 200, "provider": first["provider"], "model": first["model"]}


def _plan_json(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(plan, name) for name in _PLAN}
    found["set"] = dict(plan.set)
    found["tags"], found["shadow"] = list(plan.tags), list(plan.shadow)
    found["candidates"] = [
        "/".join(filter(None, (target.provider, target.model))) for target in plan.candidates
    ]
    return found


def _price_json(price: Price) -> dict[str, Any]:
    base = price.tiers[0]
    shown = {kind: getattr(base, kind) / NANO for kind in KINDS if getattr(base, kind)}
    return {"per_million_usd": shown, "free": price.free}


def _budget_json(counter: Counter, held: Held | None) -> dict[str, Any]:
    account = counter.account
    dollars = account.dollars
    scale = NANO if dollars else 1
    needs = None
    taken = 0
    for other, nano, tokens in held.entries if held is not None else ():
        if other is counter:
            needs = taken = nano if dollars else tokens
    return {
        "name": account.name,
        "scope": counter.scope,
        "unit": "usd" if dollars else "tokens",
        "limit": counter.limit / scale,
        "spent": counter.spent / scale,
        "held": (counter.held - taken) / scale,
        "remaining": (counter.remaining + taken) / scale,
        "needs": None if needs is None else needs / scale,
        "shadow": account.shadow,
    }


def _request(exchange: Exchange, service: Service, outbound: Outbound) -> dict[str, Any]:
    """As it would go upstream; what is secret is masked."""
    secret = SECRET | {name for name, _ in service.added}
    origin = urlsplit(service.config.base_url)
    target = outbound.target.decode("latin-1")
    head, mark, query = target.partition("?")
    parts = [f"key={MASK}" if p.startswith("key=") else p for p in query.split("&")]
    try:
        body: Any = orjson.loads(outbound.body) if outbound.body else None
    except orjson.JSONDecodeError:
        body = outbound.body.decode("utf-8", "replace")
    return {
        "method": exchange.scope["method"],
        "url": f"{origin.scheme}://{origin.netloc.rpartition('@')[2]}{head}{mark}{'&'.join(parts)}",
        "headers": {
            name.decode("latin-1"): MASK if name in secret else value.decode("latin-1")
            for name, value in outbound.headers
        },
        "body": body,
        "edits": list(outbound.edits),
    }


# -- surroundings that change nothing ------------------------------------------------------------


class _Dry:
    """What an Exchange needs of a Proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.snapshot = proxy.snapshot
        self.upstreams = _NoUpstreams()
        self.ledger = _NoBooks(proxy.ledger.next_id())
        self.dry = True
        self.now = self.ledger.id / (1 << 20) / 1000
        self.budgets = _PeekingBudgets(proxy.budgets)
        self.limits = _PeekingLimits(proxy.limits)
        self.headroom = proxy.headroom
        self.health = proxy.health
        self.conversations = proxy.conversations
        self.examples = proxy.examples
        self.bodies = proxy.bodies
        self.counter = proxy.counter
        self.metrics = Metrics()
        self.in_flight = InFlight()
        self.log = proxy.log
        self.max_body = proxy.max_body
        self.passes_without_ledger = True

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"explain has no {name}")


class _NoBooks:
    def __init__(self, id: int) -> None:
        self.id = id

    def next_id(self) -> int:
        return self.id

    def hold(self, hold: object) -> Awaitable[None] | None:
        del hold
        return None


class _NoUpstreams:
    async def send(self, *given: object) -> NoReturn:
        del given
        raise MuxError("not_implemented", "this depends on an answer, and explain sends nothing")


class _PeekingBudgets:
    """Holds for real, so that nothing is decided twice; tells nobody, and remembers what it saw."""

    def __init__(self, real: Budgets) -> None:
        self._real = real
        self.outputs = real.outputs
        self.guard = None  # it counts what is asked, and this asks nothing
        self.call: Call | None = None
        self.counters: list[Counter] = []

    def view(self, now: float) -> Any:
        return self._real.view(now)

    def hold(self, call: Call, now: float) -> Held | Downgrade:
        self.call = call
        self.counters = self._real.covering(call, now)
        told = [counter.told for counter in self.counters]
        for counter in self.counters:
            counter.told = True
        try:
            return self._real.hold(call, now)
        finally:
            for counter, before in zip(self.counters, told, strict=True):
                counter.told = before


class _PeekingLimits:
    def __init__(self, real: Limits) -> None:
        self._real = real
        self.call: Call | None = None

    def admit(self, call: Call, now: float) -> Ticket:
        self.call = call
        self._real.peek(call, now)
        return Ticket(self._real)


class _NoSink:
    gone = False

    def whole_body(self) -> None:
        """It is received."""

    def watch(self, *given: object) -> None:
        """Nobody waits for an answer."""
