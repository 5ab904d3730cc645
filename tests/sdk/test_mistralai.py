"""The mistralai SDK: chat, streams, tools, embeddings, models, errors, HTTP_PROXY."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import HTTPValidationError, ResponseValidationError, SDKError

from tests.sdk.support import ID, MESSAGES, REFUSALS, WEATHER, Served, body_of

MODEL = "mistral/mistral-small-latest"  # a bare name would go to the first openai provider
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
]
STATUSES = (400, 401, 403, 404, 429, 500, 529)


@pytest.fixture
def client(proxy: Served) -> Iterator[Mistral]:
    with Mistral(server_url=proxy.url, api_key="callers") as made:
        yield made


def code_of(error: SDKError) -> object:
    return json.loads(error.body)["error"]["code"]


def test_chat(proxy: Served, client: Mistral) -> None:
    chat = client.chat.complete(model=MODEL, messages=MESSAGES)
    assert chat.choices[0].message is not None
    assert chat.choices[0].message.content
    assert chat.model == "mistral-small-latest"
    assert proxy.last().get("authorization") == "Bearer sk-mistral"
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert (receipt.provider, receipt.model) == ("mistral", "mistral-small-latest")
    assert receipt.usage.output_total == chat.usage.completion_tokens


@pytest.mark.parametrize("base", ["", "/", "/p/mistral"])
def test_base_urls(proxy: Served, base: str) -> None:
    with Mistral(server_url=proxy.url + base, api_key="k") as client:
        name = "mistral-small-latest" if base == "/p/mistral" else MODEL
        assert client.chat.complete(model=name, messages=MESSAGES).choices
        assert proxy.last().target == "/v1/chat/completions"
        assert body_of(proxy.last())["model"] == "mistral-small-latest"
        assert proxy.newest().provider == "mistral"


def test_streams_are_left_alone(proxy: Served, client: Mistral) -> None:
    """Mistral answers stream_options with 422, and tells the usage unasked."""
    with client.chat.stream(
        model=MODEL, messages=MESSAGES, http_headers={"x-sim-tokens": "7"}
    ) as events:
        chunks = [event.data for event in events]
    text = "".join(str(chunk.choices[0].delta.content or "") for chunk in chunks)
    assert len(text.split()) == 7
    assert "stream_options" not in body_of(proxy.last())
    receipt = proxy.newest()
    assert (receipt.end, receipt.edits) == ("finished", ("model",))


def test_tools_and_their_results(proxy: Served, client: Mistral) -> None:
    first = client.chat.complete(
        model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice="required"
    )
    message = first.choices[0].message
    assert message is not None and message.tool_calls
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    answer = {"role": "tool", "tool_call_id": call.id, "content": "it rains"}
    client.chat.complete(model=MODEL, messages=[*MESSAGES, message, answer], tools=TOOLS)
    assert [m["role"] for m in body_of(proxy.last())["messages"]] == ["user", "assistant", "tool"]


def test_a_streamed_tool_call(proxy: Served, client: Mistral) -> None:
    """Mistral streams a tool call whole, where OpenAI sends it in fragments."""
    call = {"id": "D681PevKs", "function": {"name": "get_weather", "arguments": '{"city":"Bern"}'}}
    choice = {"index": 0, "delta": {"content": "", "tool_calls": [{**call, "index": 0}]}}
    chunk = {
        "id": "a3",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "mistral-small-latest",
        "choices": [{**choice, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110},
    }
    proxy.script(
        body=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n",
        headers={"content-type": "text/event-stream"},
    )
    with client.chat.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as events:
        calls = [call for e in events for call in e.data.choices[0].delta.tool_calls or []]
    assert [call.function.name for call in calls] == ["get_weather"]
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert (receipt.usage.input_total, receipt.usage.output_total) == (90, 20)


def test_embeddings(proxy: Served, client: Mistral) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
    row = {"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}
    answer = {"id": "e1", "object": "list", "model": "mistral-embed", "data": [row]}
    proxy.script(
        body=json.dumps({**answer, "usage": usage}),
        headers={"content-type": "application/json"},
    )
    found = client.embeddings.create(model="mistral/mistral-embed", inputs=["hi"])
    assert found.data[0].embedding == [0.25, -1.0]
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert (receipt.endpoint, receipt.usage.input_total) == ("embeddings", 5)


def test_models(client: Mistral) -> None:
    listed: list[Any] = client.models.list().data or []
    assert "small" in [model.id for model in listed]


def test_an_alias_with_router_metadata_parses(proxy: Served, client: Mistral) -> None:
    chat = client.chat.complete(model="small", messages=MESSAGES)
    assert (chat.model, proxy.newest().edits) == ("gpt-4o-mini", ("model", "router_metadata"))
    assert chat.choices[0].message is not None


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_errors_are_the_sdks_own(client: Mistral, status: int, stream: bool) -> None:
    headers = {"x-sim-status": str(status), "x-sim-code": "theirs"}
    with pytest.raises(SDKError) as caught:
        if stream:
            client.chat.stream(model=MODEL, messages=MESSAGES, http_headers=headers)
        else:
            client.chat.complete(model=MODEL, messages=MESSAGES, http_headers=headers)
    assert (caught.value.status_code, code_of(caught.value)) == (status, "theirs")
    assert caught.value.headers["x-muxproxy-provider"] == "mistral"
    assert caught.value.headers[ID]


def test_a_validation_error_is_one(client: Mistral) -> None:
    with pytest.raises(HTTPValidationError) as caught:
        client.chat.complete(model=MODEL, messages=MESSAGES, http_headers={"x-sim-status": "422"})
    assert caught.value.status_code == 422


@pytest.mark.parametrize("model", REFUSALS)
def test_our_refusals_are_the_sdks_own(proxy: Served, client: Mistral, model: str) -> None:
    status, code = REFUSALS[model]
    before = len(proxy.seen())
    with pytest.raises(SDKError) as caught:
        client.chat.complete(model=model, messages=MESSAGES)
    assert (caught.value.status_code, code_of(caught.value)) == (status, code)
    assert caught.value.headers["x-should-retry"] == "false"
    assert len(proxy.seen()) == before


def test_an_unknown_provider(proxy: Served) -> None:
    with (
        Mistral(server_url=f"{proxy.url}/p/nobody", api_key="k") as client,
        pytest.raises(SDKError) as missing,
    ):
        client.chat.complete(model=MODEL, messages=MESSAGES)
    assert (missing.value.status_code, code_of(missing.value)) == (404, "not_found")


def test_a_stream_that_dies_raises(proxy: Served, client: Mistral) -> None:
    """This SDK knows no error event: that it is no chunk is what it raises."""
    with (
        pytest.raises(ResponseValidationError) as caught,
        client.chat.stream(
            model=MODEL, messages=MESSAGES, http_headers={"x-sim-drop-after": "4"}
        ) as events,
    ):
        for _ in events:
            pass
    assert "upstream_died" in caught.value.body
    assert proxy.newest().end == "upstream_died"


async def test_async(proxy: Served) -> None:
    async with Mistral(server_url=proxy.url, api_key="k") as client:
        chat = await client.chat.complete_async(model="small", messages=MESSAGES)
        assert chat.choices[0].message is not None
        events = await client.chat.stream_async(model=MODEL, messages=MESSAGES)
        async with events:
            assert [event.data.choices[0].delta async for event in events]
        for status in STATUSES:
            with pytest.raises(SDKError):
                await client.chat.complete_async(
                    model=MODEL, messages=MESSAGES, http_headers={"x-sim-status": str(status)}
                )


async def test_behind_http_proxy(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    name = "mistral-small-latest"
    async with Mistral(server_url="http://mistral.test", api_key="k") as client:
        chat = await client.chat.complete_async(model=name, messages=MESSAGES)
        assert chat.model == name
        assert proxy.newest().provider == "mistral"
    with Mistral(server_url="http://mistral.test", api_key="k") as client:
        with client.chat.stream(model=name, messages=MESSAGES) as events:
            assert [event.data.id for event in events]
        with pytest.raises(SDKError) as caught:
            client.chat.complete(model="x-preview", messages=MESSAGES)
        assert code_of(caught.value) == "denied_by_rule"
