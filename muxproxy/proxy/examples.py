"""Routing by example prompts (`examples:` of a semantic alias), before the candidates are asked.

The prompt's embedding is a call of its own beside the exchange: held, metered and settled, with
its own line in the books; a caller that leaves ends it. The examples themselves are embedded once,
in a call that the first prompt starts (in its caller's name) and that outlives it, as all later
ones need it. Whatever goes wrong or takes too long, the plan stays as the classifier made it, and
says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from muxproxy import exchange as words
from muxproxy.config.model import Config
from muxproxy.config.strategies import Examples as Spec
from muxproxy.config.strategies import Strategy
from muxproxy.config.units import duration
from muxproxy.dialects.paths import classify
from muxproxy.errors import MuxError
from muxproxy.exchange import Plan, Target
from muxproxy.headers import Headers
from muxproxy.inspection import inspect
from muxproxy.proxy import attempts
from muxproxy.proxy.health import OPEN
from muxproxy.proxy.sticky import settled
from muxproxy.proxy.vectors_file import VectorsFile
from muxproxy.routing.features import bounded
from muxproxy.routing.nearest import BadVectors, Likeness, Route, Vector, nearest, read_answer

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

_BATCH = 100  # texts in one call; Gemini takes no more
_PATIENCE = 30.0  # seconds for each call that embeds examples
_AGAIN = 10.0  # seconds until examples that could not be embedded are tried again

# Refusals of one caller: another may pay for it.
_ONES_OWN = frozenset({"budget_exceeded", "rate_limited", "forbidden"})


_Given = TypeVar("_Given")


class _Prepared:
    """One alias's examples."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.target = Target(*spec.embeddings.split("/", 1))
        suffix = "" if spec.dimensions is None else f"@{spec.dimensions}"
        self.place = spec.embeddings + suffix
        self.timeout = duration(spec.timeout)
        self.routes: tuple[Route, ...] | None = None
        self.task: asyncio.Task[str | None] | None = None  # embeds them; ends with what went wrong
        self.not_before = 0.0
        self.why = ""

    def load(self, file: VectorsFile) -> list[str]:
        """Take what is in the file; the texts that are not."""
        found = {t: file.get(self.place, t) for r in self.spec.routes for t in r.utterances}
        missing = [text for text, vector in found.items() if vector is None]
        if not missing:
            self.routes = tuple(
                Route(r.to, tuple(v for t in r.utterances if (v := found[t]) is not None))
                for r in self.spec.routes
            )
        return missing


class Examples:
    """The examples of the configuration in force, and the file of embeddings beside the `ledger`
    ("": there is none). One per process."""

    def __init__(self, ledger: str) -> None:
        self.file = VectorsFile(f"{ledger}.vectors" if ledger else "")
        self._prepared: dict[int, _Prepared] = {}

    def adopt(self, config: Config) -> None:
        """Prepared anew, from the file, for the aliases of this configuration."""
        specs = [s.examples for s in config.models.values() if isinstance(s, Strategy)]
        self._prepared = {id(s): _Prepared(s) for s in specs if s is not None}

    def of(self, spec: Spec) -> _Prepared:
        """Those of an alias."""
        found = self._prepared.get(id(spec))
        # An exchange that began before a reload: it has its own, for this once.
        return found if found is not None and found.spec is spec else _Prepared(spec)

    def close(self) -> None:
        """No more."""
        self.file.close()


async def choose(x: Exchange) -> None:
    """Put the candidates of the most similar route first. Never fails a call."""
    plan, ask = x.plan, x.ask
    assert plan is not None and ask is not None
    strategy = plan.spec
    if not isinstance(strategy, Strategy) or strategy.examples is None:
        return
    if ask.endpoint not in words.GENERATING or settled(x):
        return
    examples = x.proxy.examples.of(strategy.examples)
    try:
        async with asyncio.timeout(examples.timeout):
            found, why = await _likeness(x, examples), "less similar than the threshold"
    except TimeoutError:
        found, why = None, "embeddings are slow"
    except BadVectors as error:
        found, why = None, str(error)
    if found is not None:
        figure = f"{found.similarity:.2f}"
        if found.similarity >= examples.spec.threshold:
            _take(x, found, figure)
            x.proxy.metrics.examples["chosen"] += 1
            return
        x.proxy.metrics.examples[why] += 1
        why = f"nearest {found.name} {figure} < {examples.spec.threshold:g}"
    else:
        x.proxy.metrics.examples[why] += 1
    plan.reason += f"; examples: {why}, so the classifier decided"


def _take(x: Exchange, found: Likeness, figure: str) -> None:
    """Only the order changes: what the caller may use was decided before."""
    plan, ask = x.plan, x.ask
    assert plan is not None and ask is not None
    wanted = x.snapshot.rulebook.resolve(found.name, ask).candidates
    first = tuple(t for t in wanted if t in plan.candidates)
    plan.candidates = (*first, *(t for t in plan.candidates if t not in first))
    second = "" if found.second is None else f", next {found.second:.2f}"
    plan.reason += f"; examples: like {found.name}, similarity {figure}{second}"


async def _likeness(x: Exchange, examples: _Prepared) -> Likeness:
    assert x.ask is not None
    text = bounded(x.ask.text).strip()
    if not text:
        raise BadVectors("no text")
    file, spec = x.proxy.examples.file, examples.spec
    if examples.routes is None:
        await _waited(x, _prepare(x, examples))
    assert examples.routes is not None
    vector = file.get(examples.place, text)
    if vector is None:
        if x.proxy.dry:
            raise BadVectors("a provider would be asked")
        _refuse_open(x, examples)
        side = _side(x, examples, [text], f"embeds the prompt of {x.booking.public_id}", True)
        try:
            (vector,) = await _waited(x, _ask(side, 1))
        finally:
            x.spent_nano += side.booking.settled_nano
        if spec.prompts:
            file.put(examples.place, text, vector, most=spec.prompts)
    return nearest(vector, examples.routes, spec.nearest)


async def _waited(x: Exchange, answer: Coroutine[Any, Any, _Given]) -> _Given:
    """As `answer`; the time it takes is not muxproxy's own."""
    began = perf_counter_ns()
    try:
        return await answer
    finally:
        x.waited_ns += perf_counter_ns() - began


def _refuse_open(x: Exchange, examples: _Prepared) -> None:
    if x.proxy.health.state(examples.target.provider, examples.target.model or "") == OPEN:
        raise BadVectors("circuit open")


# -- the examples themselves ------------------------------------------------------------------


async def _prepare(x: Exchange, examples: _Prepared) -> None:
    """Have the examples embedded, by one call for all who wait. Raises BadVectors."""
    if examples.task is None:
        if examples.not_before > time.monotonic():
            raise BadVectors(examples.why)
        missing = examples.load(x.proxy.examples.file)
        if not missing:
            return
        if x.proxy.dry:
            raise BadVectors("a provider would be asked")
        _refuse_open(x, examples)
        examples.task = asyncio.create_task(_embed(x, examples, missing))
    why = await asyncio.shield(examples.task)
    if why is not None:
        raise BadVectors(why)


async def _embed(x: Exchange, examples: _Prepared, missing: list[str]) -> str | None:
    """Embed and keep them; what went wrong, or None. Not ended by the caller that began it."""
    proxy, task = x.proxy, asyncio.current_task()
    assert task is not None
    why: str | None = "shutting down"
    try:
        for at in range(0, len(missing), _BATCH):
            texts = missing[at : at + _BATCH]
            reason = f"embeds {len(texts)} examples, first needed by {x.booking.public_id}"
            side = _side(x, examples, texts, reason, False)
            side.task = task
            proxy.in_flight.enter(task, side)
            try:
                async with asyncio.timeout(_PATIENCE):
                    vectors = await _ask(side, len(texts))
            finally:
                proxy.in_flight.leave(task)
            for text, vector in zip(texts, vectors, strict=True):
                proxy.examples.file.put(examples.place, text, vector)
        why = "embeddings cannot be kept" if examples.load(proxy.examples.file) else None
    except BadVectors as error:
        why = str(error)
    except TimeoutError:
        why = "embeddings are slow"
    except Exception:
        why = "internal_error"
        proxy.log.exception("embedding examples failed")
    finally:
        examples.task = None
        if why is not None and why not in _ONES_OWN:
            examples.why, examples.not_before = why, time.monotonic() + _AGAIN
    return why


# -- one call ---------------------------------------------------------------------------------


class _Sink:
    """Takes the answer. `gone`: whether it is wanted no more."""

    def __init__(self, caller: Callable[[], bool]) -> None:
        self._caller = caller
        self.body: list[bytes] = []
        self.ended = False

    @property
    def gone(self) -> bool:
        return self._caller()

    def whole_body(self) -> bytes | None:
        """The request was read."""
        return None

    def watch(self, *given: object) -> None:
        """The exchange watches the caller itself."""

    def start(self, status: int, headers: Headers) -> None:
        """The exchange has the status."""

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        self.body.append(data)

    def flush(self) -> None:
        """It goes nowhere."""

    def end(self) -> None:
        """It is complete."""
        self.ended = True

    def abort(self) -> None:
        """It broke."""


def _side(x: Exchange, examples: _Prepared, texts: list[str], reason: str, ends: bool) -> Exchange:
    """A call beside `x`, in its caller's name; `ends`: when that one leaves."""
    route = classify("POST", "/v1/embeddings")
    model, dimensions = examples.target.model, examples.spec.dimensions
    more = {} if dimensions is None else {"dimensions": dimensions}
    body = msgspec.json.encode({"model": model, "input": texts, **more})
    scope = {**x.scope, "method": "POST", "path": route.path, "raw_path": route.path.encode()}
    fields = {b"content-type": b"application/json"}
    scope |= {"query_string": b"", "headers": list(fields.items()), "extensions": None}
    sink = _Sink((lambda: x.sink.gone) if ends else (lambda: False))
    side = type(x)(x.proxy, scope, x.receive, sink, route, None, fields, {})
    side.caller, side.ask, side.body, side.task = x.caller, inspect(route, body), body, x.task
    side.left = x.left and ends
    side.plan = Plan(
        candidates=(examples.target,),
        rule=None if x.plan is None else x.plan.rule,
        reason=reason,
        chosen=True,
        tags=() if x.plan is None else x.plan.tags,
    )
    return side


async def _ask(side: Exchange, count: int) -> list[Vector]:
    """The vectors of its texts; settled whatever happens. Raises BadVectors."""
    sink = side.sink
    assert isinstance(sink, _Sink)
    try:
        await attempts.serve(side)
    except MuxError as error:
        side.error = error
        raise BadVectors(error.code) from None
    except asyncio.CancelledError:
        side.left = sink.gone
        if not side.left:
            side.error = MuxError("upstream_timeout", "the embeddings took too long")
        raise
    finally:
        if side.relay is not None:
            side.relay.stop(words.CLIENT_LEFT if side.left else words.ERROR)
        side.settle_step()
        side.let_go()
    if side.status != 200 or not sink.ended:
        raise BadVectors(f"status {side.status}" if side.status >= 400 else "it broke off")
    return read_answer(b"".join(sink.body), count)
