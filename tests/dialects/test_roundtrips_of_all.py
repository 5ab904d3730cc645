"""A -> B -> A for the pairs with Gemini or Responses: what both can say survives the way."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects import neutral as n
from muxproxy.dialects import quirks
from muxproxy.dialects.translators import translator

encode = msgspec.json.encode
MODELS = {
    "openai": "gpt-4o",
    "responses": "gpt-4o",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview",
}
PAIRS = [(a, b) for a in MODELS for b in MODELS if a != b and {a, b} & {"gemini", "responses"}]

words = st.from_regex(r"[A-Za-z\u00e9\u4e16\U0001f600]{1,8}", fullmatch=True)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
values = st.booleans() | st.integers(-9, 9) | words | st.lists(words, max_size=2)
arguments = st.dictionaries(names, values, max_size=3)
pictures = st.builds(
    n.Media,
    kind=st.just("image"),
    media_type=st.sampled_from(["image/png", "image/jpeg"]),
    data=st.just("aGk="),
)
schemas = st.dictionaries(names, st.just({"type": "string"}), min_size=1, max_size=3).map(
    lambda properties: {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
)


@st.composite
def turns(draw: st.DrawFn) -> list[n.Turn]:
    """Rounds of a question, parallel calls and their results, and an answer."""
    out: list[n.Turn] = []
    for number in range(draw(st.integers(1, 3))):
        asked = [n.Text(text=draw(words)), *draw(st.lists(pictures, max_size=2))]
        out.append(n.Turn(role="user", parts=list(asked)))
        calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
        if calls:
            made = [
                n.Call(id=f"call_{number}_{at}", name=name, arguments=encode(value).decode())
                for at, (name, value) in enumerate(calls)
            ]
            results = [
                n.Result(id=call.id, name=call.name, parts=[n.Text(text=draw(words))])
                for call in made
            ]
            out += [
                n.Turn(role="assistant", parts=list(made)),
                n.Turn(role="user", parts=list(results)),
            ]
        out.append(n.Turn(role="assistant", parts=[n.Text(text=draw(words))]))
    out.append(n.Turn(role="user", parts=[n.Text(text=draw(words))]))
    return out


@st.composite
def requests(draw: st.DrawFn) -> n.Request:
    """What all four dialects can say."""
    tools = draw(
        st.lists(
            st.builds(n.Tool, name=names, description=words, schema=schemas),
            max_size=3,
            unique_by=lambda tool: tool.name,
        )
    )
    choices: list[n.Choice | None] = [None]
    if tools:
        choices += [n.Choice(mode="none"), n.Choice(mode="required")]
        choices.append(n.Choice(mode="tool", tool=tools[0].name))
    return n.Request(
        system=[n.Text(text=draw(words))] if draw(st.booleans()) else [],
        turns=draw(turns()),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        max_tokens=draw(st.integers(16, 4000)),
        temperature=draw(st.sampled_from([None, 0.25, 0.5])),
        stream=draw(st.booleans()),
    )


def body_of(dialect: str, request: n.Request) -> dict[str, Any]:
    """The request as the dialect's provider gets it, decoded from its bytes."""
    request.model = MODELS[dialect]
    ways: dict[str, Any] = {}
    if dialect == "openai":
        ways["quirks"] = quirks.find("api.openai.com", None, MODELS[dialect])
    written = translator(dialect).write_request(request, **ways)
    body: dict[str, Any] = json.loads(encode(written))
    return body


def plain(value: Any) -> Any:
    """Without two defaults that the Responses writer must say aloud: an image's detail "auto"
    (its type requires one) and a tool's strict false (left out, it means true there)."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    said = {("detail", "auto"), ("strict", False)}
    return {
        key: plain(inner)
        for key, inner in value.items()
        if isinstance(inner, dict | list) or (key, inner) not in said
    }


def across(dialect: str, body: dict[str, Any], stream: bool) -> n.Request:
    """What the dialect's reader makes of a body."""
    return translator(dialect).read_request(encode(body), MODELS[dialect], stream)


@pytest.mark.parametrize("there", PAIRS, ids="-".join)
@settings(max_examples=20, deadline=None)
@given(request=requests())
def test_there_and_back(there: tuple[str, str], request: n.Request) -> None:
    asking, answering = there
    body = body_of(asking, request)
    read = across(asking, body, request.stream)
    middle = body_of(answering, read)
    assert read.dropped == []
    back = across(answering, middle, request.stream)
    assert plain(body_of(asking, back)) == plain(body)
    assert back.dropped == []
