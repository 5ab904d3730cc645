"""A -> B -> A: what both dialects can say survives the way there and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import answer as anthropic_answer
from muxproxy.dialects.anthropic import request as anthropic_request
from muxproxy.dialects.anthropic import stream as anthropic_stream
from muxproxy.dialects.openai import answer as openai_answer
from muxproxy.dialects.openai import request as openai_request
from muxproxy.dialects.openai import stream as openai_stream
from muxproxy.dialects.quirks import Quirks
from muxproxy.errors import MuxError
from muxproxy.exchange import Usage
from tests.dialects.folding import fold, read_stream

MODEL = "claude-sonnet-4-5"
EVERYTHING = Quirks(
    google=True,
    prefix=True,
    top_k=True,
    effort="reasoning",
    thoughts="reasoning_details",
    cache_control=True,
    lists=True,
)
encode = msgspec.json.encode

words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12
).map(lambda text: f"{text.strip()}." if text.strip() else "w")
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
caches = st.sampled_from([None, None, "5m", "1h"])
texts = st.builds(n.Text, text=words, cache=caches)
images = st.builds(
    n.Media,
    kind=st.just("image"),
    media_type=st.sampled_from(["image/png", "image/jpeg"]),
    data=st.just("aGk="),
    cache=caches,
) | st.builds(n.Media, kind=st.just("image"), url=st.just("https://x.test/a.png"), cache=caches)
files = st.builds(
    n.Media,
    kind=st.just("file"),
    media_type=st.just("application/pdf"),
    data=st.just("aGk="),
    name=names,
    cache=caches,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(names, values, max_size=3)
schemas = st.dictionaries(names, st.just({"type": "string"}), max_size=3).map(
    lambda properties: {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
)


@st.composite
def rounds(draw: st.DrawFn, number: int) -> list[n.Turn]:
    """A user's message, the calls it leads to, their results."""
    turns = [
        n.Turn(role="user", parts=draw(st.lists(texts | images | files, min_size=1, max_size=3)))
    ]
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    parts: list[n.Part] = []
    if draw(st.booleans()):
        parts.append(n.Thinking(text=draw(words), signature=draw(words), maker="anthropic"))
    if draw(st.booleans()) or not calls:
        parts.append(n.Text(text=draw(words)))
    for at, (name, value) in enumerate(calls):
        parts.append(n.Call(id=f"call_{number}_{at}", name=name, arguments=_compact(value)))
    turns.append(n.Turn(role="assistant", parts=parts))
    if calls:
        results: list[n.Part] = [
            n.Result(
                id=f"call_{number}_{at}",
                name=name,
                parts=[n.Text(text=draw(words))],
                cache=draw(caches),
            )
            for at, (name, _) in enumerate(calls)
        ]
        turns.append(n.Turn(role="user", parts=results))
        turns.append(n.Turn(role="assistant", parts=[n.Text(text=draw(words))]))
    return turns


def _compact(value: object) -> str:
    return encode(value).decode()


@st.composite
def requests(draw: st.DrawFn) -> n.Request:
    """What both can say to a model that takes it all."""
    turns: list[n.Turn] = []
    for number in range(draw(st.integers(1, 3))):
        turns += draw(rounds(number))
    turns.append(n.Turn(role="user", parts=[n.Text(text=draw(words))]))
    tools = draw(
        st.lists(
            st.builds(
                n.Tool,
                name=names,
                description=st.none() | words,
                schema=schemas,
                strict=st.none() | st.booleans(),
                cache=caches,
            ),
            max_size=3,
            unique_by=lambda tool: tool.name,
        )
    )
    choice = None
    if tools:
        choice = draw(
            st.sampled_from(
                [None, n.Choice(mode="none"), n.Choice(mode="required"), n.Choice(mode="auto")]
            )
            | st.just(n.Choice(mode="tool", tool=tools[0].name))
        )
    forced = choice is not None and choice.mode in {"tool", "required"}
    thinks = not forced and draw(st.booleans())
    form = None
    if draw(st.booleans()):
        form = n.Format(kind="schema", name="answer", schema=draw(schemas), strict=True)
    return n.Request(
        model=MODEL,
        system=draw(st.lists(texts, max_size=2)),
        turns=turns,
        tools=tools,
        tool_choice=choice,
        parallel=False
        if tools and (choice is None or choice.mode != "none") and draw(st.booleans())
        else None,
        max_tokens=draw(st.integers(2000, 9000)),
        temperature=None if thinks else draw(st.none() | st.floats(0, 1)),
        top_k=None if thinks else draw(st.none() | st.integers(1, 99)),
        stop=draw(st.lists(words, max_size=2)),
        format=form,
        reasoning=n.Reasoning(budget=draw(st.integers(1024, 1999))) if thinks else None,
        user=draw(st.none() | names),
        tier=draw(st.sampled_from([None, "auto"])),
        stream=draw(st.booleans()),
    )


def openai_body(request: n.Request) -> bytes:
    return encode(openai_request.write(request, EVERYTHING))


def anthropic_body(request: n.Request) -> bytes:
    return encode(anthropic_request.write(request))


def plain(body: bytes) -> Any:
    """JSON, with arguments as values: their spacing is nobody's meaning."""
    document = json.loads(body)
    for message in document["messages"]:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    # disabling parallel calls needs a tool_choice to say it in; auto is the default
    if document.get("tool_choice") == "auto":
        del document["tool_choice"]
    return document


@settings(max_examples=60, deadline=None)
@given(requests())
def test_requests_openai_anthropic_openai(request: n.Request) -> None:
    before = openai_body(request)
    there = anthropic_body(openai_request.read(before))
    back = anthropic_request.read(there)
    assert back.dropped == []
    assert plain(openai_body(back)) == plain(before)


@settings(max_examples=60, deadline=None)
@given(requests())
def test_requests_anthropic_openai_anthropic(request: n.Request) -> None:
    before = anthropic_body(request)
    there = openai_body(anthropic_request.read(before))
    back = openai_request.read(there)
    assert back.dropped == []
    assert json.loads(anthropic_body(back)) == json.loads(before)


counts = st.integers(0, 999)
usages = st.builds(
    Usage,
    input=counts,
    cache_read=counts,
    cache_write_5m=counts,
    cache_write_1h=st.none(),
    output=counts,
    reasoning=counts,
)


@st.composite
def answers(draw: st.DrawFn) -> n.Answer:
    """One choice with thoughts, text and calls, as both dialects order them."""
    parts: list[n.Part] = []
    if draw(st.booleans()):
        parts.append(n.Thinking(text=draw(words), signature=draw(words), maker="anthropic"))
    if draw(st.booleans()):
        parts.append(n.Thinking(sealed=draw(words), maker="anthropic"))
    if draw(st.booleans()):
        parts.append(n.Text(text=draw(words)))
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    for at, (name, value) in enumerate(calls):
        parts.append(n.Call(id=f"call_{at}", name=name, arguments=_compact(value)))
    reason = "tools" if calls else draw(st.sampled_from(["stop", "length", "filter"]))
    return n.Answer(
        model="m",
        outputs=[n.Output(parts=parts, finish=n.Finish(reason=reason))],  # type: ignore[arg-type]
        usage=draw(usages),
    )


def same(a: n.Answer, b: n.Answer) -> None:
    assert a.model == b.model
    assert [o.parts for o in a.outputs] == [o.parts for o in b.outputs]
    assert [o.finish.reason for o in a.outputs] == [o.finish.reason for o in b.outputs]
    assert a.usage == b.usage


@settings(max_examples=80, deadline=None)
@given(answers())
def test_answers_through_each_and_both(answer: n.Answer) -> None:
    request = n.Request(model="m")
    first = openai_answer.read(encode(openai_answer.write(answer, request, "a", 1)))
    same(first, answer)
    second = anthropic_answer.read(encode(anthropic_answer.write(first, request, "b", 1)))
    same(second, answer)
    third = openai_answer.read(encode(openai_answer.write(second, request, "c", 1)))
    same(third, answer)


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """`text`, cut at random."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def streamed(draw: st.DrawFn) -> tuple[n.Answer, list[n.Event]]:
    answer = draw(answers())
    output = answer.outputs[0]
    events: list[n.Event] = [n.Start(id="x", model="m")]
    thoughts = calls = -1
    for part in output.parts:
        if isinstance(part, n.Thinking):
            thoughts += 1
            events += [
                n.ThinkingDelta(part=thoughts, text=text) for text in draw(pieces(part.text))
            ]
            events.append(
                n.ThinkingSeal(
                    part=thoughts,
                    signature=part.signature,
                    sealed=part.sealed,
                    maker=part.maker,
                )
            )
        elif isinstance(part, n.Text):
            events += [n.TextDelta(text=text) for text in draw(pieces(part.text))]
        elif isinstance(part, n.Call):
            calls += 1
            events.append(n.CallStart(index=calls, id=part.id, name=part.name))
            events += [
                n.CallDelta(index=calls, arguments=text) for text in draw(pieces(part.arguments))
            ]
    assert answer.usage is not None
    return answer, [*events, output.finish, n.Totals(usage=answer.usage), n.Done()]


def through(dialect: Any, events: list[n.Event]) -> list[n.Event]:
    """Written in a dialect and read again."""
    writer = dialect.Writer(n.Request(model="m", stream_usage=True), "id", 1)
    body = b"".join(writer.write(event) for event in events)
    return read_stream(dialect.Reader(), body)


@settings(max_examples=80, deadline=None)
@given(streamed())
def test_streams_through_each_and_both(case: tuple[n.Answer, list[n.Event]]) -> None:
    answer, events = case
    first = through(openai_stream, events)
    same(fold(first), answer)
    second = through(anthropic_stream, first)
    same(fold(second), answer)
    third = through(openai_stream, second)
    same(fold(third), answer)
    assert isinstance(third[-1], n.Done)


_FIELDS = [
    "messages",
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "source",
    "tool_calls",
    "function",
    "name",
    "id",
    "arguments",
    "tools",
    "input_schema",
    "system",
    "thinking",
    "delta",
    "choices",
    "index",
    "usage",
    "error",
    "content_block",
    "message",
    "stop_reason",
    "finish_reason",
    "reasoning_details",
    "data",
    "response_format",
    "tool_choice",
    "reasoning",
    "metadata",
    "stop",
    "detail",
]
_FIELDS = [
    "messages",
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "source",
    "tool_calls",
    "function",
    "name",
    "id",
    "arguments",
    "tools",
    "input_schema",
    "system",
    "thinking",
    "delta",
    "choices",
    "index",
    "usage",
    "error",
    "content_block",
    "message",
    "stop_reason",
    "finish_reason",
    "reasoning_details",
    "data",
    "response_format",
    "tool_choice",
    "reasoning",
    "metadata",
    "stop",
    "detail",
    "citations",
]
_KINDS = ("text", "image", "tool_use", "tool_result", "thinking", "image_url", "file", "function")
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5)
        | st.builds(
            lambda kind, rest: {**rest, "type": kind},
            st.sampled_from(_KINDS),
            st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5),
        )
    ),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(documents)
def test_no_json_makes_a_reader_fail_in_an_unknown_way(document: object) -> None:
    body = encode(document)
    for module in (openai_request, anthropic_request):
        _or_error(module.read, body)
        wrapped = encode({"messages": [{"role": "user", "content": document}], "model": "m"})
        _or_error(module.read, wrapped)
        _or_error(module.read, encode({"messages": [], "tools": document, "system": document}))
    for module in (openai_answer, anthropic_answer):
        _or_error(module.read, body)
    _or_error(anthropic_answer.read, encode({"content": document, "usage": document}))
    _or_error(openai_answer.read, encode({"choices": [{"message": document}]}))
    for stream in (openai_stream, anthropic_stream):
        stream.Reader().feed(None, body)
    stream = openai_stream.Reader()
    for shape in ({"delta": document}, {"delta": {"tool_calls": [document], "content": document}}):
        stream.feed(None, encode({"choices": [shape]}))
    stream = anthropic_stream.Reader()
    for kind in ("message_start", "content_block_start", "content_block_delta", "message_delta"):
        stream.feed(None, encode({"type": kind, "content_block": document, "delta": document}))
        stream.feed(None, encode({"type": kind, "message": document, "usage": document}))


def _or_error(read: Any, body: bytes) -> None:
    try:
        read(body)
    except MuxError as error:
        assert error.code in {"invalid_request", "invalid_json", "upstream_protocol"}
