import json

import pytest
from google import genai
from google.genai import types

from muxproxy.sim import SimServer, SimThread

from .raw import GEMINI, ask

STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"


def test_sse_is_framed_with_crlf(shared: SimThread) -> None:
    body = ask(shared.url, STREAM + "?alt=sse", GEMINI).body
    events = body.split(b"\r\n\r\n")
    assert events.pop() == b""
    assert all(event.startswith(b"data: {") for event in events)
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert json.loads(events[-1][6:])["candidates"][0]["finishReason"] == "STOP"


def test_without_alt_sse_it_is_one_json_array(shared: SimThread) -> None:
    answer = ask(shared.url, STREAM, GEMINI, thinking=2)
    rows = answer.json()
    assert answer.get("content-type") == "application/json; charset=UTF-8"
    assert rows[0]["candidates"][0]["content"]["parts"][0]["thought"] is True
    last = rows[-1]["usageMetadata"]
    assert last["totalTokenCount"] == 7 + 24 + 2
    assert last["thoughtsTokenCount"] == 2


def test_the_sdk_reads_answers_and_streams(shared: SimThread) -> None:
    options = types.HttpOptions(base_url=shared.url, headers={"x-sim-cached": "6"})
    with genai.Client(api_key="k", http_options=options) as client:
        whole = client.models.generate_content(model="gemini-2.5-flash", contents="hi")
        chunks = list(
            client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi")
        )
    assert whole.text == "".join(chunk.text or "" for chunk in chunks)
    assert whole.usage_metadata == chunks[-1].usage_metadata
    assert whole.usage_metadata is not None
    assert whole.usage_metadata.cached_content_token_count == 6
    assert whole.usage_metadata.prompt_token_count == 6


# google-genai subclasses aiohttp's session, which aiohttp discourages.
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_async_tools_counts_and_embeddings(asim: SimServer) -> None:
    options = types.HttpOptions(base_url=asim.url)
    config = types.GenerateContentConfig(
        max_output_tokens=4,
        http_options=types.HttpOptions(headers={"x-sim-tools": "2"}),
    )
    async with genai.Client(api_key="k", http_options=options).aio as client:
        found = await client.models.generate_content(model="g", contents="hi", config=config)
        chunks = [
            chunk
            async for chunk in await client.models.generate_content_stream(
                model="g", contents="hi", config=config
            )
        ]
        counted = await client.models.count_tokens(model="g", contents="hello")
        embedded = await client.models.embed_content(model="g", contents="hello")
        names = [model.name async for model in await client.models.list()]
    assert [call.name for call in found.function_calls or []] == ["get_weather"] * 2
    assert chunks[-1].function_calls == found.function_calls
    assert counted.total_tokens == 6
    assert len((embedded.embeddings or [])[0].values or []) == 32
    assert "models/gemini-2.5-flash" in names


def test_usage_off(shared: SimThread) -> None:
    assert b"usageMetadata" not in ask(shared.url, STREAM, GEMINI, usage="off").body
