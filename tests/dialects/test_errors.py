"""Our errors in each dialect, as the official SDKs read them from a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from muxproxy.dialects.errors import error_event, headers, render
from muxproxy.errors import CODES, MuxError

BUDGET = {"budget": "daily", "limit": 10.0, "alternatives": ["small"], "message": "never this"}
DIALECTS = ("openai", "responses", "anthropic", "gemini")


def an_error(code: str) -> MuxError:
    return MuxError(code, f"told: {code}", details=dict(BUDGET), headers=[(b"retry-after", b"7")])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_code_renders(dialect: str, code: str) -> None:
    error = an_error(code)
    body = json.loads(render(dialect, error, "0123"))
    inner = body["error"]
    assert inner["message"] == f"told: {code}"
    if dialect == "gemini":
        assert inner["code"] == error.status
        assert inner["status"].isupper()
        info, retry = inner["details"]
        assert (info["reason"], info["domain"]) == (code, "muxproxy")
        assert info["metadata"]["budget"] == "daily"
        assert info["metadata"]["alternatives"] == '["small"]'
        assert retry["retryDelay"] == "7s"
    else:
        assert (inner["code"], inner["budget"], inner["limit"]) == (code, "daily", 10.0)
        assert inner["type"]
    if dialect == "anthropic":
        assert (body["type"], body["request_id"]) == ("error", "0123")
    fields = headers(error)
    assert (b"content-type", b"application/json") in fields
    assert (b"retry-after", b"7") in fields
    assert ((b"x-should-retry", b"false") in fields) is not error.retryable


def test_an_error_decides_itself_about_retries() -> None:
    error = MuxError("upstream_died", "x", headers=[(b"x-should-retry", b"false")])
    assert headers(error).count((b"x-should-retry", b"false")) == 1
    error = MuxError("invalid_json", "x", headers=[(b"x-should-retry", b"true")])
    assert (b"x-should-retry", b"false") not in headers(error)


def test_without_details_and_request_id() -> None:
    error = MuxError("budget_exceeded", "no")
    assert json.loads(render("openai", error)) == {
        "error": {
            "message": "no",
            "type": "insufficient_quota",
            "param": None,
            "code": "budget_exceeded",
        }
    }


@pytest.mark.parametrize(
    ("dialect", "endpoint", "start", "end"),
    [
        ("openai", "chat", b'data: {"error":{', b"\n\n"),
        ("openai", "completions", b'data: {"error":{', b"\n\n"),
        ("responses", "responses", b'event: error\ndata: {"type":"error",', b"\n\n"),
        ("anthropic", "messages", b'event: error\ndata: {"type":"error",', b"\n\n"),
        ("gemini", "generate", b'data: {"error":{', b"\r\n\r\n"),
    ],
)
def test_events(dialect: str, endpoint: str, start: bytes, end: bytes) -> None:
    event = error_event(dialect, endpoint, an_error("upstream_died"), "0123")
    assert event.startswith(start)
    assert event.endswith(end)
    assert b"[DONE]" not in event


Reply = tuple[int, list[tuple[bytes, bytes]], bytes]


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers every request with `reply` and closes; yields its URL and the request lines."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.split(b"\r\n", 1)[0])
        length = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")]
        if length:
            await reader.readexactly(int(length[0].split(b":")[1]))
        status, fields, body = reply
        writer.write(b"HTTP/1.1 %d X\r\nconnection: close\r\n" % status)
        for name, value in fields:
            writer.write(name + b": " + value + b"\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", seen
    finally:
        listener.close()
        await listener.wait_closed()


def refusal(dialect: str, code: str) -> Reply:
    error = MuxError(code, f"told: {code}", details={"budget": "daily"})
    return error.status, headers(error), render(dialect, error, "0123")


def broken(dialect: str, endpoint: str, before: bytes) -> Reply:
    error = MuxError("upstream_died", "told: upstream_died")
    kind = [(b"content-type", b"text/event-stream")]
    return 200, kind, before + error_event(dialect, endpoint, error, "0123")


def openai_at(url: str, retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=retries)


def claude_at(url: str, retries: int = 0) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=retries)


def mistral_at(url: str) -> Mistral:
    return Mistral(api_key="k", server_url=url)


OPENAI_CLASSES = [
    ("invalid_json", openai.BadRequestError),
    ("unauthorized", openai.AuthenticationError),
    ("budget_exceeded", openai.APIStatusError),
    ("denied_by_rule", openai.PermissionDeniedError),
    ("model_not_found", openai.NotFoundError),
    ("misdirected_request", openai.APIStatusError),
    ("upgrade_required", openai.APIStatusError),
    ("rate_limited", openai.RateLimitError),
    ("internal_error", openai.InternalServerError),
]


@pytest.mark.parametrize("call", ["chat", "responses"])
@pytest.mark.parametrize(("code", "kind"), OPENAI_CLASSES)
async def test_openai_sdk(call: str, code: str, kind: type[openai.APIStatusError]) -> None:
    dialect = "openai" if call == "chat" else "responses"
    async with server(refusal(dialect, code)) as (url, seen):
        retries = 0 if CODES[code][1] else 2  # a final refusal must hold with retries on
        async with openai_at(url, retries) as client:
            with pytest.raises(kind) as caught:
                if call == "chat":
                    await client.chat.completions.create(model="m", messages=[])
                else:
                    await client.responses.create(model="m", input="x")
        assert len(seen) == 1
    assert caught.value.status_code == CODES[code][0]
    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["budget"] == "daily"


async def test_openai_sdk_mid_stream() -> None:
    first = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    async with server(broken("openai", "chat", first)) as (url, _), openai_at(url) as client:
        stream = await client.chat.completions.create(model="m", messages=[], stream=True)
        got = []
        with pytest.raises(openai.APIError) as caught:
            async for chunk in stream:
                got.append(chunk)
    assert len(got) == 1
    assert caught.value.code == "upstream_died"


async def test_openai_sdk_mid_stream_responses() -> None:
    async with server(broken("responses", "responses", b"")) as (url, _), openai_at(url) as client:
        stream = await client.responses.create(model="m", input="x", stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
    assert caught.value.code == "upstream_died"


ANTHROPIC_CLASSES = [
    ("invalid_json", anthropic.BadRequestError),
    ("unauthorized", anthropic.AuthenticationError),
    ("budget_exceeded", anthropic.APIStatusError),
    ("denied_by_rule", anthropic.PermissionDeniedError),
    ("model_not_found", anthropic.NotFoundError),
    ("body_too_large", anthropic.RequestTooLargeError),
    ("rate_limited", anthropic.RateLimitError),
    ("overloaded", anthropic.ServiceUnavailableError),
    ("internal_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize(("code", "kind"), ANTHROPIC_CLASSES)
async def test_anthropic_sdk(code: str, kind: type[anthropic.APIStatusError]) -> None:
    async with server(refusal("anthropic", code)) as (url, seen):
        retries = 0 if CODES[code][1] else 2
        async with claude_at(url, retries) as client:
            with pytest.raises(kind) as caught:
                await client.messages.create(model="m", max_tokens=1, messages=[])
        assert len(seen) == 1
    assert caught.value.status_code == CODES[code][0]
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["code"] == code
    assert caught.value.body["error"]["budget"] == "daily"


async def test_anthropic_sdk_mid_stream() -> None:
    ping = b"event: ping\ndata: {}\n\n"
    async with server(broken("anthropic", "messages", ping)) as (url, _), claude_at(url) as client:
        stream = await client.messages.create(model="m", max_tokens=1, messages=[], stream=True)
        with pytest.raises(anthropic.APIStatusError) as caught:
            async for _ in stream:
                pass
    assert caught.value.body["error"]["code"] == "upstream_died"  # type: ignore[index]


async def gemini(url: str, use: Callable[[Any], Awaitable[None]]) -> None:
    client = genai.Client(api_key="k", http_options={"base_url": url})
    try:
        await use(client)
    finally:
        await client.aio.aclose()
        client.close()


# The SDK subclasses aiohttp's session, which aiohttp discourages: not ours to mend.
GOOGLE = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")


@GOOGLE
@pytest.mark.parametrize("code", ["invalid_json", "budget_exceeded", "model_not_found"])
async def test_google_sdk(code: str) -> None:
    async with server(refusal("gemini", code)) as (url, _):

        async def use(client: Any) -> None:
            with pytest.raises(genai_errors.ClientError) as caught:
                await client.aio.models.generate_content(model="m", contents="x")
            assert caught.value.code == CODES[code][0]
            assert caught.value.message == f"told: {code}"
            info = caught.value.details["error"]["details"][0]
            assert (info["reason"], info["metadata"]["budget"]) == (code, "daily")

        await gemini(url, use)


@GOOGLE
async def test_google_sdk_mid_stream() -> None:
    first = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    async with server(broken("gemini", "generate", first)) as (url, _):

        async def use(client: Any) -> None:
            stream = await client.aio.models.generate_content_stream(model="m", contents="x")
            got = []
            with pytest.raises(genai_errors.ServerError) as caught:
                async for chunk in stream:
                    got.append(chunk.text)
            assert got == ["a"]
            assert caught.value.status == "UNAVAILABLE"

        await gemini(url, use)


@pytest.mark.parametrize("code", ["invalid_json", "budget_exceeded", "model_not_found"])
async def test_mistral_sdk(code: str) -> None:
    async with server(refusal("openai", code)) as (url, _), mistral_at(url) as client:
        with pytest.raises(SDKError) as caught:
            await client.chat.complete_async(model="m", messages=[{"role": "user", "content": "x"}])
    assert caught.value.status_code == CODES[code][0]
    assert json.loads(caught.value.body)["error"]["code"] == code
