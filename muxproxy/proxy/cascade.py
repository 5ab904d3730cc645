"""The cheap candidates first; their answer is held back and judged; if it falls short, on to the
strong ones.

Each step is a call of its own: held, metered and settled, with its own line in the books. The last
one has the id that the caller sees; `x-muxproxy-cascade` and the reason name the others. A caller
that leaves ends whichever step is under way. When the strong ones fail, the cheap answer goes out
after all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from muxproxy import exchange as words
from muxproxy.config.strategies import Strategy
from muxproxy.dialects.translators import translator
from muxproxy.errors import MuxError, untraced
from muxproxy.exchange import Ask, Target
from muxproxy.headers import Headers
from muxproxy.money import dollars
from muxproxy.proxy import attempts
from muxproxy.proxy.booking import Booking
from muxproxy.proxy.holding import Held
from muxproxy.proxy.judging import opinion
from muxproxy.proxy.learning import Judged
from muxproxy.proxy.names import header_value
from muxproxy.proxy.reply import add_metadata
from muxproxy.proxy.wishes import GOOD, cascade_of
from muxproxy.routing.judges import STRICT, Said, Wanted, agree, fault, sure_at

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

_DISAGREES = "disagrees"
_COPY = 256 << 10  # bytes of a strong answer that are looked at
# Who a step is, in router_metadata.
_CHEAP, _SECOND, _JUDGE, _STRONG = "cheap", "second opinion", "judge", "strong"


class _Line(msgspec.Struct):
    """What is told of one step. `score` is a judge's rating, 0..1."""

    role: str
    target: Target | None
    booking: Booking
    verdict: str
    score: float | None = None

    @property
    def name(self) -> str:
        """As the header has it."""
        target = self.target
        return "-" if target is None else f"{target.provider}/{self.booking.model or '-'}"

    @property
    def cost(self) -> int | None:
        """Nano-dollars; None: not known."""
        booking = self.booking
        if not booking.settled:
            return booking.cost_now()
        return None if booking.price is None and booking.held is not None else booking.settled_nano

    def told(self) -> dict[str, Any]:
        """As router_metadata has it."""
        found = {
            "role": self.role,
            "provider": None if self.target is None else self.target.provider,
            "model": self.booking.model,
            "verdict": self.verdict,
            "cost": dollars(self.cost),
        }
        return found if self.score is None else {**found, "score": self.score}


class _Step:
    """One call that was made, with what is needed to make it the last after all."""

    def __init__(self, x: Exchange, held: Held) -> None:
        self.held = held
        self.booking = x.booking
        self.target, self.relay, self.reply = x.target, x.relay, x.reply
        self.status, self.error = x.status, x.error

    def be_last(self, x: Exchange) -> None:
        """Its answer goes to the caller."""
        x.booking = self.booking
        x.target, x.relay, x.reply, x.status = self.target, self.relay, self.reply, self.status


class Cascade:
    """The steps of one request."""

    def __init__(self, x: Exchange) -> None:
        assert x.plan is not None and x.ask is not None
        self._x = x
        self._plan, self._ask = x.plan, x.ask
        self._sink = x.sink
        self._body, self._parts = x.body, x.ask.parts
        self._reason = x.plan.reason
        self._lines: list[_Line] = []
        spec = x.plan.spec
        assert isinstance(spec, Strategy)
        self._spec = spec
        self._bar = bar(x.ask)
        self._wanted = wanted(x)
        self.judged: Judged | None = None  # the first answer
        self._gate: Held | None = None  # between the step under way and the caller
        x.cascade = self

    async def run(self) -> None:
        """Serve the request. Raises MuxError."""
        x = self._x
        try:
            await self._steps()
        except asyncio.CancelledError:
            if self._gate is not None and not self._gate.opened and not x.left:
                # We are stopping, and the caller has nothing yet: the road answers.
                if x.relay is not None:
                    x.relay.stop(words.ERROR)
                x.relay = None
            raise

    async def _steps(self) -> None:
        x, plan = self._x, self._plan
        candidates, judged = plan.candidates, plan.judged
        # An answer let go by its beginning teaches nothing: whoever explores waits for the end.
        first = await self._held(candidates[:judged], None if plan.explored else self._spec.hold)
        if x.left or first.held.opened:
            return
        line = self._line(_CHEAP, first)
        why = self._fault(first)
        known = _answered(first) and self._bar == GOOD  # by another bar it is nobody else's label
        if why is None and self._spec.judge is not None and self._bar > 0:
            why = await self._rated(self._spec.judge, line, first)
            known = known and line.score is not None
        if why is None and self._spec.agree is not None and self._bar >= STRICT:
            why = await self._second(first, self._spec.agree)
            if x.left:
                return
            known = known and why in (None, _DISAGREES)
        line.verdict = why or "kept"
        self.judged = Judged(why is None if known else None, first.booking)
        if why is None:
            self._out(first)
            return
        if not x.booking.settled:
            self._close(why)
        await self._strong(first, candidates[judged:])

    async def _held(self, candidates: tuple[Target, ...], hold: int | None) -> _Step:
        """One call whose answer stays here."""
        x, plan = self._x, self._plan
        held = Held(self._sink, self._ask, self._wanted, self._spec.judges, hold)
        x.sink = self._gate = held
        plan.candidates = candidates
        x.error = None
        try:
            await attempts.serve(x)
        except MuxError as error:
            if x.left:
                raise
            untraced(error)
            x.error = error
            held.failed = error.code
        finally:
            x.sink = self._sink
        return _Step(x, held)

    def _fault(self, step: _Step) -> str | None:
        held = step.held
        if held.failed is not None:
            return held.failed
        if step.status >= 400 or not held.ended:
            return f"status {step.status}" if step.status >= 400 else "it broke off"
        return fault(held.said(), self._wanted, self._spec.judges)

    async def _rated(self, judge: str, line: _Line, first: _Step) -> str | None:
        """What a model has against the answer; None: nothing, or there is no opinion to be had."""
        found = await opinion(self._x, judge, first.held.said())
        self._lines.append(_Line(_JUDGE, found.target, found.booking, found.about, found.score))
        line.score = found.score
        if found.score is None or found.score >= self._bar:
            return None
        return f"judged {found.score:.1f}"

    async def _second(self, first: _Step, name: str) -> str | None:
        """A second cheap opinion: None where it is the same."""
        x = self._x
        target = x.snapshot.rulebook.resolve(name, self._ask).candidates
        self._close("second opinion asked")
        self._again()
        second = await self._held(target, None)
        if x.left:
            return None
        wrong = self._fault(second)
        if wrong is not None:
            why = f"no second opinion ({wrong})"
        elif agree(first.held.said(), second.held.said()):
            why = "agrees"
        else:
            why = _DISAGREES
        self._line(_SECOND, second).verdict = why
        self._close(f"second opinion: {why}")
        if why != "agrees":
            return why
        first.be_last(x)
        return None

    async def _strong(self, first: _Step, candidates: tuple[Target, ...]) -> None:
        x = self._x
        self._again()
        self._plan.candidates = candidates
        self._plan.reason = f"{self._reason}; cascade: {self._told()}"
        x.extra = [*x.extra, self._header("strong: asked")]
        usable = first.held.ended and first.held.failed is None and first.status < 400
        if not usable:
            self._gate = None
            await self._last(first)
            return
        weighed = self._plan.weighed and self._spec.judge is not None and self._bar == GOOD
        copy = _COPY if self._plan.learning is not None else 0
        gate = Held(self._sink, self._ask, self._wanted, good_passes=not weighed, copy=copy)
        x.sink = self._gate = gate
        try:
            await attempts.serve(x)
            why = f"status {x.status}"
        except MuxError as error:
            if x.left or gate.opened:
                raise
            untraced(error)
            x.error, why = error, error.code
        finally:
            x.sink = self._sink
        if gate.opened or x.left:
            if gate.copied and self._spec.judge is None:
                self._compare(first, gate.said())
            return
        strong = _Step(x, gate)
        if gate.ended and x.status < 400:
            await self._weigh(first, strong)
            return
        self._lines.append(_Line(_STRONG, x.target, x.booking, why))
        self._close(why)
        x.error = None
        first.be_last(x)
        self._out(first)

    async def _weigh(self, first: _Step, strong: _Step) -> None:
        """Have the strong answer rated before it goes out: hard questions beat both models."""
        assert self._spec.judge is not None
        line = self._line(_STRONG, strong)
        why = await self._rated(self._spec.judge, line, strong)
        if self._x.left:
            return
        if line.score is not None:
            self._compare(first, strong.held.said(), why)
        self._plan.reason = f"{self._reason}; cascade: {self._told()}"
        strong.held.release(self._tell_body)

    def _compare(self, first: _Step, strong: Said, why: str | None = None) -> None:
        """Note whether the strong answer was worth asking for; it is nobody else's business."""
        if self.judged is None or self.judged.enough is not False or strong.finish == "error":
            return
        why = why or fault(strong, self._wanted, self._spec.judges)
        self.judged.better = why is None and not agree(first.held.said(), strong)

    async def _last(self, first: _Step) -> None:
        """Ask the strong ones where there is nothing to go back to."""
        try:
            await attempts.serve(self._x)
        except MuxError as error:
            # Where no step fits, the one that needs the least says so.
            if first.error is not None and first.error.code == error.code == "budget_exceeded":
                raise first.error from None
            raise

    # -- the books --------------------------------------------------------------------------

    def _close(self, why: str) -> None:
        """Settle the step under way as a call of its own."""
        x = self._x
        self._plan.reason = f"{self._reason}; cascade: {why}"
        x.settle_step()

    def _again(self) -> None:
        """Make ready for another call of the same request."""
        x, ask = self._x, self._ask
        spent = x.booking.settled_nano
        if spent:
            x.spent_nano += spent
        x.booking = Booking(x.proxy)
        x.relay = x.reply = x.target = x.service = x.error = None
        x.attempts = x.status = 0
        x.sent_anything = False
        x.told = []
        x.body, ask.parts = self._body, self._parts

    # -- what the caller is told ------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """Every step so far with its verdict, its cost in dollars and a judge's score 0..1."""
        x, lines = self._x, self._lines
        if all(line.booking is not x.booking for line in lines):
            lines = [*lines, _Line(_STRONG, x.target, x.booking, "kept")]
        wish = cascade_of(self._ask)
        costs = [line.cost for line in lines]
        return {
            "cascade_type": None if wish is None else wish.kind,
            "quality_threshold": self._bar,
            "max_budget": None if wish is None else dollars(wish.max_budget),
            "steps": [line.told() for line in lines],
            "total_cost": None if None in costs else dollars(sum(c for c in costs if c)),
        }

    def _line(self, role: str, step: _Step) -> _Line:
        line = _Line(role, step.target, step.booking, "kept")
        self._lines.append(line)
        return line

    def _told(self, *more: str) -> str:
        lines = [line for line in self._lines if line.role != _JUDGE]
        told = [f"{_STRONG if n.role == _STRONG else n.name}: {n.verdict}" for n in lines]
        return ", ".join((*told, *more))

    def _header(self, *more: str) -> tuple[bytes, bytes]:
        return (b"x-muxproxy-cascade", header_value(self._told(*more)))

    def _out(self, step: _Step) -> None:
        self._plan.reason = f"{self._reason}; cascade: {self._told()}"
        step.held.release(self._tell_body, self._header())

    def _tell_body(self, status: int, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        """The steps, where router_metadata stands already."""
        if "router_metadata" not in self._x.booking.edits:
            return status, headers, body
        return add_metadata(self._x, status, headers, body)


def _answered(step: _Step) -> bool:
    """Whether there is an answer to judge, and no failure in its place."""
    held = step.held
    came = held.failed is None and held.ended and step.status < 400
    return came and held.said().finish != "error"


async def serve(x: Exchange) -> None:
    """As attempts.serve, with the first candidates judged. Raises MuxError."""
    if x.terms is not None and x.terms.cache is not None:
        await attempts.serve(x)  # an answer that is judged must not be given again to others
        return
    await Cascade(x).run()


def wanted(x: Exchange) -> Wanted:
    """What the request asks of its answer."""
    ask = x.ask
    assert ask is not None
    least, wish = bar(ask), cascade_of(ask)
    sure = sure_at(least) if wish is None or wish.sure is None else wish.sure
    found = Wanted(json=ask.json, strict=least >= STRICT, sure=sure)
    if not (ask.json or ask.tools) or ask.endpoint not in words.GENERATING:
        return found
    try:
        request = translator(ask.dialect).read_request(x.body, ask.model, ask.stream)
    except (MuxError, ValueError):
        return Wanted(strict=found.strict, sure=sure)
    if request.format is not None:
        found.schema = request.format.schema
    found.tools = {tool.name: None if tool.custom else tool.schema for tool in request.tools}
    return found


def bar(ask: Ask) -> float:
    """How good a cheap answer must be, 0..1."""
    wish = cascade_of(ask)
    return GOOD if wish is None else wish.bar
