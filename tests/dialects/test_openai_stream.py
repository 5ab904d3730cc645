"""OpenAI chat streams: every way in which providers send them, and what callers get."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import answer as anthropic_answer
from muxproxy.dialects.openai import answer as openai_answer
from muxproxy.dialects.openai.stream import Reader, Writer
from muxproxy.errors import MuxError
from muxproxy.exchange import Usage
from tests.dialects.clients import Clients
from tests.dialects.folding import calls_of, fold, text_of, thought_of

REQUEST = n.Request(model="m", stream_usage=True)


@pytest.fixture(scope="module")
def clients() -> Clients:
    return Clients()


def events(*chunks: Any, end: bool = True) -> list[n.Event]:
    """What the reader makes of chunks; a dict is one choice's delta."""
    reader = Reader()
    found: list[n.Event] = []
    for chunk in chunks:
        data = chunk if isinstance(chunk, str) else json.dumps(chunk)
        found += reader.feed(None, data.encode())
    if end:
        found += reader.feed(None, b"[DONE]")
    return found + reader.finish()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {"id": "c", "model": "m", "created": 1, "choices": [choice]}


def called(*fragments: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the calls that fragments make."""
    chunks = [delta(tool_calls=[fragment]) for fragment in fragments]
    answer = fold(events(*chunks, delta(finish="tool_calls")))
    return [(c.id, c.name, c.arguments) for c in calls_of(answer.outputs[0])]


def fn(name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def test_the_usual_fragments() -> None:
    made = called(
        {"index": 0, "id": "a", "type": "function", "function": fn("f", "")},
        {"index": 0, "function": {"arguments": '{"x"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
        {"index": 1, "id": "b", "type": "function", "function": fn("g", "{}")},
    )
    assert made == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_no_index() -> None:
    made = called(
        {"id": "a", "function": fn("f", '{"x":1}')}, {"id": "b", "function": fn("g", "{}")}
    )
    assert made == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_no_index_and_pieces() -> None:
    made = called(
        {"id": "a", "function": fn("f", '{"x"')},
        {"function": fn(None, ":1}")},
        {"id": "b", "function": fn("g", "{}")},
        {"id": "a", "function": fn(None, " ")},
    )
    assert made == [("a", "f", '{"x":1} '), ("b", "g", "{}")]


def test_one_index_for_two_ids() -> None:
    made = called(
        {"index": 0, "id": "a", "function": fn("f", "{}")},
        {"index": 0, "id": "b", "function": fn("f", '{"y":2}')},
    )
    assert made == [("a", "f", "{}"), ("b", "f", '{"y":2}')]


def test_one_index_and_no_ids() -> None:
    made = called(
        {"index": 0, "function": fn("f", '{"x":1}')}, {"index": 0, "function": fn("g", "{}")}
    )
    assert [(name, arguments) for _, name, arguments in made] == [("f", '{"x":1}'), ("g", "{}")]
    assert len({name for name, _, _ in made}) == 2
    assert all(name.startswith("call_") for name, _, _ in made)


def test_id_and_name_on_every_fragment() -> None:
    made = called(
        {"index": 0, "id": "a", "function": fn("f", '{"x"')},
        {"index": 0, "id": "a", "function": fn("f", ":1}")},
    )
    assert made == [("a", "f", '{"x":1}')]


def test_another_id_on_every_fragment_is_no_other_call() -> None:
    made = called(
        {"index": 0, "id": "a", "function": fn("f", '{"x"')},
        {"index": 0, "id": "zz", "function": fn(None, ":1}")},
    )
    assert made == [("a", "f", '{"x":1}')]


def test_name_after_id_and_arguments_as_an_object() -> None:
    made = called(
        {"index": 0, "id": "a", "function": {"arguments": ""}},
        {"index": 0, "function": fn("f", {"x": 1})},
    )
    assert made == [("a", "f", '{"x":1}')]


def test_old_function_call_and_custom_tools() -> None:
    answer = fold(
        events(
            delta(function_call={"name": "f", "arguments": ""}),
            delta(function_call={"arguments": "{}"}),
            delta(finish="function_call"),
        )
    )
    call = calls_of(answer.outputs[0])[0]
    assert (call.name, call.arguments, answer.outputs[0].finish.reason) == ("f", "{}", "tools")
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": "free"}}
    call = calls_of(fold(events(delta(tool_calls=[custom]), delta(finish="stop"))).outputs[0])[0]
    assert (call.custom, call.arguments) == (True, "free")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_under_each_name(name: str) -> None:
    answer = fold(events(delta(**{name: "Hm"}), delta(**{name: "m"}), delta(content="So")))
    assert thought_of(answer.outputs[0]) == "Hmm"
    assert text_of(answer.outputs[0]) == "So"


def test_thoughts_said_twice_count_once() -> None:
    entry = {"type": "reasoning.text", "text": "Hm", "format": "anthropic-claude-v1", "index": 0}
    signed = {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1"}
    answer = fold(
        events(
            delta(reasoning="Hm", reasoning_details=[entry]),
            delta(reasoning_details=[signed]),
            delta(content="So", finish="stop"),
        )
    )
    assert answer.outputs[0].parts == [
        n.Thinking(text="Hm", signature="s", maker="anthropic"),
        n.Text(text="So"),
    ]


def test_mistrals_lists() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    said = {"type": "text", "text": "So"}
    reference = {"type": "reference", "reference_ids": [1]}
    answer = fold(events(delta(content=[thought]), delta(content=[said, reference])))
    assert thought_of(answer.outputs[0]) == "Hm"
    assert text_of(answer.outputs[0]) == "So"


def test_choices_without_a_delta_and_filters() -> None:
    found = events(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]},
        delta(content="x"),
        {"id": "c", "choices": [{"index": 0, "content_filter_results": {}}]},
        delta(finish="content_filter"),
    )
    answer = fold(found)
    assert (answer.id, answer.model) == ("c", "m")
    assert answer.outputs[0].finish.reason == "filter"
    assert text_of(answer.outputs[0]) == "x"


def test_usage_wherever_it_is_the_last_one_counts() -> None:
    first = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    last = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    found = events(
        {**delta(content="x"), "usage": first},
        {**delta(finish="stop"), "usage": None, "x_groq": {"usage": last}},
    )
    usage = fold(found).usage
    assert usage is not None
    assert usage.output_total == 5


def test_forced_calls_that_end_with_stop_wait_for_results() -> None:
    call = {"index": 0, "id": "a", "function": fn("f", "{}")}
    answer = fold(events(delta(tool_calls=[call]), delta(finish="stop")))
    assert answer.outputs[0].finish.reason == "tools"
    assert answer.outputs[0].finish.native == "stop"


def test_several_choices() -> None:
    answer = fold(
        events(delta(0, content="a"), delta(1, content="b"), delta(1, "stop"), delta(0, "length"))
    )
    assert [text_of(output) for output in answer.outputs] == ["a", "b"]
    assert [output.finish.reason for output in answer.outputs] == ["length", "stop"]


def test_the_end_without_done() -> None:
    assert isinstance(events(delta(content="x"), delta(finish="stop"), end=False)[-1], n.Done)
    assert not isinstance(events(delta(content="x"), end=False)[-1], n.Done)
    half = events(delta(0, content="a"), delta(1, content="b"), delta(0, "stop"), end=False)
    assert isinstance(half[-1], n.Failure)


@pytest.mark.parametrize(
    "chunk",
    [
        {"error": {"message": "boom", "type": "server_error", "code": "x"}},
        {"error": {"message": "boom", "code": 502}, "choices": [{"delta": {"content": ""}}]},
        {"error": "boom"},
        "not json",
    ],
)
def test_errors_end_everything(chunk: Any) -> None:
    found = events(delta(content="x"), chunk, delta(content="y"), delta(finish="stop"))
    assert isinstance(found[-1], n.Failure)
    assert text_of(fold(found).outputs[0]) == "x"
    assert "boom" in found[-1].message or chunk == "not json"


def test_groqs_error_event_and_a_finish_of_error() -> None:
    reader = Reader()
    native = {"error": {"message": "m", "type": "t", "code": "c", "status_code": 400}}
    failure = reader.feed("error", json.dumps(native).encode())[0]
    assert failure == n.Failure(message="m", kind="t", code="c", status=400)
    assert isinstance(events(delta(content="x"), delta(finish="error"))[-1], n.Failure)


# -- writing -------------------------------------------------------------------------------------


def written(*found: n.Event, request: n.Request = REQUEST) -> bytes:
    writer = Writer(request, "chatcmpl-1", 7)
    return b"".join(writer.write(event) for event in found)


def chunks_of(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


START = n.Start(id="up", model="real")
END = (n.Finish(reason="stop"), n.Totals(usage=Usage(input=3, output=2)), n.Done())


def test_the_order_of_a_stream() -> None:
    chunks = chunks_of(written(START, n.TextDelta(text="Hi"), *END))
    assert [c["choices"][0]["delta"] for c in chunks[:3]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hi"},
        {},
    ]
    assert {(c["id"], c["created"], c["model"]) for c in chunks[:4]} == {("chatcmpl-1", 7, "real")}
    assert [c["usage"] for c in chunks[:3]] == [None, None, None]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"
    assert (chunks[3]["choices"], chunks[3]["usage"]["total_tokens"]) == ([], 5)
    assert chunks[4] == "[DONE]"


def test_no_usage_chunk_for_a_caller_who_did_not_ask() -> None:
    chunks = chunks_of(written(START, *END, request=n.Request(model="m")))
    assert all("usage" not in chunk for chunk in chunks[:-1])
    assert [len(chunk["choices"]) for chunk in chunks[:-1]] == [1, 1]


def test_calls_thoughts_refusals_and_sources_in_the_sdks_own_types(clients: Clients) -> None:
    body = written(
        START,
        n.ThinkingDelta(text="H"),
        n.ThinkingDelta(text="m"),
        n.ThinkingSeal(signature="sig", maker="anthropic"),
        n.ThinkingSeal(part=1, sealed="zzz", maker="anthropic"),
        n.TextDelta(text="So"),
        n.Citation(url="https://a.test", title="A", start=0, end=2),
        n.Citation(url="https://b.test", start=0, end=2),
        n.RefusalDelta(text="No."),
        n.CallStart(index=0, id="c0", name="f", signature="g"),
        n.CallStart(index=1, id="c1", name="f"),
        n.CallDelta(index=0, arguments='{"x":'),
        n.CallDelta(index=1, arguments="{}"),
        n.CallDelta(index=0, arguments="1}"),
        n.MediaDelta(media=n.Media(kind="image", media_type="image/png", data="aGk=")),
        n.Finish(reason="tools"),
        *END[1:],
    )
    got = clients.completion_stream(body)
    message = got.choices[0].message
    assert got.choices[0].finish_reason == "tool_calls"
    assert (message.content, message.refusal, message.reasoning_content) == ("So", "No.", "Hm")
    calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls]
    assert calls == [("c0", "f", '{"x":1}'), ("c1", "f", "{}")]
    assert message.tool_calls[0].extra_content == {"google": {"thought_signature": "g"}}
    notes = [note.url_citation.url for note in message.annotations]
    assert notes == ["https://a.test", "https://b.test"]
    assert message.images[0]["image_url"]["url"] == "data:image/png;base64,aGk="
    form = "anthropic-claude-v1"
    assert message.reasoning_details == [
        {"type": "reasoning.text", "text": "Hm", "index": 0, "signature": "sig", "format": form},
        {"type": "reasoning.encrypted", "data": "zzz", "format": form, "index": 1},
    ]


def test_half_characters_and_infinities_of_a_provider_do_no_harm() -> None:
    half = '{"choices":[{"index":0,"delta":{"content":"\\ud83d"},"x":NaN}]}'
    assert text_of(fold(events(half, delta(finish="stop"))).outputs[0]) == "\ufffd"


def test_an_error_is_never_a_clean_stop(clients: Clients) -> None:
    bad = n.Finish(reason="error", native="MALFORMED_FUNCTION_CALL")
    body = written(START, n.TextDelta(text="Hi"), bad, n.Done())
    assert b"[DONE]" not in body
    with pytest.raises(openai.APIError, match="MALFORMED_FUNCTION_CALL"):
        clients.chunks(body)
    only = n.Answer(outputs=[n.Output(finish=bad)])
    for dialect in (openai_answer, anthropic_answer):
        with pytest.raises(MuxError, match="MALFORMED_FUNCTION_CALL"):
            dialect.write(only, REQUEST, "id", 1)


def test_old_functions_are_answered_in_kind(clients: Clients) -> None:
    body = written(
        START,
        n.CallStart(id="c", name="short"),
        n.CallDelta(arguments="{}"),
        n.Finish(reason="tools"),
        n.Done(),
        request=n.Request(model="m", legacy_functions=True, renamed={"short": "the.name"}),
    )
    deltas = [c.choices[0].delta for c in clients.chunks(body) if c.choices]
    assert deltas[1].function_call.name == "the.name"
    assert deltas[2].function_call.arguments == "{}"
    last = clients.chunks(body)[-1].choices[0]
    assert last.finish_reason == "function_call"


def test_a_failure_is_raised_and_nothing_follows(clients: Clients) -> None:
    failure = n.Failure(message="boom", kind="overloaded_error", status=529)
    body = written(START, n.TextDelta(text="Hi"), failure, n.TextDelta(text="x"), *END)
    assert b"[DONE]" not in body
    assert b'"x"' not in body
    with pytest.raises(openai.APIError, match="boom") as caught:
        clients.chunks(body)
    assert caught.value.type == "server_error"
    assert caught.value.code is None
