"""Thoughts, pictures and schemas through SDKs and sockets, where the provider speaks another
dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

from tests.sdk.support import PROVIDERS, WEATHER, Served, served
from tests.sdk.test_translated import FUNCTIONS, MODELS, QUESTION, RESPOND, USES, others

PNG = "iVBORw0KGgo="
URL = f"data:image/png;base64,{PNG}"
THINK = {"x-sim-thinking": "5"}
BOTH = {"x-sim-thinking": "5", "x-sim-tools": "1"}

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
either = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


class City(BaseModel):
    city: str


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("content")
    with served(folder, "", PROVIDERS + RESPOND) as running:
        yield running


@pytest.fixture
def chat(proxy: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=proxy.url + "/v1", api_key="callers", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(proxy: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=proxy.url, api_key="callers", max_retries=0) as client:
        yield client


def sent(proxy: Served) -> Any:
    """The body that reached the provider last."""
    return json.loads(proxy.last().body or b"")


def completion(chat: OpenAI, stream: bool, headers: dict[str, str], **fields: Any) -> Any:
    """One answer, however it comes."""
    if not stream:
        return chat.chat.completions.create(extra_headers=headers, **fields)
    with chat.chat.completions.stream(extra_headers=headers, **fields) as events:
        for _ in events:
            pass
        return events.get_final_completion()


def message(claude: Anthropic, stream: bool, headers: dict[str, str], **fields: Any) -> Any:
    """One answer, however it comes."""
    if not stream:
        return claude.messages.create(extra_headers=headers, **fields)
    with claude.messages.stream(extra_headers=headers, **fields) as events:
        return events.get_final_message()


@either
@others("openai")
def test_chat_shows_thoughts(chat: OpenAI, provider: str, stream: bool) -> None:
    fields: dict[str, Any] = {"model": MODELS[provider], "messages": QUESTION}
    got = completion(chat, stream, THINK, reasoning_effort="low", **fields).choices[0].message
    assert len(got.reasoning_content.split()) == 5
    assert got.content


@either
def test_claudes_signature_comes_back_to_it(proxy: Served, chat: OpenAI, stream: bool) -> None:
    """Two turns of a tool loop, by a client that sends back what it got."""
    fields: dict[str, Any] = {
        "model": "anthropic/claude-sonnet-4-5",
        "tools": FUNCTIONS,
        "reasoning_effort": "low",
    }
    got = completion(chat, stream, BOTH, messages=QUESTION, **fields).choices[0].message
    (entry,) = got.reasoning_details
    assert entry["format"] == "anthropic-claude-v1"
    (call,) = got.tool_calls
    said = got.model_dump(exclude_none=True, include={"role", "content", "reasoning_details"})
    used = {"name": call.function.name, "arguments": call.function.arguments}
    said["tool_calls"] = [{"id": call.id, "type": "function", "function": used}]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    completion(chat, stream, {}, messages=[*QUESTION, said, result], **fields)
    body = sent(proxy)
    thought, *_, use = body["messages"][1]["content"]
    assert thought == {
        "type": "thinking",
        "thinking": got.reasoning_content,
        "signature": entry["signature"],
    }
    assert use["id"] == call.id
    assert body["thinking"]["type"] == "enabled"
    assert body["messages"][2]["content"][0]["tool_use_id"] == call.id


@either
@others("anthropic")
def test_messages_show_thoughts(
    proxy: Served, claude: Anthropic, provider: str, stream: bool
) -> None:
    fields: dict[str, Any] = {
        "model": MODELS[provider],
        "max_tokens": 4000,
        "tools": USES,
        "thinking": {"type": "adaptive"},
    }
    got = message(claude, stream, BOTH, messages=QUESTION, **fields)
    thought = next(block for block in got.content if block.type == "thinking")
    use = next(block for block in got.content if block.type == "tool_use")
    assert len(thought.thinking.split()) == 5
    assert got.stop_reason == "tool_use"
    said = {"role": "assistant", "content": got.content}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
    told = [*QUESTION, said, {"role": "user", "content": [result]}]
    message(claude, stream, {}, messages=told, **fields)
    assert "rain" in (proxy.last().body or b"").decode()


PLACES: dict[str, Any] = {
    "anthropic": lambda b: b["messages"][0]["content"][1]["source"]["data"],
    "google": lambda b: b["contents"][0]["parts"][1]["inlineData"]["data"],
    "openai": lambda b: b["messages"][0]["content"][1]["image_url"]["url"],
    "respond": lambda b: b["input"][0]["content"][1]["image_url"],
}


@others("openai")
def test_chat_sends_pictures(proxy: Served, chat: OpenAI, provider: str) -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": URL}},
    ]
    asked: list[Any] = [{"role": "user", "content": parts}]
    completion(chat, False, {}, model=MODELS[provider], messages=asked)
    assert PLACES[provider](sent(proxy)).endswith(PNG)


@others("anthropic")
def test_messages_send_pictures(proxy: Served, claude: Anthropic, provider: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    asked: list[Any] = [{"role": "user", "content": parts}]
    message(claude, False, {}, model=MODELS[provider], max_tokens=99, messages=asked)
    assert PLACES[provider](sent(proxy)).endswith(PNG)


@others("openai")
def test_chat_parses_schemas(proxy: Served, chat: OpenAI, provider: str) -> None:
    got = chat.chat.completions.parse(
        model=MODELS[provider],
        messages=QUESTION,
        response_format=City,
        extra_headers={"x-sim-text": '{"city":"Koln"}'},
    )
    assert got.choices[0].message.parsed == City(city="Koln")
    assert '"city"' in (proxy.last().body or b"").decode()


@either
def test_chat_parses_schemas_of_models_that_have_none(
    proxy: Served, chat: OpenAI, stream: bool
) -> None:
    """The stand-in tool's input is the text; nobody sees a call."""
    schema = {"name": "city", "schema": WEATHER}
    got = completion(
        chat,
        stream,
        {"x-sim-tools": "1"},
        model="anthropic/claude-3-5-haiku-latest",
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": schema},
    ).choices[0]
    assert isinstance(json.loads(got.message.content), dict)
    assert not got.message.tool_calls
    assert got.finish_reason == "stop"
    body = sent(proxy)
    assert body["tools"][0]["input_schema"] == WEATHER
    assert body["tool_choice"]["type"] == "tool"


@others("anthropic")
def test_messages_ask_for_schemas(proxy: Served, claude: Anthropic, provider: str) -> None:
    form = {"type": "json_schema", "schema": {**WEATHER, "additionalProperties": False}}
    got = claude.messages.create(
        model=MODELS[provider],
        max_tokens=99,
        messages=QUESTION,
        output_config={"format": form},  # type: ignore[typeddict-item]
        extra_headers={"x-sim-text": '{"city":"Koln"}'},
    )
    assert got.content[0].text == '{"city":"Koln"}'  # type: ignore[union-attr]
    assert '"city"' in (proxy.last().body or b"").decode()
