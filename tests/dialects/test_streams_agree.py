"""The same answer told as a stream and as one body is the same answer to a client."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.folding import events_of
from muxproxy.dialects.translators import translator
from tests.dialects.folding import fold, read_stream
from tests.wire_corpus import Exchange, exchanges, needs_wire

pytestmark = needs_wire

REQUEST = n.Request(model="m", stream_usage=True)


def bodies() -> list[Exchange]:
    """Every recorded whole answer."""
    return [
        e
        for e in exchanges()
        if not e.stream
        and e.status < 400
        and e.endpoint[1] in {"chat", "messages", "generate", "responses"}
        and e.expected["error"] is None
    ]


def plain(answer: n.Answer) -> dict[str, Any]:
    """What a client ends up with: joined text, thoughts without a proof joined, the rest in
    order. Citations are told where streams and bodies can."""
    outputs = []
    for output in answer.outputs:
        text = thought = ""
        rest = []
        for part in output.parts:
            if isinstance(part, n.Text):
                text += part.text
            elif isinstance(part, n.Thinking) and not (part.signature or part.sealed):
                thought += part.text
            elif isinstance(part, n.Call):  # the spacing of arguments is nobody's meaning
                rest.append((part.id, part.name, _value(part.arguments), part.signature))
            else:
                rest.append(part)
        outputs.append((text, thought, rest, output.finish.reason))
    usage = answer.usage
    told = None if usage is None else (usage.input, usage.input_total, usage.output_total)
    return {"outputs": outputs, "usage": told, "tier": usage and usage.tier}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_stream_and_a_body_of_one_answer_agree(dialect: str) -> None:
    spoken = translator(dialect)
    faults = []
    seen = 0
    for exchange in bodies():
        answer = translator(exchange.endpoint[0]).read_answer(exchange.body)
        if answer.failure is not None or not answer.outputs:
            continue
        body = msgspec.json.encode(spoken.write_answer(answer, REQUEST, "id", 1))
        writer = spoken.writer(REQUEST, "id", 1)
        sse = b"".join(writer.write(event) for event in events_of(answer))
        whole = plain(spoken.read_answer(body))
        told = plain(fold(read_stream(spoken.reader(), sse)))
        seen += 1
        if whole != told:
            faults.append((exchange.id, whole, told))
    assert faults == []
    assert seen > 700
