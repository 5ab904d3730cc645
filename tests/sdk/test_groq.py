"""The groq SDK, which calls /openai/v1/... whatever its base URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import groq
import pytest
from groq import AsyncGroq, Groq

from tests.sdk.support import ID, MESSAGES, REFUSALS, WEATHER, Served

MODEL = "llama-3.3-70b-versatile"
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
]
ERRORS = {
    400: groq.BadRequestError,
    401: groq.AuthenticationError,
    403: groq.PermissionDeniedError,
    404: groq.NotFoundError,
    422: groq.UnprocessableEntityError,
    429: groq.RateLimitError,
    500: groq.InternalServerError,
    529: groq.InternalServerError,
}


@pytest.fixture
def client(proxy: Served) -> Iterator[Groq]:
    with Groq(base_url=proxy.url, api_key="callers", max_retries=0) as made:
        yield made


def code_of(error: groq.APIStatusError) -> object:
    body: Any = error.body
    return body["error"]["code"]


def test_chat(proxy: Served, client: Groq) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    chat = raw.parse()
    assert chat.choices[0].message.content
    # A bare name goes to the first provider of the caller's dialect.
    assert raw.headers["x-muxproxy-provider"] == "openai"
    receipt = proxy.receipt(raw.headers[ID])
    assert receipt.usage is not None and chat.usage is not None
    assert receipt.usage.output_total == chat.usage.completion_tokens
    assert proxy.last().target == "/v1/chat/completions"


@pytest.mark.parametrize("model", [f"groq/{MODEL}", MODEL])
def test_its_own_provider(proxy: Served, client: Groq, model: str) -> None:
    if model == MODEL:
        with Groq(base_url=f"{proxy.url}/p/groq", api_key="k", max_retries=0) as pinned:
            pinned.chat.completions.create(model=model, messages=MESSAGES)
    else:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert proxy.last().target == "/openai/v1/chat/completions"
    assert proxy.last().get("authorization") == "Bearer sk-groq"
    assert (proxy.newest().provider, proxy.newest().model) == ("groq", MODEL)


def test_the_environment_names_it(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_BASE_URL", proxy.url)
    monkeypatch.setenv("GROQ_API_KEY", "callers")
    with Groq() as client:
        assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices


def test_streams_and_tools(proxy: Served, client: Groq) -> None:
    with client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        tools=TOOLS,
        stream=True,
        extra_headers={"x-sim-tools": "1", "x-sim-tokens": "7"},
    ) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream]
    assert [call.function for delta in deltas for call in delta.tool_calls or []]
    receipt = proxy.newest()
    assert (receipt.end, receipt.usage_source) == ("finished", "provider")
    whole = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice="required"
    )
    assert whole.choices[0].message.tool_calls


def test_embeddings(client: Groq) -> None:
    assert client.embeddings.create(model="nomic-embed-text-v1_5", input="hi").data[0].embedding


def test_models(client: Groq) -> None:
    assert "small" in [model.id for model in client.models.list().data]


def test_an_alias_with_router_metadata_parses(client: Groq) -> None:
    chat = client.chat.completions.create(model="small", messages=MESSAGES)
    assert chat.model == "gpt-4o-mini"
    assert (chat.model_extra or {})["router_metadata"]["selected_model"] == "gpt-4o-mini"


@pytest.mark.parametrize("status", ERRORS)
def test_the_providers_errors_are_the_sdks_own(client: Groq, status: int) -> None:
    headers = {"x-sim-status": str(status), "x-sim-code": "theirs"}
    with pytest.raises(ERRORS[status]) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_headers=headers)
    assert code_of(caught.value) == "theirs"


@pytest.mark.parametrize("model", REFUSALS)
def test_our_refusals_are_the_sdks_own(client: Groq, model: str) -> None:
    status, code = REFUSALS[model]
    with pytest.raises(ERRORS.get(status, groq.APIStatusError)) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert (caught.value.status_code, code_of(caught.value)) == (status, code)


def test_invalid_json_and_unknown_provider(proxy: Served) -> None:
    with (
        Groq(base_url=f"{proxy.url}/p/nobody", api_key="k", max_retries=0) as lost,
        pytest.raises(groq.NotFoundError) as missing,
    ):
        lost.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert code_of(missing.value) == "not_found"
    with (
        Groq(base_url=proxy.url, api_key="k", max_retries=0) as client,
        pytest.raises(groq.BadRequestError) as bad,
    ):
        client.post("/openai/v1/chat/completions", body=["no object"], cast_to=object)
    assert code_of(bad.value) in ("invalid_json", "invalid_request")


def test_a_stream_that_dies_raises(proxy: Served, client: Groq) -> None:
    with pytest.raises(groq.APIError) as caught:
        for _ in client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, extra_headers={"x-sim-drop-after": "4"}
        ):
            pass
    body: Any = caught.value.body
    assert body["code"] == "upstream_died"


async def test_async(proxy: Served) -> None:
    async with AsyncGroq(base_url=proxy.url, api_key="k", max_retries=0) as client:
        chat = await client.chat.completions.create(model="small", messages=MESSAGES)
        assert chat.choices[0].message.content
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        for status, kind in ERRORS.items():
            with pytest.raises(kind):
                await client.chat.completions.create(
                    model=MODEL, messages=MESSAGES, extra_headers={"x-sim-status": str(status)}
                )


async def test_behind_http_proxy(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    base = "http://groq.test"
    with Groq(base_url=base, api_key="k", max_retries=0) as client:
        assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices
        assert proxy.newest().provider == "groq"
        assert proxy.last().target == "/openai/v1/chat/completions"
    async with AsyncGroq(base_url=base, api_key="k", max_retries=0) as asynchronous:
        stream = await asynchronous.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True
        )
        assert [chunk async for chunk in stream]
