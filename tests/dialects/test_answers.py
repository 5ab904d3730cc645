"""Whole answers, as callers' clients are particular about them."""

from __future__ import annotations

import msgspec
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import answer as anthropic_answer
from muxproxy.dialects.anthropic.words import FORMAT_TOOL
from muxproxy.dialects.openai import answer as openai_answer
from muxproxy.exchange import Usage
from tests.dialects.clients import Clients

REQUEST = n.Request(model="m", renamed={"short": "the.name"})
encode = msgspec.json.encode


@pytest.fixture(scope="module")
def clients() -> Clients:
    return Clients()


def one(*parts: n.Part, **more: object) -> n.Answer:
    return n.Answer(outputs=[n.Output(parts=list(parts), **more)])  # type: ignore[arg-type]


SOURCE = n.Citation(url="https://a.test", title=None, start=3, end=5)


def test_a_message_has_citations_only_where_there_are_some() -> None:
    """The AI SDK's schema takes neither null citations nor a null title."""
    answer = one(n.Text(text="One"), n.Text(text="Two"), citations=[SOURCE])
    first, second = anthropic_answer.write(answer, REQUEST, "id", 1)["content"]
    assert first == {"type": "text", "text": "One"}
    assert second["citations"][0]["title"] == ""
    back = anthropic_answer.read(encode({"content": [first, second]}))
    assert back.outputs[0].citations == [
        n.Citation(url="https://a.test", quoted="", start=3, end=6)
    ]


def test_thoughts_have_both_names_with_and_without_a_proof(clients: Clients) -> None:
    answer = one(n.Thinking(text="Hm"), n.Text(text="So"), citations=[SOURCE])
    got = clients.completion(encode(openai_answer.write(answer, REQUEST, "id", 1)))
    message = got.choices[0].message
    assert message.reasoning_content == "Hm"
    assert message.reasoning_details[0]["text"] == "Hm"
    assert message.annotations[0].url_citation.url == "https://a.test"


def test_a_format_by_tool_is_text_and_an_end() -> None:
    block = {"type": "tool_use", "id": "t", "name": FORMAT_TOOL, "input": {"a": 1}}
    answer = anthropic_answer.read(encode({"content": [block], "stop_reason": "tool_use"}))
    assert answer.outputs[0].parts == [n.Text(text='{"a":1}')]
    assert answer.outputs[0].finish.reason == "stop"


def test_refusals_both_ways(clients: Clients) -> None:
    refused = one(n.Refusal(text="No."))
    got = clients.message(encode(anthropic_answer.write(refused, REQUEST, "id", 1)))
    assert (got.content[0].text, got.stop_reason) == ("No.", "refusal")
    chat = clients.completion(encode(openai_answer.write(refused, REQUEST, "id", 1)))
    assert (chat.choices[0].message.refusal, chat.choices[0].message.content) == ("No.", None)
    details = {"type": "refusal", "category": "bio", "explanation": "Why."}
    native = {"content": [], "stop_reason": "refusal", "stop_details": details}
    assert anthropic_answer.read(encode(native)).outputs[0].parts == [n.Refusal(text="Why.")]


def test_tools_have_the_callers_names() -> None:
    answer = one(n.Call(id="c", name="short"), n.Call(id="d", name="other"))
    body = anthropic_answer.write(answer, REQUEST, "id", 1)
    assert [block["name"] for block in body["content"]] == ["the.name", "other"]
    chat = openai_answer.write(answer, REQUEST, "id", 1)["choices"][0]["message"]
    assert [call["function"]["name"] for call in chat["tool_calls"]] == ["the.name", "other"]


def test_old_functions_are_answered_in_kind(clients: Clients) -> None:
    request = n.Request(model="m", legacy_functions=True)
    answer = one(n.Call(id="c", name="f"), finish=n.Finish(reason="tools"))
    got = clients.completion(encode(openai_answer.write(answer, request, "id", 1))).choices[0]
    assert (got.message.function_call.name, got.finish_reason) == ("f", "function_call")


def test_usage_in_each_dialects_sense() -> None:
    usage = Usage(
        input=10, cache_read=20, cache_write_5m=3, cache_write_1h=4, output=5, reasoning=6
    )
    answer = n.Answer(outputs=[n.Output()], usage=usage)
    chat = openai_answer.write(answer, REQUEST, "id", 1)["usage"]
    assert (chat["prompt_tokens"], chat["completion_tokens"], chat["total_tokens"]) == (37, 11, 48)
    assert chat["prompt_tokens_details"]["cached_tokens"] == 20
    assert chat["prompt_tokens_details"]["cache_write_tokens"] == 7
    told = anthropic_answer.write(answer, REQUEST, "id", 1)["usage"]
    assert (told["input_tokens"], told["output_tokens"]) == (10, 11)
    assert (told["cache_read_input_tokens"], told["cache_creation_input_tokens"]) == (20, 7)
    assert openai_answer.read(encode({"choices": [], "usage": chat})).usage == usage
    assert anthropic_answer.read(encode({"content": [], "usage": told})).usage == usage


def test_generated_pictures_are_shown_as_openrouter_shows_them() -> None:
    picture = n.Media(kind="image", media_type="image/png", data="aGk=")
    body = openai_answer.write(one(picture), REQUEST, "id", 1)
    assert openai_answer.read(encode(body)).outputs[0].parts == [picture]


def test_openrouters_blank_lines_and_errors_within_a_choice() -> None:
    body = b'\n\n\n{"choices":[{"error":{"code":502,"message":"boom"},"message":{}}]}'
    failure = openai_answer.read(body).failure
    assert failure is not None
    assert (failure.status, failure.message) == (502, "boom")
