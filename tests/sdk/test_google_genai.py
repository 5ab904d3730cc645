"""The google-genai SDK: content, streams, functions, counting, embeddings, errors, HTTP_PROXY."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors
from google.genai.types import (
    FunctionDeclaration,
    GenerateContentConfig,
    HttpOptions,
    Tool,
)

from tests.sdk.support import ID, REFUSALS, WEATHER, Served, body_of

MODEL = "gemini-2.5-flash"
TOOLS: list[Any] = [
    Tool(
        function_declarations=[
            FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
        ]
    )
]
# The SDK subclasses aiohttp's session for its asynchronous calls.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")

STATUSES = (400, 401, 403, 404, 429, 500, 503, 529)


def client_at(url: str, **options: Any) -> genai.Client:
    return genai.Client(api_key="callers", http_options=HttpOptions(base_url=url, **options))


@pytest.fixture
def client(proxy: Served) -> Iterator[genai.Client]:
    with client_at(proxy.url) as made:
        yield made


def config(functions: list[Any] | None = None, /, **sim: str) -> GenerateContentConfig:
    """Functions to call, and options of the simulated provider as headers."""
    headers = {f"x-sim-{name.replace('_', '-')}": value for name, value in sim.items()}
    return GenerateContentConfig(tools=functions, http_options=HttpOptions(headers=headers))


def kind_of(status: int) -> type[errors.APIError]:
    return errors.ClientError if status < 500 else errors.ServerError


def reason_of(error: errors.APIError) -> object:
    details: Any = error.details
    return details["error"]["details"][0]["reason"]


def test_generate_content(proxy: Served, client: genai.Client) -> None:
    reply = client.models.generate_content(
        model=MODEL, contents="Say hello", config=config(thinking="5", tokens="7")
    )
    assert reply.text
    assert reply.sdk_http_response is not None
    headers = reply.sdk_http_response.headers
    assert headers is not None
    assert headers["x-muxproxy-provider"] == "google"
    assert headers["x-muxproxy-model"] == MODEL
    receipt = proxy.receipt(headers[ID])
    assert receipt.usage is not None and reply.usage_metadata is not None
    assert receipt.usage.input_total == reply.usage_metadata.prompt_token_count
    assert receipt.usage.output_total == 12
    assert receipt.usage.reasoning == 5
    assert proxy.last().target == f"/v1/models/{MODEL}:generateContent"
    assert proxy.last().get("x-goog-api-key") == "sk-google"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
@pytest.mark.parametrize("base", ["", "/", "/p/google"])
def test_base_urls_and_versions(proxy: Served, base: str, version: str) -> None:
    with client_at(proxy.url + base, api_version=version) as client:
        assert client.models.generate_content(model=MODEL, contents="hi").text
        assert proxy.last().target == f"/{version}/models/{MODEL}:generateContent"
        for _ in client.models.generate_content_stream(model=MODEL, contents="hi"):
            pass
        assert proxy.last().target == f"/{version}/models/{MODEL}:streamGenerateContent?alt=sse"


def test_the_environment_names_it(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", proxy.url)
    monkeypatch.setenv("GEMINI_API_KEY", "callers")
    with genai.Client() as client:
        assert client.models.generate_content(model=MODEL, contents="hi").text
    assert proxy.newest().provider == "google"


def test_streams(proxy: Served, client: genai.Client) -> None:
    chunks = list(
        client.models.generate_content_stream(
            model=MODEL, contents="Say hello", config=config(tokens="7")
        )
    )
    assert len("".join(chunk.text or "" for chunk in chunks).split()) == 7
    receipt = proxy.newest()
    assert receipt.usage is not None
    assert (receipt.stream, receipt.usage.output_total) == (True, 7)


def test_functions_and_their_results(proxy: Served, client: genai.Client) -> None:
    reply = client.models.generate_content(
        model=MODEL, contents="hi", config=config(TOOLS, tools="2")
    )
    calls = reply.function_calls
    assert calls is not None
    assert [call.name for call in calls] == ["get_weather"] * 2
    assert all("city" in (call.args or {}) for call in calls)
    streamed = client.models.generate_content_stream(
        model=MODEL, contents="hi", config=config(TOOLS, tools="1")
    )
    assert [call.name for chunk in streamed for call in chunk.function_calls or []]
    declared = body_of(proxy.last())["tools"][0]["functionDeclarations"]
    assert [one["name"] for one in declared] == ["get_weather"]


def test_chats_keep_their_history(proxy: Served, client: genai.Client) -> None:
    chat = client.chats.create(model=MODEL)
    first = chat.send_message("one")
    chat.send_message("two")
    roles = [content["role"] for content in body_of(proxy.last())["contents"]]
    assert roles == ["user", "model", "user"]
    assert (first.text or "nothing") in json.dumps(body_of(proxy.last()), ensure_ascii=False)


def test_embeddings(proxy: Served, client: genai.Client) -> None:
    found = client.models.embed_content(model="gemini-embedding-001", contents="hi")
    assert found.embeddings and found.embeddings[0].values
    assert proxy.newest().endpoint == "embeddings"


def test_counting_tokens_costs_nothing(proxy: Served, client: genai.Client) -> None:
    assert client.models.count_tokens(model=MODEL, contents="hi").total_tokens
    receipt = proxy.newest()
    assert (receipt.endpoint, receipt.held or 0, receipt.cost) == ("count_tokens", 0, 0)


def test_models(client: genai.Client) -> None:
    names = [model.name for model in client.models.list()]
    assert "models/small" in names
    assert client.models.generate_content(model=names[0] or "", contents="hi").text


def test_an_alias_with_router_metadata_parses(proxy: Served, client: genai.Client) -> None:
    reply = client.models.generate_content(model="small", contents="hi")
    assert reply.text
    assert reply.sdk_http_response is not None and reply.sdk_http_response.headers is not None
    assert float(reply.sdk_http_response.headers["x-muxproxy-cost-usd"]) > 0
    assert proxy.last().target == f"/v1/models/{MODEL}:generateContent"
    receipt = proxy.newest()
    assert (receipt.asked_model, receipt.model) == ("small", MODEL)
    assert receipt.edits == ("model", "router_metadata")
    stream = client.models.generate_content_stream(model="small", contents="hi")
    assert "".join(chunk.text or "" for chunk in stream)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_errors_are_the_sdks_own(
    client: genai.Client, status: int, stream: bool
) -> None:
    with pytest.raises(kind_of(status)) as caught:
        if stream:
            for _ in client.models.generate_content_stream(
                model=MODEL, contents="hi", config=config(status=str(status))
            ):
                pass
        else:
            client.models.generate_content(
                model=MODEL, contents="hi", config=config(status=str(status))
            )
    assert caught.value.code == status


@pytest.mark.parametrize("model", REFUSALS)
def test_our_refusals_are_the_sdks_own(proxy: Served, client: genai.Client, model: str) -> None:
    status, code = REFUSALS[model]
    before = len(proxy.seen())
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=model, contents="hi")
    assert (caught.value.code, reason_of(caught.value)) == (status, code)
    assert len(proxy.seen()) == before
    assert proxy.newest().code == code


def test_an_unknown_provider(proxy: Served) -> None:
    with (
        client_at(f"{proxy.url}/p/nobody") as client,
        pytest.raises(errors.ClientError) as missing,
    ):
        client.models.generate_content(model=MODEL, contents="hi")
    assert (missing.value.code, reason_of(missing.value)) == (404, "not_found")


@pytest.mark.parametrize("fault", ["error_after", "drop_after"])
def test_a_stream_that_fails_raises(proxy: Served, client: genai.Client, fault: str) -> None:
    with pytest.raises(errors.ServerError) as caught:
        for _ in client.models.generate_content_stream(
            model=MODEL, contents="hi", config=config(**{fault: "4"})
        ):
            pass
    if fault == "drop_after":
        assert (caught.value.code, reason_of(caught.value)) == (502, "upstream_died")
    assert proxy.newest().end == ("upstream_died" if fault == "drop_after" else "error")


async def test_async(proxy: Served) -> None:
    async with client_at(proxy.url).aio as client:
        reply = await client.models.generate_content(model="small", contents="hi")
        assert reply.text
        stream = await client.models.generate_content_stream(
            model=MODEL, contents="hi", config=config(TOOLS, tools="1")
        )
        assert [call.name async for chunk in stream for call in chunk.function_calls or []]
        assert (await client.models.count_tokens(model=MODEL, contents="hi")).total_tokens
        for status in STATUSES:
            with pytest.raises(kind_of(status)):
                await client.models.generate_content(
                    model=MODEL, contents="hi", config=config(status=str(status))
                )
        with pytest.raises(errors.ClientError) as caught:
            await client.models.generate_content(model="x-preview", contents="hi")
        assert reason_of(caught.value) == "denied_by_rule"


async def test_behind_http_proxy(proxy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    base = "http://google.test"
    with client_at(base) as client:
        assert client.models.generate_content(model=MODEL, contents="hi").text
        assert proxy.newest().provider == "google"
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(model="x-preview", contents="hi")
        assert reason_of(caught.value) == "denied_by_rule"
    async with client_at(base).aio as asynchronous:
        before = len(proxy.seen())
        stream = await asynchronous.models.generate_content_stream(model=MODEL, contents="hi")
        assert "".join([chunk.text or "" async for chunk in stream])
        assert len(proxy.seen()) == before + 1
