"""Tools whose names the provider does not take, and OpenAI's namespaces: the caller sees its own
names again, in every dialect, in bodies and in streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import request as anthropic_request
from muxproxy.dialects.responses import request as responses_request
from muxproxy.dialects.translators import translator

SCHEMA = {"type": "object", "properties": {"ms": {"type": "integer"}}}


def called(answer: dict[str, Any]) -> str:
    """The name in a whole answer, whatever the dialect."""
    text = json.dumps(answer)
    return "the.name" if "the.name" in text else text


@pytest.mark.parametrize("dialect", ["openai", "responses", "anthropic", "gemini"])
def test_every_caller_sees_its_own_name(dialect: str) -> None:
    asked = n.Turn(role="user", parts=[n.Text(text="hi")])
    request = n.Request(model="m", turns=[asked], tools=[n.Tool(name="the.name")])
    anthropic_request.write(request)
    (fit,) = request.renamed
    spoken = translator(dialect)
    call = n.Call(id="c", name=fit)
    output = n.Output(parts=[call], finish=n.Finish(reason="tools"))
    body = spoken.write_answer(n.Answer(outputs=[output]), request, "id", 1)
    assert called(body) == "the.name"
    writer = spoken.writer(request, "id", 1)
    told = b"".join(
        writer.write(event)
        for event in (
            n.Start(),
            n.CallStart(id="c", name=fit),
            n.CallDelta(arguments="{}"),
            n.Finish(reason="tools"),
            n.Done(),
        )
    )
    assert b"the.name" in told
    assert fit.encode() not in told


def codex(*items: dict[str, Any]) -> n.Request:
    """A request as Codex sends it: its tools are an item, in namespaces."""
    tools = [
        {
            "type": "namespace",
            "name": "functions",
            "tools": [{"type": "custom", "name": "exec", "description": "Runs it"}],
        },
        {
            "type": "namespace",
            "name": "clock",
            "tools": [{"type": "function", "name": "sleep", "parameters": SCHEMA}],
        },
    ]
    body = {
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": tools},
            {"type": "message", "role": "user", "content": "hi"},
            *items,
            {"type": "additional_tools", "role": "developer", "tools": tools},
            {"type": "configuration_update", "reasoning": {"effort": "low"}},
        ],
        "client_metadata": {"x": "y"},
    }
    return responses_request.read(json.dumps(body).encode(), "m", False)


def test_tools_that_are_items_are_tools_like_others() -> None:
    call = {
        "type": "function_call",
        "call_id": "c1",
        "name": "sleep",
        "namespace": "clock",
        "arguments": '{"ms":1}',
    }
    result = {"type": "function_call_output", "call_id": "c1", "output": "slept"}
    request = codex(call, result)
    assert request.dropped == []
    assert request.reasoning == n.Reasoning(effort="low")
    request.model = "claude-sonnet-4-5"
    body = anthropic_request.write(request)
    assert [tool["name"] for tool in body["tools"]] == ["functions__exec", "clock__sleep"]
    assert body["messages"][1]["content"][0]["name"] == "clock__sleep"


def test_calls_come_back_in_their_namespace() -> None:
    request = codex()
    spoken = translator("responses")
    parts: list[n.Part] = [
        n.Call(id="a", name="clock__sleep", arguments='{"ms":1}'),
        n.Call(id="b", name="functions__exec", arguments='{"input":"x = 1"}'),
    ]
    output = n.Output(parts=parts, finish=n.Finish(reason="tools"))
    body = spoken.write_answer(n.Answer(outputs=[output]), request, "id", 1)
    told = [
        (item["type"], item["namespace"], item["name"], item.get("arguments", item.get("input")))
        for item in body["output"]
    ]
    assert told == [
        ("function_call", "clock", "sleep", '{"ms":1}'),
        ("custom_tool_call", "functions", "exec", "x = 1"),
    ]
    writer = spoken.writer(request, "id", 1)
    events: list[n.Event] = [n.Start()]
    for index, part in enumerate(parts):
        assert isinstance(part, n.Call)
        events.append(n.CallStart(index=index, id=part.id, name=part.name))
        events.append(n.CallDelta(index=index, arguments=part.arguments))
    events += [n.Finish(reason="tools"), n.Done()]
    stream = b"".join(writer.write(event) for event in events).decode()
    done = [
        json.loads(line[6:])["item"]
        for line in stream.splitlines()
        if line.startswith("data: ") and '"response.output_item.done"' in line
    ]
    assert [(i["type"], i["namespace"], i["name"]) for i in done] == [
        ("function_call", "clock", "sleep"),
        ("custom_tool_call", "functions", "exec"),
    ]
