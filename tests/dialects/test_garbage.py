"""Recorded bodies with members torn out and swapped: readers and writers give an answer or one of
our errors, never anything else, whatever a provider or a caller sends. Seeds are printed."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from muxproxy.dialects.folding import events_of
from muxproxy.dialects.neutral import Request
from muxproxy.dialects.translators import translator
from muxproxy.errors import MuxError
from muxproxy.exchange import DIALECTS
from muxproxy.sse import Framer
from tests.wire_corpus import ENDPOINTS, Exchange, exchanges, needs_wire

pytestmark = needs_wire

JUNK: list[Any] = [None, True, 0, -1, 1.5, "", "x", [], {}, [None], [1], ["a"], {"a": 1}, 10**30]
ASK = Request(model="m", stream_usage=True)
GENERATING = frozenset({"chat", "responses", "messages", "generate"})


def torn(value: Any, odds: float, chance: random.Random) -> Any:
    if chance.random() < odds:
        return chance.choice(JUNK)
    if isinstance(value, dict):
        kept = (pair for pair in value.items() if chance.random() > odds / 2)
        return {key: torn(inner, odds, chance) for key, inner in kept}
    if isinstance(value, list):
        return [torn(inner, odds, chance) for inner in value]
    return value


def torn_bytes(data: bytes, odds: float, chance: random.Random) -> bytes:
    try:
        return json.dumps(torn(json.loads(data), odds, chance)).encode()
    except ValueError:
        return data


def read_stream(exchange: Exchange, odds: float, chance: random.Random) -> None:
    reader = translator(exchange.endpoint[0]).reader()
    framer = Framer()
    events = []
    for name, data in [*framer.feed(exchange.body), *framer.finish()]:
        events += reader.feed(name.decode() or None, torn_bytes(data, odds, chance))
    events += reader.finish()
    for dialect in DIALECTS:
        writer = translator(dialect).writer(ASK, "id", 1)
        for event in events:
            writer.write(event)


def read_answer(exchange: Exchange, odds: float, chance: random.Random) -> None:
    body = torn_bytes(exchange.body, odds, chance)
    caller = translator(exchange.endpoint[0])
    if exchange.status >= 400:
        failure = caller.read_fault(exchange.status, body)
        for dialect in DIALECTS:
            msgspec.json.encode(translator(dialect).write_fault(failure)[1])
        return
    try:
        answer = caller.read_answer(body)
    except (ValueError, MuxError):
        return
    events_of(answer)
    for dialect in DIALECTS:
        msgspec.json.encode(translator(dialect).write_answer(answer, ASK, "id", 1))


def read_request(exchange: Exchange, odds: float, chance: random.Random) -> None:
    body = json.dumps(torn(exchange.request["body"], odds, chance)).encode()
    try:
        request = translator(exchange.endpoint[0]).read_request(body, "gpt-4o", False)
    except MuxError:
        return
    for dialect in DIALECTS:
        try:
            msgspec.json.encode(translator(dialect).write_request(request))
        except MuxError:
            continue


@pytest.mark.parametrize("turn", range(4))
def test_torn_bodies(turn: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    found = [e for e in exchanges() if e.dialect in ENDPOINTS and e.endpoint[1] in GENERATING]
    for _ in range(150):
        exchange, odds = chance.choice(found), chance.choice([0.002, 0.01, 0.05])
        if exchange.stream == "sse":
            read_stream(exchange, odds, chance)
        elif exchange.stream is None:
            read_answer(exchange, odds, chance)
        if exchange.request.get("body"):
            read_request(exchange, odds, chance)
