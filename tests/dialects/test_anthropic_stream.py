"""Anthropic streams: what providers send, and what callers' SDKs make of ours."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic.stream import Reader, Writer
from muxproxy.dialects.anthropic.words import FORMAT_TOOL
from muxproxy.exchange import Usage
from tests.dialects.clients import Clients
from tests.dialects.folding import calls_of, fold, text_of

REQUEST = n.Request(model="m")


@pytest.fixture(scope="module")
def clients() -> Clients:
    return Clients()


def events(*natives: dict[str, Any]) -> list[n.Event]:
    reader = Reader()
    found: list[n.Event] = []
    for native in natives:
        found += reader.feed(native["type"], json.dumps(native).encode())
    return found + reader.finish()


def start(**usage: int) -> dict[str, Any]:
    message = {"id": "msg_1", "model": "claude", "content": [], "usage": usage}
    return {"type": "message_start", "message": message}


def block(index: int, *deltas: dict[str, Any], **content: Any) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def end(reason: str = "end_turn", **usage: int) -> list[dict[str, Any]]:
    told = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return [told, {"type": "message_stop"}]


def text(said: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": said}


def piece(said: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": said}


def test_blocks_of_each_kind() -> None:
    answer = fold(
        events(
            start(input_tokens=5),
            {"type": "ping"},
            *block(
                0,
                {"type": "thinking_delta", "thinking": "Hm"},
                {"type": "signature_delta", "signature": "s"},
                type="thinking",
                thinking="",
            ),
            *block(1, type="redacted_thinking", data="zzz"),
            *block(2, text("S"), text("o"), type="text", text=""),
            *block(3, piece(""), piece('{"x"'), piece(":1}"), type="tool_use", id="a", name="f"),
            *block(4, type="tool_use", id="b", name="g", input={}),
            *block(5, type="tool_use", id="c", name="h", input={"y": 1}),
            *end("tool_use", output_tokens=9),
        )
    )
    assert answer.outputs[0].parts == [
        n.Thinking(text="Hm", signature="s", maker="anthropic"),
        n.Thinking(sealed="zzz", maker="anthropic"),
        n.Text(text="So"),
        n.Call(id="a", name="f", arguments='{"x":1}'),
        n.Call(id="b", name="g", arguments="{}"),
        n.Call(id="c", name="h", arguments='{"y":1}'),
    ]
    assert answer.outputs[0].finish.reason == "tools"
    assert answer.usage == Usage(input=5, output=9)


def test_usage_is_replaced_field_by_field() -> None:
    answer = fold(
        events(
            start(input_tokens=5, cache_read_input_tokens=7, output_tokens=1),
            *end(input_tokens=50, output_tokens=9),
        )
    )
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.cache_read, answer.usage.output) == (50, 7, 9)


def test_unknown_blocks_deltas_and_events_do_no_harm() -> None:
    answer = fold(
        events(
            start(input_tokens=1),
            *block(0, piece('{"q":1}'), type="server_tool_use", id="s", name="web_search"),
            *block(1, type="web_search_tool_result", content=[{"type": "x"}]),
            *block(2, {"type": "compaction_delta", "content": "c"}, type="compaction"),
            {"type": "something_new", "x": 1},
            *block(3, {"type": "new_delta"}, text("So"), type="text", text=""),
            *end(output_tokens=1),
        )
    )
    assert answer.outputs[0].parts == [n.Text(text="So")]


def test_sources_stand_where_their_text_stands() -> None:
    source = {
        "type": "web_search_result_location",
        "url": "https://a.test",
        "title": "A",
        "cited_text": "c",
    }
    cited = {"type": "citations_delta", "citation": source}
    answer = fold(
        events(
            start(),
            *block(0, text("One. "), type="text", text=""),
            *block(1, cited, text("Two."), type="text", text="", citations=[]),
            *end(),
        )
    )
    assert answer.outputs[0].citations == [
        n.Citation(url="https://a.test", title="A", quoted="c", start=5, end=9)
    ]


def test_the_format_tool_is_the_answers_text() -> None:
    tool = {"type": "tool_use", "id": "a", "name": FORMAT_TOOL, "input": {}}
    answer = fold(events(start(), *block(0, piece('{"a":1}'), **tool), *end("tool_use")))
    assert text_of(answer.outputs[0]) == '{"a":1}'
    assert (answer.outputs[0].finish.reason, calls_of(answer.outputs[0])) == ("stop", [])
    other = {"type": "tool_use", "id": "b", "name": "f", "input": {}}
    both = fold(events(start(), *block(0, **tool), *block(1, **other), *end("tool_use")))
    assert both.outputs[0].finish.reason == "tools"


def test_a_refusal_says_why() -> None:
    why = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    told = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": why}}
    answer = fold(events(start(), told, {"type": "message_stop"}))
    assert answer.outputs[0].finish.reason == "filter"
    assert answer.outputs[0].parts == [n.Refusal(text="Not this.")]


def test_errors_and_cuts() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    found = events(start(), *block(0, text("x"), type="text"), error, *end())
    assert found[-1] == n.Failure(message="busy", kind="overloaded_error", status=529)
    assert not isinstance(events(start(), *block(0, text("x"), type="text"))[-1], n.Done)
    assert isinstance(events(start(), end()[0])[-1], n.Done)


# -- writing -------------------------------------------------------------------------------------


def written(*found: n.Event, **ways: Any) -> bytes:
    writer = Writer(ways.pop("request", REQUEST), "msg_1", 7, **ways)
    return b"".join(writer.write(event) for event in found)


def named(body: bytes) -> list[tuple[str, Any]]:
    """(event name, data) of each event."""
    found = []
    for event in body.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


START = n.Start(id="up", model="real")


def test_the_order_of_a_stream_and_usage_that_comes_after_the_finish() -> None:
    body = written(
        START,
        n.TextDelta(text="Hi"),
        n.Finish(reason="stop"),
        n.Totals(usage=Usage(input=3, cache_read=4, output=2, reasoning=1)),
        n.Done(),
        estimate=11,
    )
    found = named(body)
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == data["type"] for name, data in found)
    opening = found[0][1]["message"]
    assert (opening["id"], opening["model"]) == ("msg_1", "real")
    assert opening["usage"]["input_tokens"] == 11
    closing = found[4][1]
    assert closing["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert closing["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 1},
    }


def test_thoughts_calls_and_a_late_piece_in_the_sdks_own_types(clients: Clients) -> None:
    got = clients.message_stream(
        written(
            START,
            n.ThinkingDelta(text="H"),
            n.ThinkingDelta(text="m"),
            n.ThinkingSeal(signature="sig", maker="anthropic"),
            n.ThinkingSeal(part=1, sealed="zzz", maker="anthropic"),
            n.TextDelta(text="So"),
            n.Citation(url="https://a.test", title="A", quoted="q"),
            n.CallStart(index=0, id="functions.f:0", name="f"),
            n.CallDelta(index=0, arguments='{"x":'),
            n.CallStart(index=1, id="c1", name="short"),
            n.CallDelta(index=1, arguments="{}"),
            n.CallDelta(index=0, arguments="1}"),
            n.Finish(reason="tools"),
            n.Done(),
            request=n.Request(model="m", renamed={"short": "the.name"}),
        )
    )
    thinking, sealed, said, first, second = got.content
    assert (thinking.thinking, thinking.signature) == ("Hm", "sig")
    assert (sealed.type, sealed.data) == ("redacted_thinking", "zzz")
    assert (said.text, said.citations[0].url) == ("So", "https://a.test")
    assert (first.input, first.id[:3], second.name) == ({"x": 1}, "mx-", "the.name")
    assert got.stop_reason == "tool_use"


def test_foreign_proofs_travel_in_the_signature_and_come_back() -> None:
    from muxproxy.dialects.anthropic import request as anthropic_request

    body = written(
        START,
        n.ThinkingDelta(text="Summary"),
        n.ThinkingSeal(sealed="enc.1", id="rs_1", maker="responses"),
        n.ThinkingSeal(part=1, sealed="enc2", maker="responses"),
        n.ThinkingDelta(part=2, text="Plain"),
        n.ThinkingSeal(part=2, signature="g", maker="gemini"),
        n.TextDelta(text="So"),
        n.Done(),
    )
    content: dict[int, dict[str, Any]] = {}
    for _, data in named(body):
        if data["type"] == "content_block_start":
            content[data["index"]] = data["content_block"]
        elif data["type"] == "content_block_delta":
            delta = data["delta"]
            for key in ("thinking", "signature", "text"):
                if key in delta:
                    content[data["index"]][key] += delta[key]
    said = {"role": "assistant", "content": list(content.values())}
    back = anthropic_request.read(json.dumps({"messages": [said]}).encode())
    assert back.turns[0].parts == [
        n.Thinking(text="Summary", sealed="enc.1", id="rs_1", maker="responses"),
        n.Thinking(sealed="enc2", maker="responses"),
        n.Thinking(text="Plain", signature="g", maker="gemini"),
        n.Text(text="So"),
    ]


def test_an_error_is_never_a_clean_stop(clients: Clients) -> None:
    body = written(START, n.TextDelta(text="Hi"), n.Finish(reason="error", native="X"), n.Done())
    assert b"message_stop" not in body
    with pytest.raises(anthropic.APIStatusError, match="ended the answer with X"):
        clients.message_stream(body)


def test_only_the_first_choice_is_told(clients: Clients) -> None:
    got = clients.message_stream(
        written(
            START,
            n.TextDelta(text="a"),
            n.TextDelta(choice=1, text="b"),
            n.Finish(choice=1, reason="length"),
            n.Finish(reason="stop"),
            n.Done(),
        )
    )
    assert [b.text for b in got.content] == ["a"]
    assert got.stop_reason == "end_turn"


def test_a_refusal_is_text_and_a_reason(clients: Clients) -> None:
    got = clients.message_stream(
        written(START, n.RefusalDelta(text="No."), n.Finish(reason="stop"), n.Done())
    )
    assert (got.content[0].text, got.stop_reason) == ("No.", "refusal")


def test_nothing_but_an_end_is_still_a_message(clients: Clients) -> None:
    got = clients.message_stream(written(n.Done(), estimate=4))
    assert (got.content, got.stop_reason, got.usage.input_tokens) == ([], "end_turn", 4)


def test_a_failure_is_raised_and_nothing_follows(clients: Clients) -> None:
    failure = n.Failure(message="boom", kind="UNAVAILABLE", status=503)
    body = written(START, n.TextDelta(text="Hi"), failure, n.Finish(), n.Done())
    assert b"message_stop" not in body
    with pytest.raises(anthropic.APIStatusError, match="boom") as caught:
        clients.message_stream(body)
    assert caught.value.body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "boom"},
    }
