"""The fault matrix: each fault of the provider, in every dialect, as JSON and as a stream.

Once with one candidate and once through an alias whose second candidate is sound. The caller gets
the right answer or a right error in its dialect, never a clean end of a broken body; the books
balance; no task, connection or descriptor is left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from muxproxy.exchange import Receipt
from muxproxy.sim.server import start
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, nothing_left, sums, without_vocabularies

# `bad` and `good` are the models; x-sim-for strikes the bad one only.
PROVIDERS = """
  ofirst:  {dialect: openai,    base_url: "SIM/v1", api_key: k1, timeouts: {TIMES}}
  osecond: {dialect: openai,    base_url: "SIM/v1", api_key: k2}
  afirst:  {dialect: anthropic, base_url: "SIM",    api_key: k1, timeouts: {TIMES}}
  asecond: {dialect: anthropic, base_url: "SIM",    api_key: k2}
  gfirst:  {dialect: gemini,    base_url: "SIM",    api_key: k1, timeouts: {TIMES}}
  gsecond: {dialect: gemini,    base_url: "SIM",    api_key: k2}
"""
PATIENT = "idle: 20s, first_byte: 20s"
BRIEF = "idle: 250ms, first_byte: 250ms"
YAML = """
translation: off
models:
  pair: [ofirst/bad, osecond/good, afirst/bad, asecond/good, gfirst/bad, gsecond/good]
prices:
  "*": {input: 1, output: 2}
budgets:
  - {name: worst, limit: $1000, hold: worst, window: month}
  - {name: expected, per: model, limit: $1000, window: month}
  - {name: tokens, per: provider, limit: 900M tokens, window: month}
"""
INPUT, OUTPUT = 1000, 2000  # nano-dollars per token at those prices
USER = {"role": "user", "content": "Tell me a story"}
TOKENS = 12

# Answers that another candidate may better (issue 5, point 1).
ELSEWHERE = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass(frozen=True)
class Shape:
    """One way to ask."""

    dialect: str
    stream: bool
    path: str
    body: dict[str, Any]
    terminal: bytes = b""  # the stream's own end marker

    def asking(self, model: str) -> tuple[str, dict[str, Any]]:
        """(path, body) for that model."""
        if self.dialect == "gemini":
            return self.path.replace("MODEL", model), self.body
        return self.path, {**self.body, "model": model}


CHAT: dict[str, Any] = {"messages": [USER], "max_tokens": TOKENS}
CHAT_STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
RESPOND: dict[str, Any] = {"input": "Tell me a story", "max_output_tokens": TOKENS}
GENERATE: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}],
    "generationConfig": {"maxOutputTokens": TOKENS},
}
GEMINI = "/v1beta/models/MODEL:"
ANSWERS = (
    Shape("chat", False, "/v1/chat/completions", CHAT),
    Shape("responses", False, "/v1/responses", RESPOND),
    Shape("anthropic", False, "/v1/messages", CHAT),
    Shape("gemini", False, GEMINI + "generateContent", GENERATE),
)
STREAMS = (
    Shape("chat", True, "/v1/chat/completions", CHAT_STREAM, b"[DONE]"),
    Shape("responses", True, "/v1/responses", {**RESPOND, "stream": True}, b"response.incomplete"),
    Shape("anthropic", True, "/v1/messages", {**CHAT, "stream": True}, b"message_stop"),
    Shape("gemini", True, GEMINI + "streamGenerateContent?alt=sse", GENERATE, b"finishReason"),
)

# What becomes of an answer: as the provider sent it | cut after some of it | nothing to relay.
SAME, CUT, NONE = "same", "cut", "none"


@dataclass(frozen=True)
class Fault:
    """The simulator's options, and what a JSON answer and a stream come to."""

    options: str
    json: str = SAME
    stream: str = SAME
    code: str = ""  # ours, where the answer is cut or none
    status: int = 200
    at_once: bool = False  # it shows in the body's first bytes
    owes: bool = False  # ... and the attempt may have cost something nevertheless
    amid: bool = False  # ... of a JSON answer; a stream has begun by then

    @property
    def headers(self) -> dict[str, str]:
        """As the simulator reads them."""
        pairs = [option.partition("=") for option in self.options.split()]
        return {f"x-sim-{name}": value for name, _, value in pairs}

    @property
    def sound(self) -> dict[str, str]:
        """The same without what breaks the answer."""
        kept = ("x-sim-gzip", "x-sim-chunked")
        return {name: value for name, value in self.headers.items() if name in kept}

    def moves_on(self, *, stream: bool) -> bool:
        """Whether a second candidate is asked."""
        if self.status in ELSEWHERE or (self.json == NONE and self.stream == NONE):
            return True
        return self.at_once or (self.amid and not stream)


DIED, LATE, BROKEN = "upstream_died", "upstream_timeout", "upstream_protocol"
STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 504, 529)
FAULTS = {
    **{f"status {n}": Fault(f"status={n}", status=n) for n in STATUSES},
    "429 with retry-after": Fault("status=429 retry-after=7", status=429),
    "dropped before the head": Fault("drop-after=0", NONE, NONE, DIED),
    "reset before the head": Fault("reset-after=0", NONE, NONE, DIED),
    "silent before the head": Fault("hang-after=0", NONE, NONE, LATE),
    "no HTTP": Fault("garbage=head", NONE, NONE, BROKEN),
    "dropped after the head": Fault("drop-after=head", NONE, CUT, DIED, at_once=True, owes=True),
    "reset after the head": Fault("reset-after=head", NONE, CUT, DIED, at_once=True, owes=True),
    "silent after the head": Fault("hang-after=head", NONE, CUT, LATE, at_once=True, owes=True),
    "dropped after a chunk": Fault("drop-after=1", CUT, CUT, DIED),
    "dropped amid": Fault("drop-after=3", CUT, CUT, DIED),
    "reset amid": Fault("reset-after=3", CUT, CUT, DIED),
    "silent amid": Fault("hang-after=3", CUT, CUT, LATE),
    "dropped amid, sliced": Fault("drop-after=3 slice=random", CUT, CUT, DIED),
    "dropped amid, gzip": Fault("drop-after=3 gzip=on chunked=on", CUT, CUT, DIED),
    "dropped amid, JSON in chunks": Fault("drop-after=3 chunked=on", CUT, CUT, DIED),
    "dropped before the last chunk": Fault("drop-after=999", SAME, CUT, DIED),
    "silent before the last chunk": Fault("hang-after=999", SAME, CUT, LATE),
    "another body": Fault("garbage=body"),
    "a bad chunk": Fault("garbage=chunk", CUT, CUT, BROKEN, at_once=True, owes=True),
    "JSON cut off": Fault("garbage=json"),
    "junk between events": Fault("garbage=sse"),
    "a length too short": Fault("wrong-length=short"),
    "a length too long": Fault("wrong-length=long", CUT, CUT, DIED),
    "an error first": Fault("error-after=0", at_once=True),
    "an error amid": Fault("error-after=3", amid=True),
    "no usage": Fault("usage=off"),
    "a usage of zero": Fault("usage=zero"),
    "connection: close": Fault("close=on"),
    "early hints": Fault("early-hints=on"),
    "gzip": Fault("gzip=on"),
    "byte by byte": Fault("slice=1"),
    "sliced": Fault("slice=random"),
    "in chunks": Fault("chunked=on"),
    "until the connection ends": Fault("chunked=off"),
    "rate limits told": Fault("ratelimit=remaining=3,limit=9"),
    "until the connection breaks": Fault("drop-after=3 chunked=off", CUT, CUT, DIED),
}
# Cut between two events, so that the caller can be told in one more.
TOLD = ("dropped after a chunk", "dropped amid", "silent amid", "silent after the head",
        "dropped after the head", "reset after the head", "dropped before the last chunk",
        "silent before the last chunk")  # fmt: skip


@asynccontextmanager
async def _running(tmp_path: Path, fault: Fault) -> AsyncIterator[Stack]:
    """A stack whose first providers are given up on soon where the fault is silence."""
    times = BRIEF if fault.code == LATE else PATIENT
    providers = PROVIDERS.replace("TIMES", times)
    async with nothing_left(), stack(tmp_path, YAML, providers=providers) as proxy:
        without_vocabularies(proxy)
        yield proxy


# What the product does wrong today; each is strict, so that mending it is noticed.
def _matrix() -> Iterator[ParameterSet]:
    for name in FAULTS:
        for candidates, number in ((1, "one"), (2, "two")):
            for shapes, kind in ((ANSWERS, "JSON"), (STREAMS, "stream")):
                yield pytest.param(name, candidates, shapes, id=f"{name}-{number}-{kind}")


@pytest.mark.parametrize(("name", "candidates", "shapes"), list(_matrix()))
async def test_fault(tmp_path: Path, name: str, candidates: int, shapes: tuple[Shape, ...]) -> None:
    fault = FAULTS[name]
    async with _running(tmp_path, fault) as proxy:
        found = await asyncio.gather(*(_case(proxy, name, shape, candidates) for shape in shapes))
        receipts = await balanced(proxy, len(shapes))
        wrong = [f"{s.dialect}: {why}" for s, why in zip(shapes, found, strict=True) if why]
        if wrong:
            pytest.fail("\n".join(wrong))
        seen = [r for r in proxy.sim.requests if r.get("x-direct") is None]
        assert len(seen) == sum(receipt.attempts for receipt in receipts)
        spent = sum(receipt.cost or 0 for receipt in receipts)
        assert sum(nano for nano, _ in sums(proxy, "worst").values()) == spent
        assert sum(nano for nano, _ in sums(proxy, "expected").values()) == spent
        assert not proxy.sim.faults


async def _case(proxy: Stack, name: str, shape: Shape, candidates: int) -> str:
    """What is wrong with one exchange; empty: nothing."""
    fault = FAULTS[name]
    path, body = shape.asking("bad" if candidates == 1 else "pair")
    answer = await fetch(proxy.port, path, body, {**fault.headers, "x-sim-for": "bad"})
    moved = candidates == 2 and fault.moves_on(stream=shape.stream)
    becomes = fault.stream if shape.stream else fault.json
    collected = candidates == 2 and not shape.stream
    if moved:
        becomes = SAME
    elif becomes == CUT and collected and "gzip" not in fault.options:
        becomes = NONE  # it was to be given router_metadata, so nothing of it had gone out
    path, body = shape.asking("good" if moved else "bad")
    direct = {"x-direct": "1"}
    sound = await fetch(proxy.sim.port, path, body, {**direct, **fault.sound})
    given = sound
    if becomes == SAME and not moved:
        given = await fetch(proxy.sim.port, path, body, {**direct, **fault.headers})
    try:
        if becomes == SAME:
            _same(answer, given, collected)
        elif becomes == CUT:
            _cut(answer, sound, shape, fault, told=shape.stream and name in TOLD)
        else:
            _refused(answer, shape, fault)
        receipt = await proxy.receipt(answer) if answer.headers else None
        if receipt is not None:
            _booked(receipt, answer, fault, becomes, moved)
    except AssertionError as error:
        return str(error) or repr(error)
    return ""


def _same(answer: Answer, given: Answer, collected: bool) -> None:
    """As the provider sent it; what is ours is added, nothing else."""
    assert (answer.status, answer.broken) == (given.status, False)
    if answer.body != given.body:
        assert collected, (answer.body[-300:], given.body[-300:])
        content = answer.json()
        content.pop("router_metadata")
        assert content == given.json()
    own = {"content-length", "connection", "transfer-encoding", "date"}
    missing = [p for p in given.raw_headers if p not in answer.raw_headers and p[0] not in own]
    assert not missing


def _cut(answer: Answer, sound: Answer, shape: Shape, fault: Fault, *, told: bool) -> None:
    """Some of it and then, if possible, why; never a clean end."""
    assert answer.status == 200, (answer.status, answer.body[:300])
    assert answer.broken, answer.body[-300:]
    sent = _common(answer.body, sound.body)
    rest = answer.body[len(sent) :]
    if shape.stream and rest:  # the error event begins like any other
        ends = _ENDS[shape.dialect]
        rest = answer.body[sent.rindex(ends) + len(ends) if ends in sent else 0 :]
    if told or rest:
        assert _events(rest, shape.dialect, fault.code), (answer.body[-300:],)
    whole = "999" in fault.options or "long" in fault.options
    assert whole or not shape.terminal or shape.terminal not in answer.body


def _common(one: bytes, other: bytes) -> bytes:
    """The beginning that both share."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]


_ENDS = {"gemini": b"\r\n\r\n"} | dict.fromkeys(("chat", "responses", "anthropic"), b"\n\n")


def _events(rest: bytes, dialect: str, code: str) -> bool:
    """Whether `rest` is the dialect's in-band error of that code, and nothing else."""
    ends = _ENDS[dialect]
    if not rest.endswith(ends):
        return False
    found = []
    for event in rest.removesuffix(ends).split(ends):
        *name, data = event.split(b"\n")
        found.append((name, json.loads(data.removeprefix(b"data: "))))
    if dialect == "responses":
        (error, body), (failed, last) = found
        assert (error, failed) == ([b"event: error"], [b"event: response.failed"])
        assert (body["type"], last["response"]["status"]) == ("error", "failed")
        return body["code"] == last["response"]["error"]["code"] == code
    ((name, body),) = found
    assert name == ([b"event: error"] if dialect == "anthropic" else [])
    return code_in(body, dialect) == code


def _refused(answer: Answer, shape: Shape, fault: Fault) -> None:
    """Our own error, whole, in the caller's dialect, worth a retry."""
    assert answer.status == (504 if fault.code == LATE else 502), (answer.status, answer.broken)
    assert not answer.broken
    assert code_in(answer.json(), shape.dialect) == fault.code
    assert answer.headers["content-type"] == "application/json"
    assert "x-should-retry" not in answer.headers


def _booked(receipt: Receipt, answer: Answer, fault: Fault, becomes: str, moved: bool) -> None:
    """The row says what happened, and what it cost."""
    assert receipt.attempts == (2 if moved else 1)
    assert receipt.status == answer.status
    assert receipt.cost is not None
    if becomes == SAME:
        assert receipt.code is None
        failed = answer.status >= 400 or ("error-after" in fault.options and not moved)
        assert receipt.end == ("error" if failed else "finished"), receipt.end
    else:
        assert receipt.code == fault.code
        assert receipt.end == "upstream_died" or becomes == NONE
    if answer.status >= 400 and becomes == SAME:
        assert receipt.cost == 0
        return
    assert receipt.cost > 0 or "usage=zero" in fault.options  # zero is what the provider said
    usage = receipt.usage
    if becomes == SAME:
        assert usage is not None
        if "usage=zero" in fault.options and not moved:
            assert receipt.usage_source == "provider"
        owed = moved and (fault.owes or fault.json == fault.stream == NONE)
        own = usage.input_total * INPUT + usage.output_total * OUTPUT
        assert receipt.cost > own if owed else receipt.cost == own
        if moved:
            assert (receipt.usage_source, usage.output_total) == ("provider", TOKENS)
    elif becomes == CUT:
        assert usage is not None
        assert 0 < usage.output_total <= TOKENS or fault.options.endswith("head")


@pytest.mark.parametrize("shape", [*ANSWERS, *STREAMS], ids=lambda s: f"{s.dialect}-{s.stream}")
async def test_an_answer_that_is_passed_over_is_let_go_at_once(
    tmp_path: Path, shape: Shape
) -> None:
    """The first candidate's 503 whose body never comes keeps neither caller nor connection."""
    fault = Fault("status=503 hang-after=head")
    async with _running(tmp_path, fault) as proxy:
        path, body = shape.asking("pair")
        answer = await fetch(proxy.port, path, body, {**fault.headers, "x-sim-for": "bad"})
        assert (answer.status, answer.broken) == (200, False)
        await proxy.sim.until(lambda sim: sim.requests[0].closed_early)
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.attempts, receipt.end) == (2, "finished")


@pytest.mark.parametrize("shape", [*ANSWERS, *STREAMS], ids=lambda s: f"{s.dialect}-{s.stream}")
async def test_where_nobody_listens_another_is_asked_and_nothing_is_owed(
    tmp_path: Path, shape: Shape
) -> None:
    closed = await start()
    await closed.aclose()
    lines = PROVIDERS.replace("TIMES", PATIENT).split("\n")
    providers = "\n".join(n.replace("SIM", closed.url) if "first:" in n else n for n in lines)
    async with nothing_left(), stack(tmp_path, YAML, providers=providers) as proxy:
        path, body = shape.asking("bad")
        _refused(await fetch(proxy.port, path, body), shape, Fault("", code="upstream_connect"))
        path, body = shape.asking("pair")
        answer = await fetch(proxy.port, path, body)
        assert (answer.status, answer.broken) == (200, False)
        alone, paired = await balanced(proxy, 2)
        assert (alone.attempts, alone.cost, alone.code) == (2, 0, "upstream_connect")
        usage = paired.usage
        assert usage is not None and paired.attempts == 2
        assert paired.cost == usage.input_total * INPUT + usage.output_total * OUTPUT
