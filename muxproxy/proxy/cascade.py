"""The cheap candidates first; their answer is held back and judged; if it falls short, on to the
strong ones.

Each step is a call of its own: held, metered and settled, with its own line in the books. The last
one has the id that the caller sees; `x-muxproxy-cascade` and the reason name the others. A caller
that leaves ends whichever step is under way. When the strong ones fail, the cheap answer goes out
after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.config.strategies import Strategy
from muxproxy.dialects.translators import translator
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Target
from muxproxy.proxy import attempts
from muxproxy.proxy.booking import Booking
from muxproxy.proxy.holding import Held
from muxproxy.proxy.judging import opinion
from muxproxy.proxy.names import header_value
from muxproxy.routing.judges import Wanted, agree, fault

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


class _Step:
    """One call that was made, with what is needed to make it the last after all."""

    def __init__(self, x: Exchange, held: Held) -> None:
        self.held = held
        self.booking = x.booking
        self.target, self.relay, self.reply = x.target, x.relay, x.reply
        self.status = x.status

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
        self._told: list[str] = []
        spec = x.plan.spec
        assert isinstance(spec, Strategy)
        self._spec = spec
        self._wanted = wanted(x)

    async def run(self) -> None:
        """Serve the request. Raises MuxError."""
        x, plan = self._x, self._plan
        candidates, judged = plan.candidates, plan.judged
        first = await self._held(candidates[:judged], self._spec.hold)
        if x.left or first.held.opened:
            return
        why = self._fault(first)
        if why is None and self._spec.judge is not None:
            why = await opinion(x, self._spec.judge, first.held.said())
        if why is None and self._spec.agree is not None:
            why = await self._second(first)
            if x.left or why is None:
                return
        if why is None:
            self._tell(first, "kept")
            self._out(first)
            return
        self._tell(first, why)
        if not x.booking.settled:
            self._close(why)
        await self._strong(first, candidates[judged:])

    async def _held(self, candidates: tuple[Target, ...], hold: int | None) -> _Step:
        """One call whose answer stays here."""
        x, plan = self._x, self._plan
        held = Held(self._sink, self._ask, self._wanted, self._spec.judges, hold)
        x.sink = held
        plan.candidates = candidates
        x.error = None
        try:
            await attempts.serve(x)
        except MuxError as error:
            if x.left:
                raise
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

    async def _second(self, first: _Step) -> str | None:
        """A second cheap opinion: None where it is the same, and the first went out."""
        x = self._x
        assert self._spec.agree is not None
        target = x.snapshot.rulebook.resolve(self._spec.agree, self._ask).candidates
        self._close("second opinion asked")
        self._again()
        second = await self._held(target, None)
        if x.left:
            return None
        if self._fault(second) is not None:
            why = f"no second opinion ({self._fault(second)})"
        elif agree(first.held.said(), second.held.said()):
            why = "agrees"
        else:
            why = "disagrees"
        self._tell(second, why)
        self._close(f"second opinion: {why}")
        if why != "agrees":
            return why
        first.be_last(x)
        self._told[-1:] = []
        self._tell(first, "kept")
        self._tell(second, why)
        self._out(first)
        return None

    async def _strong(self, first: _Step, candidates: tuple[Target, ...]) -> None:
        x = self._x
        self._again()
        self._plan.candidates = candidates
        self._plan.reason = f"{self._reason}; cascade: {', '.join(self._told)}"
        x.extra = [*x.extra, self._header("strong: asked")]
        usable = first.held.ended and first.held.failed is None and first.status < 400
        if not usable:
            await attempts.serve(x)
            return
        gate = Held(self._sink, self._ask, self._wanted, good_passes=True)
        x.sink = gate
        try:
            await attempts.serve(x)
            why = f"status {x.status}"
        except MuxError as error:
            if x.left or gate.opened:
                raise
            x.error, why = error, error.code
        finally:
            x.sink = self._sink
        if gate.opened or x.left:
            return
        self._told.append(f"strong: {why}")
        self._close(why)
        x.error = None
        first.be_last(x)
        self._out(first)

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

    def _tell(self, step: _Step, verdict: str) -> None:
        target = step.target
        name = "-" if target is None else f"{target.provider}/{step.booking.model or '-'}"
        self._told.append(f"{name}: {verdict}")

    def _header(self, *more: str) -> tuple[bytes, bytes]:
        return (b"x-muxproxy-cascade", header_value(", ".join((*self._told, *more))))

    def _out(self, step: _Step) -> None:
        self._plan.reason = f"{self._reason}; cascade: {', '.join(self._told)}"
        step.held.release(self._header())


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
    found = Wanted(json=ask.json, strict=_strict(ask))
    if not (ask.json or ask.tools) or ask.endpoint not in words.GENERATING:
        return found
    try:
        request = translator(ask.dialect).read_request(x.body, ask.model, ask.stream)
    except (MuxError, ValueError):
        return Wanted(strict=found.strict)
    if request.format is not None:
        found.schema = request.format.schema
    found.tools = {tool.name: None if tool.custom else tool.schema for tool in request.tools}
    return found


def _strict(ask: Ask) -> bool:
    """`cascade_config.quality_threshold` below 0.5: doubts in an answer are let pass."""
    config = ask.cascade_config
    value = config.get("quality_threshold") if isinstance(config, dict) else None
    return not isinstance(value, int | float) or value >= 0.5
