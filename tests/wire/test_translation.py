"""Calls whose provider speaks another dialect: what goes up, what comes back, what is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import encode, head, read_head
from tests.stack import PROVIDERS, stack
from tests.wire.balance import balanced, fetch, nothing_left

ASK = [{"role": "user", "content": "Tell me a story"}]
CALLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": ASK, "max_tokens": 40}),
    "responses": ("/v1/responses", {"input": "Tell me a story", "max_output_tokens": 40}),
    "anthropic": ("/v1/messages", {"messages": ASK, "max_tokens": 40}),
    "gemini": (
        "/v1beta/models/{model}:generateContent",
        {
            "contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}],
            "generationConfig": {"maxOutputTokens": 40},
        },
    ),
}
MODELS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "google/gemini-2.5-flash",
}
PAIRS = [(c, p) for c in CALLERS for p in MODELS if c != p and (c, p) != ("responses", "openai")]


def sent(seen: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in seen.headers}


pairs = pytest.mark.parametrize(("caller", "provider"), PAIRS, ids=["-".join(p) for p in PAIRS])
CHAT = {"model": "anthropic/claude-sonnet-4-5", "messages": ASK, "max_tokens": 40}


def request(caller: str, provider: str, *, stream: bool = False) -> tuple[str, dict[str, Any]]:
    path, body = CALLERS[caller]
    if caller == "gemini":
        path = path.format(model=MODELS[provider])
        return (path.replace(":g", ":streamG") + "?alt=sse" if stream else path), body
    body = {**body, "model": MODELS[provider]}
    return path, {**body, "stream": True} if stream else body


@pairs
async def test_a_stream_flows_event_by_event(tmp_path: Path, caller: str, provider: str) -> None:
    """The provider sends event n+1 only once the client has had something of event n: what is
    collected would deadlock. (Some events have no counterpart; most have.)"""
    async with stack(tmp_path) as proxy:
        path, body = request(caller, provider, stream=True)
        data = encode(body)
        fields = {
            "content-type": "application/json",
            "x-sim-pace": "1ms",
            "x-sim-tokens": "12",
            "x-sim-hang-after": "8",
        }
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(head("POST", path, fields, len(data), "localhost") + data)
            status, _ = await read_head(reader)
            assert status == 200
            received = 0
            while received < 3:  # before the provider has ended
                size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
                await reader.readexactly(size + 2)
                received += 1
            writer.transport.abort()
        await proxy.sim.until(lambda sim: sim.requests[0].closed_early)
        (receipt,) = await proxy.settled(1)
        assert receipt.end == "client_left"
        assert receipt.usage is not None and receipt.usage.output_total > 0
        assert receipt.usage_source in ("counted", "provider")


@pairs
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
async def test_an_upstream_that_dies_never_ends_cleanly(
    tmp_path: Path, caller: str, provider: str, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path) as proxy:
        path, body = request(caller, provider, stream=stream)
        after = "4" if stream else "0"
        answer = await fetch(proxy.port, path, body, {"x-sim-drop-after": after})
        if stream:
            assert answer.broken and b"upstream_died" in answer.body
            assert b"[DONE]" not in answer.body and b"message_stop" not in answer.body
        else:
            assert answer.status == 502
            assert b"upstream_died" in answer.body
        (receipt,) = await balanced(proxy, 1)
        assert receipt.end in ("upstream_died", "error")


@pairs
@pytest.mark.parametrize("status", [400, 401, 429, 503])
async def test_errors_come_in_the_callers_dialect(
    tmp_path: Path, caller: str, provider: str, status: int
) -> None:
    async with stack(tmp_path) as proxy:
        path, body = request(caller, provider)
        answer = await proxy.post(path, body, {"x-sim-status": str(status)})
        assert answer.status == (529 if (caller, status) == ("anthropic", 503) else status)
        error = answer.json()["error"]
        assert error["message"]
        if caller == "anthropic":
            assert answer.json()["type"] == "error" and error["type"].endswith("_error")
        elif caller == "gemini":
            assert error["code"] == status and error["status"].isupper()
        else:
            assert error["type"]
        receipt = await proxy.receipt(answer)
        assert (receipt.status, receipt.end) == (answer.status, "error")
        assert receipt.cost in (0, None)


async def test_what_cannot_be_carried_is_told(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(
            "/v1/chat/completions", {**CHAT, "seed": 7, "logit_bias": {"5": 1}, "frobnicate": 1}
        )
        assert answer.status == 200
        told = answer.headers["x-muxproxy-dropped"].split(", ")
        assert {"seed", "logit_bias", "frobnicate"} <= set(told)
        receipt = await proxy.receipt(answer)
        assert receipt.edits[:2] == ("model", "translated")
        assert "dropped:seed" in receipt.edits
        sent = json.loads(proxy.sim.requests[0].body or b"")
        assert sent["model"] == "claude-sonnet-4-5"
        assert not {"seed", "logit_bias", "frobnicate"} & set(sent)


async def test_strict_refuses_what_would_be_lost(tmp_path: Path) -> None:
    async with stack(tmp_path, "translation: strict") as proxy:
        answer = await proxy.post("/v1/chat/completions", {**CHAT, "seed": 7})
        assert answer.status == 400
        error = answer.json()["error"]
        assert error["code"] == "unsupported_translation"
        assert error["fields"] == ["seed"]
        assert not proxy.sim.requests
        whole = await proxy.post("/v1/chat/completions", CHAT)
        assert whole.status == 200
        await balanced(proxy, 2)


async def test_off_never_translates(tmp_path: Path) -> None:
    async with stack(tmp_path, "translation: off") as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT)
        assert answer.status == 400
        assert answer.json()["error"]["code"] == "unsupported_translation"
        assert not proxy.sim.requests


async def test_headers_of_the_callers_dialect_stay_here(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        await proxy.post(
            "/v1/messages",
            {"model": "openai/gpt-4o", "messages": ASK, "max_tokens": 9},
            {"x-api-key": "sk-callers", "anthropic-version": "2026-10-21", "anthropic-beta": "b"},
        )
        await proxy.post(
            "/v1/chat/completions",
            CHAT,
            {"authorization": "Bearer sk-callers", "openai-organization": "org"},
        )
        first, second = (sent(seen) for seen in proxy.sim.requests)
        assert first["authorization"] == "Bearer sk-openai"
        assert not {"x-api-key", "anthropic-version", "anthropic-beta"} & set(first)
        assert second["x-api-key"] == "sk-anthropic"
        assert second["anthropic-version"] == "2023-06-01"
        assert not {"authorization", "openai-organization"} & set(second)


KEYLESS = PROVIDERS.replace(",    api_key: sk-anthropic", "")


async def test_a_callers_key_goes_only_where_the_caller_said(tmp_path: Path) -> None:
    yaml = "models: {claude: anthropic/claude-sonnet-4-5}"
    async with stack(tmp_path, yaml, providers=KEYLESS) as proxy:
        mine = {"authorization": "Bearer sk-callers"}
        await proxy.post("/v1/chat/completions", CHAT, mine)
        await proxy.post("/v1/chat/completions", {**CHAT, "model": "claude"}, mine)
        named, aliased = (sent(seen) for seen in proxy.sim.requests)
        assert named["x-api-key"] == "sk-callers"
        assert not {"x-api-key", "authorization"} & set(aliased)


async def test_a_provider_of_another_dialect_is_a_fall_back(tmp_path: Path) -> None:
    yaml = "models: {safe: [openai/gpt-4o, anthropic/claude-sonnet-4-5, google/gemini-2.5-pro]}"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        proxy.sim.script({"status": 529})
        proxy.sim.script({"status": 503})
        answer = await proxy.post("/v1/chat/completions", {**CHAT, "model": "safe"})
        assert answer.status == 200
        assert answer.headers["x-muxproxy-provider"] == "google"
        assert answer.json()["choices"][0]["message"]["content"]
        metadata = answer.json()["router_metadata"]
        assert metadata["selected_model"] == "gemini-2.5-pro"
        assert metadata["actual_cost"] == float(answer.headers["x-muxproxy-cost-usd"])
        (receipt,) = await balanced(proxy, 1)
        assert receipt.attempts == 3


async def test_an_alias_is_an_order_whatever_its_members_speak(tmp_path: Path) -> None:
    yaml = "models: {small: [anthropic/claude-haiku-4-5, openai/gpt-4o-mini]}"
    async with stack(tmp_path, yaml) as proxy:
        answer = await proxy.post("/v1/chat/completions", {**CHAT, "model": "small"})
        assert answer.headers["x-muxproxy-provider"] == "anthropic"


async def test_rules_set_fields_in_the_providers_words(tmp_path: Path) -> None:
    yaml = "rules: [{name: cap, to: google/gemini-2.5-pro, set: {max_tokens: 5}}]"
    async with stack(tmp_path, yaml) as proxy:
        answer = await proxy.post("/v1/chat/completions", {"messages": ASK})
        assert answer.status == 200
        (seen,) = proxy.sim.requests
        assert seen.target == "/v1beta/models/gemini-2.5-pro:generateContent"
        assert json.loads(seen.body or b"")["generationConfig"]["maxOutputTokens"] == 5


async def test_a_gemini_caller_without_sse_gets_an_array(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        path, body = request("gemini", "openai", stream=True)
        answer = await proxy.post(path.removesuffix("?alt=sse"), body, {"x-sim-tokens": "8"})
        assert answer.headers["content-type"].startswith("application/json")
        chunks = answer.json()
        assert isinstance(chunks, list)
        assert chunks[-1]["candidates"][0]["finishReason"] in ("STOP", "MAX_TOKENS")


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_responses_go_to_a_provider_that_has_them(tmp_path: Path, mode: str) -> None:
    providers = f"\n  a: {{dialect: openai, base_url: SIM/v1, api_key: k, responses: {mode}}}\n"
    async with stack(tmp_path, providers=providers) as proxy:
        body = {"model": "gpt-4o", "input": "hi"}
        answer = await proxy.post("/v1/responses", body)
        assert answer.json()["object"] == "response"
        want = "/v1/responses" if mode == "auto" else "/v1/chat/completions"
        assert proxy.sim.requests[0].target == want


async def test_a_bare_name_goes_to_the_only_provider_there_is(tmp_path: Path) -> None:
    providers = "\n  local: {dialect: openai, base_url: SIM/v1}\n"
    async with stack(tmp_path, providers=providers) as proxy:
        body = {"model": "llama-3", "messages": ASK, "max_tokens": 9}
        answer = await proxy.post("/v1/messages", body, {"x-api-key": "sk-ant-callers"})
        assert answer.json()["type"] == "message"
        (seen,) = proxy.sim.requests
        assert json.loads(seen.body or b"")["model"] == "llama-3"
        assert "sk-ant-callers" not in str(seen.headers)  # it was not meant for this provider


@pytest.mark.parametrize("caller", ["anthropic", "gemini", "responses"])
async def test_tokens_are_counted_here_where_the_provider_cannot(
    tmp_path: Path, caller: str
) -> None:
    path, body = request(caller, "openai")
    if caller == "gemini":
        path = path.replace("generateContent", "countTokens")
    else:
        path += "/count_tokens" if caller == "anthropic" else "/input_tokens"
    providers = "\n  openai: {dialect: openai, base_url: SIM/v1, api_key: k, responses: off}\n"
    async with stack(tmp_path, providers=providers) as proxy:
        answer = await proxy.post(path, body)
        assert answer.status == 200, answer.body
        counted = answer.json()["totalTokens" if caller == "gemini" else "input_tokens"]
        assert 3 <= counted <= 40
        assert answer.headers["x-muxproxy-counted"] == "estimated"
        assert not proxy.sim.requests
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.cost) == ("finished", 0)
