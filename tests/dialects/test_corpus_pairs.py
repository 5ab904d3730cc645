"""Every recorded answer of the four dialects: read, and told to the SDK of each other one.

`expected` is an independent reader's view of the recording (see its README).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import answer as anthropic_answer
from muxproxy.dialects.anthropic import stream as anthropic_stream
from muxproxy.dialects.gemini import answer as gemini_answer
from muxproxy.dialects.gemini import stream as gemini_stream
from muxproxy.dialects.gemini import words as gemini_words
from muxproxy.dialects.openai import answer as openai_answer
from muxproxy.dialects.openai import stream as openai_stream
from muxproxy.dialects.responses import answer as responses_answer
from muxproxy.dialects.responses import stream as responses_stream
from tests.dialects.clients import Clients
from tests.dialects.folding import calls_of, fold, read_stream, text_of, thought_of
from tests.wire_corpus import Exchange, exchanges, needs_wire

pytestmark = needs_wire

READERS: dict[str, tuple[Any, Any]] = {
    "openai.chat": (openai_answer, openai_stream),
    "anthropic.messages": (anthropic_answer, anthropic_stream),
    "gemini.generateContent": (gemini_answer, gemini_stream),
    "gemini.streamGenerateContent": (gemini_answer, gemini_stream),
    "openai.responses": (responses_answer, responses_stream),
}
# Fixtures whose events say less than their last object, or whose reader had no word for
# streamFunctionCallArguments (checked by hand: test_gemini has the case).
CUT = frozenset(
    {
        "openai-openai_responses-810935888974",
        "openai-openai_responses-dae0194e1b09",
        "gemini-gemini_streamGenerateContent-019447d411df",
        "gemini-gemini_streamGenerateContent-93b0205a4c9b",
    }
)
REQUEST = n.Request(model="m", stream_usage=True)
encode = msgspec.json.encode


@lru_cache(maxsize=1)
def recorded() -> list[Exchange]:
    found = [e for e in exchanges() if e.dialect in READERS and e.status < 400 and not e.ambiguous]
    assert len(found) > 1200
    return [e for e in found if e.stream != "json-array" and e.id not in CUT]


@pytest.fixture(scope="module")
def clients() -> Clients:
    return Clients()


def events_of(exchange: Exchange) -> list[n.Event]:
    return read_stream(READERS[exchange.dialect][1].Reader(), exchange.body)


def answer_of(exchange: Exchange) -> n.Answer:
    if exchange.stream:
        return fold(events_of(exchange))
    answer: n.Answer = READERS[exchange.dialect][0].read(exchange.body)
    return answer


def value(text: object) -> object:
    """A call's arguments as a value; several recordings hold them cut or re-spaced."""
    if not isinstance(text, str):
        return text or {}
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


def wanted_calls(exchange: Exchange) -> list[tuple[str, object]]:
    calls = exchange.expected["tool_calls"] or []
    return [(c["name"], value(c["arguments"])) for c in calls if c["name"]]


def first(answer: n.Answer) -> n.Output:
    return answer.outputs[0] if answer.outputs else n.Output()


def faults_of(exchange: Exchange) -> list[object]:
    want = exchange.expected
    answer = answer_of(exchange)
    calls = [call for output in answer.outputs for call in calls_of(output)]
    got = {
        "text": text_of(first(answer)),
        "calls": [(call.name, value(call.arguments)) for call in calls],
        "finish": [w for o in answer.outputs if (w := o.finish.native) and w != "MODEL_ARMOR"],
        "input": answer.usage.input_total if answer.usage else 0,
        "failed": answer.failure is not None,
    }
    wish = {
        "text": want["text"] or "",
        "calls": wanted_calls(exchange),
        "finish": [str(reason) for reason in want["finish_reasons"] if reason],
        "input": want["input_total"] or 0,
        "failed": want["error"] is not None,
    }
    if exchange.provider != "gemini":  # hidden thoughts: only the total tells of them
        got["output"] = answer.usage.output_total if answer.usage else 0
        wish["output"] = want["output_total"] or 0
    if exchange.provider != "snowflake":  # puts text into a reasoning_details entry
        # paragraphs of a summary are told apart by us, not by the recording's reader
        got["thought"] = "".join(thought_of(first(answer)).split())
        wish["thought"] = "".join((want["reasoning_text"] or "").split())
    ids = [c["id"] for c in want["tool_calls"] or [] if c["name"]]
    got["ids"] = [call.id for call, name in zip(calls, ids, strict=False) if name]
    wish["ids"] = [name for name in ids if name]
    return [(key, got[key], wish[key]) for key in wish if got[key] != wish[key]]


def test_reading_equals_expected() -> None:
    faults = {e.id: found for e in recorded() if (found := faults_of(e))}
    assert faults == {}


def test_a_stream_ends_with_done_or_failure_exactly_where_it_ended() -> None:
    faults = []
    for exchange in recorded():
        if not exchange.stream:
            continue
        last = events_of(exchange)[-1]
        want = exchange.expected
        # some providers never say [DONE]: then every finished choice is the end
        whole = want["terminal"] not in (None, "error") or bool(want["finish_reasons"])
        if want["error"] is not None:
            whole = False
        if isinstance(last, n.Done) is not whole:
            faults.append((exchange.id, last, want["terminal"]))
    assert faults == []


def test_cut_streams_are_never_done() -> None:
    for exchange in recorded():
        if not exchange.stream or not exchange.expected["finish_reasons"]:
            continue
        cut = exchange.body[: len(exchange.body) // 3]
        events = read_stream(READERS[exchange.dialect][1].Reader(), cut)
        ended = any(isinstance(event, n.Finish) for event in events)
        assert ended or not any(isinstance(event, n.Done) for event in events), exchange.id


FINISH_OF_OPENAI = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tools": "tool_calls",
    "filter": "content_filter",
    "pause": "stop",
}
STOP_OF_ANTHROPIC = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "filter": "refusal",
    "pause": "pause_turn",
}


def written(writer: Any, events: list[n.Event]) -> bytes:
    return b"".join(writer.write(event) for event in events)


def spoken(output: n.Output) -> str:
    """Text as Anthropic tells it: a refusal is text there."""
    return "".join(p.text for p in output.parts if isinstance(p, n.Text | n.Refusal))


def same_as_openai(answer: n.Answer, got: Any) -> list[object]:
    """How the SDK's completion differs from the answer."""
    faults: list[object] = []
    for output, choice in zip(answer.outputs, got.choices, strict=True):
        message = choice.message
        calls = [(c.id, c.name, value(c.arguments)) for c in calls_of(output) if not c.custom]
        told = [
            (c.id, c.function.name, value(c.function.arguments))
            for c in message.tool_calls or ()
            if c.type == "function"
        ]
        pairs = [
            (message.content or "", text_of(output)),
            (getattr(message, "reasoning_content", None) or "", thought_of(output)),
            (told, calls),
            (choice.finish_reason, FINISH_OF_OPENAI[output.finish.reason]),
        ]
        faults += [pair for pair in pairs if pair[0] != pair[1]]
    usage = answer.usage
    if usage is not None:
        details = got.usage.completion_tokens_details
        cached = got.usage.prompt_tokens_details.cached_tokens
        pairs = [
            (got.usage.prompt_tokens, usage.input_total),
            (got.usage.completion_tokens, usage.output_total),
            (cached, usage.cache_read or 0),
            (details.reasoning_tokens, usage.reasoning or 0),
        ]
        faults += [pair for pair in pairs if pair[0] != pair[1]]
    return faults


def object_of(call: n.Call) -> dict[str, Any]:
    """A call's arguments as Anthropic tells them."""
    found = call.arguments if call.custom else value(call.arguments)
    return found if isinstance(found, dict) else {"input": found}


def same_as_anthropic(answer: n.Answer, got: Any) -> list[object]:
    """How the SDK's message differs from the answer."""
    output = first(answer)
    calls = [(c.name, object_of(c)) for c in calls_of(output)]
    told = [(block.name, block.input) for block in got.content if block.type == "tool_use"]
    if output.finish.reason == "length" and calls and calls[-1][1].keys() == {"input"}:
        calls, told = calls[:-1], told[:-1]  # cut in its arguments: the SDK reads what is there
    reason = output.finish.reason
    if any(isinstance(part, n.Refusal) for part in output.parts) and reason == "stop":
        reason = "filter"
    pairs: list[tuple[object, object]] = [
        ("".join(b.text for b in got.content if b.type == "text"), spoken(output)),
        ("".join(b.thinking for b in got.content if b.type == "thinking"), thought_of(output)),
        (told, calls),
        (got.stop_reason, STOP_OF_ANTHROPIC[reason]),
    ]
    usage = answer.usage
    if usage is not None:
        pairs += [
            (got.usage.input_tokens, usage.input),
            (got.usage.cache_read_input_tokens, usage.cache_read or 0),
            (got.usage.output_tokens, usage.output_total),
        ]
    return [pair for pair in pairs if pair[0] != pair[1]]


@pytest.mark.parametrize("batch", range(4))
def test_openai_clients_read_every_answer(clients: Clients, batch: int) -> None:
    faults = {}
    for exchange in recorded()[batch::4]:
        if exchange.expected["error"] is not None:
            continue
        answer = answer_of(exchange)
        if exchange.stream:
            body = written(openai_stream.Writer(REQUEST, "id", 1), events_of(exchange))
            got = clients.completion_stream(body)
        else:
            got = clients.completion(encode(openai_answer.write(answer, REQUEST, "id", 1)))
        found = same_as_openai(answer, got)
        if found:
            faults[exchange.id] = found
    assert faults == {}


@pytest.mark.parametrize("batch", range(4))
def test_anthropic_clients_read_every_answer(clients: Clients, batch: int) -> None:
    faults = {}
    for exchange in recorded()[batch::4]:
        if exchange.expected["error"] is not None:
            continue
        answer = answer_of(exchange)
        if exchange.stream:
            body = written(anthropic_stream.Writer(REQUEST, "id", 1), events_of(exchange))
            got = clients.message_stream(body)
        else:
            got = clients.message(encode(anthropic_answer.write(answer, REQUEST, "id", 1)))
        found = same_as_anthropic(answer, got)
        if found:
            faults[exchange.id] = found
    assert faults == {}


def same_as_response(answer: n.Answer, got: Any) -> list[object]:
    """How the SDK's Response differs from the answer."""
    output = first(answer)
    calls = [(c.id, c.name, c.arguments) for c in calls_of(output)]
    told = [
        (item.call_id, item.name, item.arguments if item.type == "function_call" else item.input)
        for item in got.output
        if item.type in ("function_call", "custom_tool_call")
    ]
    reason = output.finish.reason
    refusals = [p.text for p in output.parts if isinstance(p, n.Refusal)]
    messages = [item for item in got.output if item.type == "message"]
    said = [c.refusal for item in messages for c in item.content if c.type == "refusal"]
    pairs: list[tuple[object, object]] = [
        (got.output_text, text_of(output)),
        ("".join(said), "".join(refusals)),
        (told, calls),
        (got.status, "incomplete" if reason in ("length", "filter") else "completed"),
    ]
    usage = answer.usage
    if usage is not None:
        pairs += [
            (got.usage.input_tokens, usage.input_total),
            (got.usage.output_tokens, usage.output_total),
            (got.usage.input_tokens_details.cached_tokens, usage.cache_read or 0),
        ]
    return [pair for pair in pairs if pair[0] != pair[1]]


def same_as_gemini(answer: n.Answer, chunks: list[Any]) -> list[object]:
    """How the SDK's chunks, put together, differ from the answer."""
    output = first(answer)
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        if not candidate.index
        for part in (candidate.content.parts or ())
    ]
    calls = [(c.name, object_of(c)) for c in calls_of(output)]
    told = [(p.function_call.name, p.function_call.args) for p in parts if p.function_call]
    pairs: list[tuple[object, object]] = [
        ("".join(p.text for p in parts if p.text and not p.thought), spoken(output)),
        ("".join(p.text for p in parts if p.text and p.thought), thought_of(output)),
        (told, calls),
        (chunks[-1].candidates[0].finish_reason, gemini_words.FINISHES[output.finish.reason]),
    ]
    usage, last = answer.usage, chunks[-1].usage_metadata
    if usage is not None:
        pairs += [
            (last.prompt_token_count, usage.input_total),
            (
                (last.candidates_token_count or 0) + (last.thoughts_token_count or 0),
                usage.output_total,
            ),
        ]
    return [pair for pair in pairs if pair[0] != pair[1]]


@pytest.mark.parametrize("batch", range(4))
def test_responses_clients_read_every_answer(clients: Clients, batch: int) -> None:
    faults = {}
    for exchange in recorded()[batch::4]:
        if exchange.expected["error"] is not None:
            continue
        answer = answer_of(exchange)
        if first(answer).finish.reason == "error":
            continue
        if exchange.stream:
            body = written(responses_stream.Writer(REQUEST, "resp_1", 1), events_of(exchange))
            got = clients.response_stream(body)
        else:
            got = clients.response(encode(responses_answer.write(answer, REQUEST, "resp_1", 1)))
        found = same_as_response(answer, got)
        if found:
            faults[exchange.id] = found
    assert faults == {}


@pytest.mark.parametrize("batch", range(4))
def test_gemini_clients_read_every_answer(clients: Clients, batch: int) -> None:
    faults = {}
    for exchange in recorded()[batch::4]:
        if exchange.expected["error"] is not None:
            continue
        answer = answer_of(exchange)
        if not answer.outputs:
            continue
        if exchange.stream:
            body = written(gemini_stream.Writer(REQUEST, "id", 1), events_of(exchange))
            got = clients.generated_stream(body)
        else:
            got = [clients.generated(encode(gemini_answer.write(answer, REQUEST, "id", 1)))]
        found = same_as_gemini(answer, got)
        if found:
            faults[exchange.id] = found
    assert faults == {}
