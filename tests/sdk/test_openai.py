"""The openai SDK: chat, responses, embeddings, models; streams, tools, errors, HTTP_PROXY."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.sdk.support import ID, MESSAGES, REFUSALS, WEATHER, Served, body_of

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
]
FLAT_TOOLS: list[Any] = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}
]
ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    529: openai.InternalServerError,
}


@pytest.fixture
def client(proxy: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{proxy.url}/v1", api_key="callers", max_retries=0) as made:
        yield made


def test_chat(proxy: Served, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=MESSAGES)
    chat = raw.parse()
    assert chat.choices[0].message.content
    assert raw.headers["x-muxproxy-provider"] == "openai"
    assert raw.headers["x-muxproxy-model"] == "gpt-4o-mini"
    assert float(raw.headers["x-muxproxy-overhead-ms"]) > 0
    assert raw.headers["x-request-id"]  # the provider's own
    receipt = proxy.receipt(raw.headers[ID])
    assert receipt.usage is not None
    assert chat.usage is not None
    assert receipt.usage.input_total == chat.usage.prompt_tokens
    assert receipt.usage.output_total == chat.usage.completion_tokens
    assert proxy.last().get("authorization") == "Bearer sk-openai"


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/", "/openai/v1", "/p/mistral/v1"])
def test_base_urls_with_and_without_v1(proxy: Served, base: str) -> None:
    with OpenAI(base_url=proxy.url + base, api_key="k", max_retries=0) as client:
        assert client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).choices
        assert proxy.last().target == "/v1/chat/completions"
        assert client.responses.create(model="gpt-4o-mini", input="hi").output_text
        assert proxy.last().target == "/v1/responses"
        provider = "mistral" if "mistral" in base else "openai"
        assert proxy.newest().provider == provider


def test_the_environment_names_it(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{proxy.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "callers")
    with OpenAI() as client:
        assert client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).choices


@pytest.mark.parametrize("include_usage", [None, True, False])
def test_streams(proxy: Served, client: OpenAI, include_usage: bool | None) -> None:
    more: dict[str, Any] = {}
    if include_usage is not None:
        more["stream_options"] = {"include_usage": include_usage}
    with client.chat.completions.create(
        model="gpt-4o-mini",
        messages=MESSAGES,
        stream=True,
        extra_headers={"x-sim-tokens": "7"},
        **more,
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).count(" ") == 6
    told = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [usage.completion_tokens for usage in told] == ([7] if include_usage else [])
    assert all(chunk.choices for chunk in chunks) is not bool(include_usage)
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert receipt.usage_source == ("counted" if include_usage is False else "provider")


def test_the_stream_helper_accumulates_tool_calls(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="gpt-4o-mini",
        messages=MESSAGES,
        tools=TOOLS,
        extra_headers={"x-sim-tools": "2"},
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["get_weather"] * 2
    assert all("city" in json.loads(call.function.arguments) for call in calls)


def test_tools_and_their_results(proxy: Served, client: OpenAI) -> None:
    first = client.chat.completions.create(
        model="gpt-4o-mini", messages=MESSAGES, tools=TOOLS, tool_choice="required"
    )
    message = first.choices[0].message
    assert message.tool_calls
    answer: Any = {
        "role": "tool",
        "tool_call_id": message.tool_calls[0].id,
        "content": "it rains",
    }
    messages: list[Any] = [*MESSAGES, message.model_dump(exclude_none=True), answer]
    assert client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=TOOLS)
    assert body_of(proxy.last())["messages"] == messages


def test_responses(proxy: Served, client: OpenAI) -> None:
    reply = client.responses.create(
        model="gpt-4o-mini", input="hi", tools=FLAT_TOOLS, tool_choice="required"
    )
    assert [item.type for item in reply.output if item.type == "function_call"]
    receipt = proxy.newest()
    assert reply.usage is not None and receipt.usage is not None
    assert receipt.usage.output_total == reply.usage.output_tokens
    with client.responses.stream(model="gpt-4o-mini", input="hi") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_counting_tokens_costs_nothing(proxy: Served, client: OpenAI) -> None:
    assert client.responses.input_tokens.count(model="gpt-4o-mini", input="hi").input_tokens > 0
    receipt = proxy.newest()
    assert (receipt.endpoint, receipt.held or 0, receipt.cost) == ("count_tokens", 0, 0)


def test_embeddings_completions_and_files(proxy: Served, client: OpenAI) -> None:
    found = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [len(one.embedding) > 1 for one in found.data] == [True, True]
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert receipt.usage.input_total == found.usage.prompt_tokens
    assert client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi").choices[0].text
    client.files.create(file=("x.jsonl", b"\x00\xffbinary"), purpose="batch")
    assert proxy.last().target == "/v1/files"
    assert b"\x00\xffbinary" in (proxy.last().body or b"")
    assert (proxy.last().get("content-type") or "").startswith("multipart/form-data; boundary=")


def test_models(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "small"
    assert "openai/gpt-4o-mini" in names
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_an_alias_with_router_metadata_parses(client: OpenAI) -> None:
    chat = client.chat.completions.create(model="small", messages=MESSAGES)
    assert chat.model == "gpt-4o-mini"
    assert chat.model_extra is not None
    assert chat.model_extra["router_metadata"]["selected_model"] == "gpt-4o-mini"
    reply = client.responses.create(model="small", input="hi")
    assert reply.output_text
    assert (reply.model_extra or {})["router_metadata"]["selected_provider"] == "openai"
    with client.chat.completions.create(model="small", messages=MESSAGES, stream=True) as stream:
        assert {chunk.model for chunk in stream} == {"gpt-4o-mini"}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_errors_are_the_sdks_own(client: OpenAI, status: int, stream: bool) -> None:
    with pytest.raises(ERRORS[status]) as caught:
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            stream=stream,
            extra_headers={"x-sim-status": str(status), "x-sim-code": "theirs"},
        )
    assert caught.value.code == "theirs"
    assert caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize("model", REFUSALS)
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_our_refusals_are_the_sdks_own(
    proxy: Served, client: OpenAI, model: str, endpoint: str
) -> None:
    status, code = REFUSALS[model]
    before = len(proxy.seen())
    with pytest.raises(ERRORS.get(status, openai.APIStatusError)) as caught:
        if endpoint == "chat":
            client.chat.completions.create(model=model, messages=MESSAGES)
        else:
            client.responses.create(model=model, input="hi")
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(proxy.seen()) == before
    assert proxy.newest().code == code


def test_invalid_json_and_unknown_provider(proxy: Served, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.post("/chat/completions", content=b'{"model": ', cast_to=object)
    assert bad.value.code == "invalid_json"
    with (
        OpenAI(base_url=f"{proxy.url}/p/nobody/v1", api_key="k", max_retries=0) as lost,
        pytest.raises(openai.NotFoundError) as missing,
    ):
        lost.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert missing.value.code == "not_found"


def test_retries_only_where_they_help(proxy: Served) -> None:
    with OpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=2) as client:
        before = len(proxy.seen())
        proxy.script(status=429, retry_after=0)
        assert client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).choices
        assert len(proxy.seen()) == before + 2
        calls = proxy.count()
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="switched-off", messages=MESSAGES)
        assert caught.value.code == "provider_off"
        assert proxy.count() == calls + 1  # a 503, but x-should-retry: false


@pytest.mark.parametrize("fault", ["error-after", "drop-after"])
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_a_stream_that_fails_raises(
    proxy: Served, client: OpenAI, endpoint: str, fault: str
) -> None:
    headers = {f"x-sim-{fault}": "4", "x-sim-tokens": "30"}
    with pytest.raises(openai.APIError) as caught:
        if endpoint == "chat":
            for _ in client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_headers=headers
            ):
                pass
        else:
            for _ in client.responses.create(
                model="gpt-4o-mini", input="hi", stream=True, extra_headers=headers
            ):
                pass
    assert not isinstance(caught.value, openai.APIConnectionError)
    if fault == "drop-after":
        assert caught.value.code == "upstream_died"
    assert proxy.newest().end == ("upstream_died" if fault == "drop-after" else "error")


async def test_async(proxy: Served) -> None:
    async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
        chat = await client.chat.completions.create(model="small", messages=MESSAGES)
        assert chat.choices[0].message.content
        stream = await client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            stream=True,
            tools=TOOLS,
            extra_headers={"x-sim-tools": "1"},
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]
        assert [call.function for d in deltas for call in d.tool_calls or []]
        async with client.responses.stream(model="gpt-4o-mini", input="hi") as events:
            assert (await events.get_final_response()).output_text
        assert [model.id async for model in client.models.list()]
        for status, kind in ERRORS.items():
            with pytest.raises(kind):
                await client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=MESSAGES,
                    extra_headers={"x-sim-status": str(status)},
                )
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(model="x-preview", messages=MESSAGES)


async def test_behind_http_proxy(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    base = "http://openai.test/v1"
    with OpenAI(base_url=base, api_key="k", max_retries=0) as client:
        assert client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).choices
        assert proxy.newest().provider == "openai"
        assert {model.owned_by for model in client.models.list()} == {"muxproxy-sim"}
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model="x-preview", messages=MESSAGES)
        assert caught.value.code == "denied_by_rule"
    async with AsyncOpenAI(base_url=base, api_key="k", max_retries=0) as asynchronous:
        stream = await asynchronous.chat.completions.create(
            model="gpt-4o-mini", messages=MESSAGES, stream=True
        )
        assert [chunk async for chunk in stream]
        assert proxy.last().get("authorization") == "Bearer sk-openai"
    # A base_url that is ours, sent through us: served as if the variable were not set.
    with OpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
        assert client.chat.completions.create(model="small", messages=MESSAGES).choices
