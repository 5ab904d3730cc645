"""Rows of the field's complaints about streams and about what gets lost on the way (PEERS.md 2.2
and 2.3) as a caller would meet them; what else there is of them stands beside what it is about."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import encode, head, read_head
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, nothing_left

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "max_tokens": 60,
}
STREAM = {**CHAT, "stream": True}
PRICES = 'prices: {"*": {input: 1, output: 2}}\n'
YAML = PRICES + "budgets: [{name: purse, limit: $100}]\n"
INPUT, OUTPUT = 1000, 2000  # nano-dollars per token at those prices
LONG = {"x-sim-tokens": "4000", "x-sim-pace": "20ms"}


async def begun(
    proxy: Stack, path: str, body: Any, headers: dict[str, str], events: int
) -> tuple[asyncio.StreamWriter, bytes]:
    """A stream of which so many events have come."""
    data = encode(body)
    sent = {"content-type": "application/json", **headers}
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head("POST", path, sent, len(data), "localhost") + data)
    async with asyncio.timeout(10):
        status, _ = await read_head(reader)
        assert status == 200
        got = b""
        while got.count(b"data: ") < events:
            got += await reader.read(65536)
    return writer, got


async def leave(proxy: Stack, body: Any, count: int) -> None:
    """So many callers ask, and hang up once all are at the provider, which is silent."""
    silent = {"x-sim-ttft": "60s"}
    calls = [asyncio.create_task(fetch(proxy.port, PATH, body, silent)) for _ in range(count)]
    await proxy.sim.until(lambda sim: len(sim.requests) == count)
    for one in calls:
        one.cancel()
    await asyncio.wait(calls)


async def test_31_and_33_who_leaves_mid_stream_pays_for_what_came(tmp_path: Path) -> None:
    """BerriAI/litellm PR #33736, #39893, #14457: nothing was paid, or one token."""
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        writer, got = await begun(proxy, PATH, STREAM, LONG, 12)
        writer.transport.abort()
        (receipt,) = await balanced(proxy, 1)
        usage = receipt.usage
        assert (receipt.end, receipt.usage_source) == ("client_left", "counted")
        assert usage is not None and usage.output_total >= got.count(b'"content":') // 2 > 2
        assert receipt.cost == usage.input_total * INPUT + usage.output_total * OUTPUT


async def test_34_usage_that_is_zero_is_not_usage_that_is_missing(tmp_path: Path) -> None:
    """BerriAI/litellm #37992: a zero was taken for nothing, and something was billed."""
    async with stack(tmp_path, YAML) as proxy:
        answer = await proxy.post(PATH, STREAM, {"x-sim-usage": "zero"})
        receipt = await proxy.receipt(answer)
        assert receipt.usage is not None and receipt.usage.tokens() == 0
        assert (receipt.usage_source, receipt.cost) == ("provider", 0)


async def test_36_who_leaves_before_a_json_answer_is_booked_with_what_was_asked(
    tmp_path: Path,
) -> None:
    """BerriAI/litellm #13245: the provider bills what it wrote; the books had nothing."""
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        await leave(proxy, CHAT, 1)
        await proxy.sim.until(lambda sim: sim.requests[0].closed_early)
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.usage_source) == ("client_left", "estimated")
        assert receipt.cost is not None and INPUT < receipt.cost <= receipt.held


async def test_37_and_39_eight_callers_that_leave_free_the_provider_at_once(
    tmp_path: Path,
) -> None:
    """maximhq/bifrost #3164, PR #7199: a silent upstream went on for minutes."""
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        await leave(proxy, STREAM, 8)
        await proxy.sim.until(lambda sim: sum(r.closed_early for r in sim.requests) == 8)
        assert {r.end for r in await balanced(proxy, 8)} == {"client_left"}


async def test_43_a_translated_stream_begins_with_its_provider(tmp_path: Path) -> None:
    """BerriAI/litellm #39431: message_start was held back until thinking ended."""
    async with stack(tmp_path, YAML) as proxy:
        thinks = {"x-sim-thinking": "30", "x-sim-lockstep": "k"}
        body = {**STREAM, "model": "openai/m"}
        writer, got = await begun(proxy, "/v1/messages", body, thinks, 1)
        assert b"message_start" in got
        proxy.sim.ack("k", 10_000)
        writer.close()
        await proxy.settled(1)


@pytest.mark.parametrize("model", ["anthropic/m", "openai/m", "google/m"])
async def test_49_an_error_mid_stream_is_an_event_that_sdks_see(tmp_path: Path, model: str) -> None:
    """mlflow/mlflow #25897, maximhq/bifrost #5546: no `event: error`, or a clean end."""
    async with stack(tmp_path, YAML) as proxy:
        body = {**STREAM, "model": model}
        answer = await fetch(proxy.port, "/v1/messages", body, {"x-sim-error-after": "4"})
        assert b"event: error\n" in answer.body
        assert b"message_stop" not in answer.body
        (receipt,) = await balanced(proxy, 1)
        assert receipt.end == "error"


async def test_50_mistrals_usage_stands_in_its_last_chunk(tmp_path: Path) -> None:
    """Portkey-AI/gateway #1259: no usage chunk of its own, and it was dropped."""
    async with stack(tmp_path, YAML) as proxy:
        last = {
            "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        }  # fmt: skip
        sent = f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"
        proxy.sim.script(body=sent, headers={"content-type": "text/event-stream"})
        answer = await proxy.post(PATH, {**STREAM, "model": "mistral/m"})
        assert answer.body == sent.encode()
        usage = (await proxy.receipt(answer)).usage
        assert usage is not None and (usage.input_total, usage.output_total) == (7, 5)


async def test_52_fields_that_nobody_knows_reach_the_provider(tmp_path: Path) -> None:
    """maximhq/bifrost #5764, #5606, #4566."""
    async with stack(tmp_path, PRICES) as proxy:
        strange = {"some_new_field": {"x": [1, None]}, "extra_body": 1.50}
        for path in (PATH, "/v1/responses", "/v1/messages"):
            body = encode({**CHAT, "input": "hi", **strange})
            assert (await proxy.post(path, body)).status == 200
            assert proxy.sim.requests[-1].body == body


async def test_54_cache_marks_cross_to_their_like_and_to_nobody_else(tmp_path: Path) -> None:
    """BerriAI/litellm #41424."""
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": "a long text", **mark}]
    async with stack(tmp_path, PRICES) as proxy:
        body = {**CHAT, "messages": [{"role": "user", "content": parts}]}
        await proxy.post(PATH, {**body, "model": "anthropic/m"})
        sent = json.loads(proxy.sim.requests[-1].body or b"")
        assert sent["messages"][0]["content"][0]["cache_control"] == mark["cache_control"]
        await proxy.post("/v1/messages", {**body, "model": "openai/m"})
        sent = proxy.sim.requests[-1].body or b""
        assert b"a long text" in sent and b"cache_control" not in sent  # OpenAI caches by itself


async def test_56_a_conversations_beginning_stays_the_same_bytes(tmp_path: Path) -> None:
    """Joouis/agent-maestro #166, headroomlabs-ai/headroom #2438, musistudio/claude-code-router
    #1217: whatever is written into a prompt on the way ends the provider's cache."""
    rules = "rules: [{name: all, set: {temperature: 0}, continue: true}]\n"
    yaml = PRICES + "models: {auto: [anthropic/m]}\n" + rules
    turns: list[dict[str, str]] = []
    before = {"/v1/messages": b"", PATH: b""}
    async with stack(tmp_path, yaml) as proxy:
        for turn in range(4):
            turns.append({"role": "user", "content": f"turn {turn}"})
            for path, last in before.items():
                body = {"model": "auto", "max_tokens": 9, "messages": turns}
                assert (await proxy.post(path, body)).status == 200
                sent = proxy.sim.requests[-1].body or b""
                said = sent[sent.index(b'"messages"') : sent.rindex(b"]")]
                assert said.startswith(last) and f"turn {turn}".encode() in said
                before[path] = said
            turns.append({"role": "assistant", "content": "so it is"})


async def test_66_routing_needs_no_providers_key(tmp_path: Path) -> None:
    """lm-sys/RouteLLM #62: a key for embeddings was demanded even where none were used."""
    yaml = PRICES + "models: {auto: {strategy: semantic, cheap: openai/a, strong: openai/b}}\n"
    async with stack(tmp_path, yaml) as proxy:
        answer = await proxy.post(PATH, {**CHAT, "model": "auto"})
        assert answer.status == 200 and len(proxy.sim.requests) == 1
        assert "score" in (await proxy.receipt(answer)).reason
