"""The anthropic SDK: messages, streams, tools, thinking, counting, models, errors, HTTP_PROXY."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.sdk.support import ID, MESSAGES, REFUSALS, WEATHER, Served, body_of

MODEL = "claude-opus-9"  # the SDK warns about names it knows to be deprecated
TOOLS: list[Any] = [{"name": "get_weather", "input_schema": WEATHER}]
ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.RequestTooLargeError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    529: anthropic.OverloadedError,
}


@pytest.fixture
def client(proxy: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=proxy.url, api_key="callers", max_retries=0) as made:
        yield made


def ask(client: Anthropic, model: str = MODEL, **more: Any) -> Any:
    return client.messages.create(model=model, messages=MESSAGES, max_tokens=64, **more)


def code_of(error: anthropic.APIStatusError) -> object:
    body: Any = error.body
    return body["error"]["code"]


def test_messages(proxy: Served, client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=64,
        extra_headers={"x-sim-input": "90", "x-sim-cached": "20", "x-sim-cache-write": "30"},
    )
    message = raw.parse()
    assert message.content[0].type == "text"
    assert raw.headers["x-muxproxy-provider"] == "anthropic"
    assert raw.headers["x-muxproxy-model"] == MODEL
    assert raw.headers["request-id"]  # the provider's own
    receipt = proxy.receipt(raw.headers[ID])
    assert receipt.usage is not None
    assert message.usage.input_tokens + 50 == receipt.usage.input_total == 90
    assert receipt.usage.cache_read == message.usage.cache_read_input_tokens == 20
    assert receipt.usage.output_total == message.usage.output_tokens


@pytest.mark.parametrize("base", ["", "/", "/v1", "/anthropic", "/p/anthropic"])
def test_base_urls(proxy: Served, base: str) -> None:
    with Anthropic(base_url=proxy.url + base, api_key="k", max_retries=0) as client:
        if base == "/v1":  # as @ai-sdk/anthropic wants it; this SDK would ask for /v1/v1/messages
            client.post("/messages", body={**MINIMAL}, cast_to=object)
        else:
            assert ask(client).content
        assert proxy.last().target == "/v1/messages"
        assert proxy.newest().provider == "anthropic"


MINIMAL = {"model": MODEL, "messages": MESSAGES, "max_tokens": 9}


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_the_environment_names_it_and_the_key(
    proxy: Served, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", proxy.url)
    monkeypatch.setenv(name, "callers")
    with Anthropic() as client:
        version = client.default_headers["anthropic-version"]
        assert ask(client).content
    seen = proxy.last()
    assert seen.get("anthropic-version") == version
    credentials = {seen.get("x-api-key"), seen.get("authorization")} - {None}
    assert credentials in ({"sk-anthropic"}, {"Bearer sk-anthropic"})


def test_streams(proxy: Served, client: Anthropic) -> None:
    with client.messages.stream(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=64,
        thinking={"type": "enabled", "budget_tokens": 1024},
        extra_headers={"x-sim-tokens": "7", "x-sim-thinking": "5"},
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    assert {"message_start", "thinking", "text", "message_stop"} <= kinds
    assert [block.type for block in final.content] == ["thinking", "text"]
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert receipt.usage.output_total == final.usage.output_tokens == 12
    with ask(client, stream=True) as events:
        assert [event.type for event in events][-1] == "message_stop"


def test_tools_and_their_results(proxy: Served, client: Anthropic) -> None:
    first = ask(client, tools=TOOLS, tool_choice={"type": "any"})
    assert first.stop_reason == "tool_use"
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert "city" in call.input
    answer = {"type": "tool_result", "tool_use_id": call.id, "content": "it rains"}
    messages: list[Any] = [
        *MESSAGES,
        {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
        {"role": "user", "content": [answer]},
    ]
    client.messages.create(model=MODEL, messages=messages, max_tokens=64, tools=TOOLS)
    assert body_of(proxy.last())["messages"] == messages
    with client.messages.stream(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=64,
        tools=TOOLS,
        extra_headers={"x-sim-tools": "2"},
    ) as stream:
        blocks = stream.get_final_message().content
    assert [block.name for block in blocks if block.type == "tool_use"] == ["get_weather"] * 2


def test_beta_keeps_its_query_and_headers(proxy: Served, client: Anthropic) -> None:
    betas: list[Any] = ["context-1m-2025-08-07", "another-2026-01-01"]
    client.beta.messages.create(
        model=MODEL, messages=MESSAGES, max_tokens=9, betas=betas, extra_query={"beta": "true"}
    )
    assert proxy.last().target == "/v1/messages?beta=true"
    assert proxy.last().get("anthropic-beta") == ",".join(betas)


def test_counting_tokens_costs_nothing(proxy: Served, client: Anthropic) -> None:
    count = client.messages.count_tokens(model="claude-sonnet-4-6", messages=MESSAGES)
    assert count.input_tokens > 0
    receipt = proxy.newest()
    assert (receipt.endpoint, receipt.held or 0, receipt.cost) == ("count_tokens", 0, 0)


def test_models(client: Anthropic) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "small"
    assert client.models.retrieve("claude-sonnet-4-5").id == "claude-sonnet-4-5"


def test_an_alias_with_router_metadata_parses(client: Anthropic) -> None:
    message = ask(client, "small")
    assert message.model == "claude-3-5-haiku-latest"
    assert message.model_extra["router_metadata"]["selected_provider"] == "anthropic"
    with client.messages.stream(model="small", messages=MESSAGES, max_tokens=9) as stream:
        assert stream.get_final_message().model == "claude-3-5-haiku-latest"


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_errors_are_the_sdks_own(
    client: Anthropic, status: int, stream: bool
) -> None:
    with pytest.raises(ERRORS[status]) as caught:
        ask(client, stream=stream, extra_headers={"x-sim-status": str(status)})
    assert caught.value.request_id
    assert caught.value.response.headers["x-muxproxy-provider"] == "anthropic"


@pytest.mark.parametrize("model", REFUSALS)
def test_our_refusals_are_the_sdks_own(proxy: Served, client: Anthropic, model: str) -> None:
    status, code = REFUSALS[model]
    kinds = {402: anthropic.PaymentRequiredError, 403: anthropic.PermissionDeniedError}
    before = len(proxy.seen())
    with pytest.raises(kinds[status]) as caught:
        ask(client, model)
    assert (caught.value.status_code, code_of(caught.value)) == (status, code)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(proxy.seen()) == before
    assert proxy.newest().code == code


def test_invalid_json_and_unknown_provider(proxy: Served, client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.post("/v1/messages", content=b'{"model": ', cast_to=object)
    assert code_of(bad.value) == "invalid_json"
    with (
        Anthropic(base_url=f"{proxy.url}/p/nobody", api_key="k", max_retries=0) as lost,
        pytest.raises(anthropic.NotFoundError) as missing,
    ):
        ask(lost)
    assert code_of(missing.value) == "not_found"


def test_an_overloaded_provider_is_asked_again(proxy: Served) -> None:
    with Anthropic(base_url=proxy.url, api_key="k", max_retries=2) as client:
        before = len(proxy.seen())
        proxy.script(status=529, retry_after=0)
        assert ask(client).content
        assert len(proxy.seen()) == before + 2


@pytest.mark.parametrize("fault", ["error-after", "drop-after"])
def test_a_stream_that_fails_raises(proxy: Served, client: Anthropic, fault: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        ask(client, stream=True, extra_headers={f"x-sim-{fault}": "4"}) as events,
    ):
        for _ in events:
            pass
    body: Any = caught.value.body
    if fault == "drop-after":
        assert code_of(caught.value) == "upstream_died"
    else:
        assert body["error"]["type"] == "overloaded_error"
    assert proxy.newest().end == ("upstream_died" if fault == "drop-after" else "error")


async def test_async(proxy: Served) -> None:
    async with AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
        plain: Any = {"model": MODEL, "messages": MESSAGES, "max_tokens": 64}
        message = await client.messages.create(**{**plain, "model": "small"})
        assert message.content
        async with client.messages.stream(
            **plain, tools=TOOLS, extra_headers={"x-sim-tools": "1"}
        ) as stream:
            final = await stream.get_final_message()
        assert [block.name for block in final.content if block.type == "tool_use"]
        assert [model.id async for model in client.models.list()]
        assert (await client.messages.count_tokens(model=MODEL, messages=MESSAGES)).input_tokens
        for status, kind in ERRORS.items():
            with pytest.raises(kind):
                await client.messages.create(**plain, extra_headers={"x-sim-status": str(status)})
        with pytest.raises(anthropic.PermissionDeniedError):
            await client.messages.create(**{**plain, "model": "x-preview"})


async def test_behind_http_proxy(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    base = "http://anthropic.test"
    with Anthropic(base_url=base, api_key="k", max_retries=0) as client:
        assert ask(client).content
        assert proxy.newest().provider == "anthropic"
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            ask(client, "x-preview")
        assert code_of(caught.value) == "denied_by_rule"
    async with (
        AsyncAnthropic(base_url=base, api_key="k", max_retries=0) as asynchronous,
        asynchronous.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=9) as stream,
    ):
        assert (await stream.get_final_message()).content
