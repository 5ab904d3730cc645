"""Streams: nothing altered, nothing held back, and what happens when one side goes away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from muxproxy.proxy import Exchange
from tests.http_client import call, encode, head, read_body, read_head
from tests.stack import Stack, stack

CHAT = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "stream": True,
    "max_tokens": 40,
}
WITH_USAGE = {**CHAT, "stream_options": {"include_usage": True}}
ANTHROPIC = {**CHAT, "model": "claude-sonnet-4-5"}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}]}
GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
STREAMS = {
    "chat": ("/v1/chat/completions", WITH_USAGE),
    "chat without usage": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "hi", "stream": True}),
    "anthropic": ("/v1/messages", ANTHROPIC),
    "gemini": (GEMINI_PATH, GEMINI),
}


@pytest.mark.parametrize(("path", "body"), STREAMS.values(), ids=STREAMS.keys())
async def test_a_stream_arrives_as_the_provider_sent_it(
    tmp_path: Path, path: str, body: dict[str, object]
) -> None:
    async with stack(tmp_path) as proxy:
        through = await proxy.post(path, body, {"x-sim-tokens": "30"})
        direct_body = body
        if body is CHAT:  # the proxy asked for usage and took the extra chunk out again
            sent = json.loads(proxy.sim.requests[0].body or b"")
            assert sent["stream_options"] == {"include_usage": True}
            direct_body = WITH_USAGE
        direct = await call(proxy.sim.port, "POST", path, direct_body, {"x-sim-tokens": "30"})
        if body is CHAT:
            events = direct.body.split(b"\n\n")
            kept = [e for e in events if b'"choices":[]' not in e.replace(b" ", b"")]
            assert len(kept) == len(events) - 1
            assert through.body == b"\n\n".join(kept)
        else:
            assert through.body == direct.body
        receipt = await proxy.receipt(through)
        assert receipt.usage is not None
        assert receipt.usage_source == "provider"
        assert receipt.usage.output_total == 30
        assert receipt.end == "finished"


@pytest.mark.parametrize(("path", "body"), STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("slicing", ["event", "7"])
async def test_no_chunk_waits_for_the_next(
    tmp_path: Path, path: str, body: dict[str, object], slicing: str
) -> None:
    """The provider sends chunk n+1 only once the client has chunk n: buffering would deadlock."""
    async with stack(tmp_path) as proxy:
        data = encode(body)
        headers = {
            "content-type": "application/json",
            "x-sim-lockstep": "k",
            "x-sim-tokens": "12",
        }
        if slicing != "event":
            headers["x-sim-slice"] = slicing
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(head("POST", path, headers, len(data), "localhost") + data)
            status, _ = await read_head(reader)
            assert status == 200
            received = 0
            while True:
                size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
                await reader.readexactly(size + 2)
                if size == 0:
                    break
                received += 1
                proxy.sim.ack("k", 10_000 if slicing != "event" else received)
            writer.close()
        assert received > 3


async def test_a_client_that_leaves_mid_stream_stops_the_provider_and_pays_for_what_it_got(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path) as proxy:
        await _leave_after(proxy, chunks=5, pace="20ms")
        await proxy.sim.until(lambda sim: sim.requests[0].closed_early)
        (receipt,) = await proxy.settled(1)
        assert receipt.end == "client_left"
        assert receipt.usage_source == "counted"
        assert receipt.usage is not None
        assert 0 < receipt.usage.output_total <= 40
        assert receipt.usage.input_total > 0
        assert receipt.cost


async def test_a_client_that_leaves_before_the_first_byte_cancels_upstream(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        data = encode(CHAT)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        sent = {"x-sim-hang-after": "0", "content-type": "application/json"}
        writer.write(head("POST", "/v1/chat/completions", sent, len(data), "localhost") + data)
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        writer.transport.abort()
        await proxy.sim.until(lambda sim: sim.requests[0].closed_early)
        (receipt,) = await proxy.settled(1)
        assert (receipt.end, receipt.status) == ("client_left", 499)
        assert receipt.usage_source == "estimated"
        assert receipt.usage is not None
        assert receipt.usage.output_total == 40
        del reader


async def test_on_abort_drain_reads_on_and_learns_the_usage(tmp_path: Path) -> None:
    providers = """
  openai: {dialect: openai, base_url: SIM/v1, api_key: k, on_abort: {drain: 10s}}
"""
    async with stack(tmp_path, providers=providers) as proxy:
        await _leave_after(proxy, chunks=3, pace="5ms")
        (receipt,) = await proxy.settled(1)
        assert receipt.end == "drained"
        assert receipt.usage_source == "provider"
        assert receipt.usage is not None
        assert receipt.usage.output_total == 40


@pytest.mark.parametrize("fault", ["x-sim-drop-after", "x-sim-reset-after"])
@pytest.mark.parametrize(("path", "body"), STREAMS.values(), ids=STREAMS.keys())
async def test_an_upstream_that_dies_never_ends_cleanly(
    tmp_path: Path, path: str, body: dict[str, object], fault: str
) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(path, body, {fault: "4", "x-sim-tokens": "30"})
        assert answer.status == 200
        assert answer.broken
        assert b"[DONE]" not in answer.body
        assert b"error" in answer.body[-600:]
        receipt = await proxy.receipt(answer)
        assert receipt.end == "upstream_died"
        assert receipt.code in ("upstream_died", "upstream_protocol")
        assert receipt.usage is not None


async def test_a_stalled_stream_ends_with_an_error(tmp_path: Path) -> None:
    providers = """
  openai: {dialect: openai, base_url: SIM/v1, api_key: k, timeouts: {idle: 200ms}}
"""
    async with stack(tmp_path, providers=providers) as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT, {"x-sim-hang-after": "3"})
        assert answer.broken
        assert b'"upstream_timeout"' in answer.body
        receipt = await proxy.receipt(answer)
        assert (receipt.end, receipt.code) == ("upstream_died", "upstream_timeout")


async def test_an_explicit_false_is_kept_and_the_stream_is_counted(tmp_path: Path) -> None:
    body = {**CHAT, "stream_options": {"include_usage": False}}
    async with stack(tmp_path) as proxy:
        answer = await proxy.post("/v1/chat/completions", body, {"x-sim-tokens": "30"})
        sent = json.loads(proxy.sim.requests[0].body or b"")
        assert sent["stream_options"] == {"include_usage": False}
        receipt = await proxy.receipt(answer)
        assert receipt.usage_source == "counted"


async def test_injection_can_be_turned_off(tmp_path: Path) -> None:
    providers = "\n  openai: {dialect: openai, base_url: SIM/v1, usage_injection: off}\n"
    async with stack(tmp_path, providers=providers) as proxy:
        await proxy.post("/v1/chat/completions", CHAT)
        assert "stream_options" not in json.loads(proxy.sim.requests[0].body or b"")


async def test_a_slow_reader_slows_the_provider_and_not_the_memory(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        data = encode({**CHAT, "max_tokens": 100_000})
        headers = {"content-type": "application/json", "x-sim-tokens": "100000"}
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=65536)
        target = "/v1/chat/completions"
        writer.write(head("POST", target, headers, len(data), "localhost") + data)
        status, fields = await read_head(reader)
        assert status == 200
        async with asyncio.timeout(20):
            before = -1
            while before != (now := _sent(proxy)):
                before = now  # until nothing moves any more: the provider is paused
                await asyncio.sleep(0.2)
            assert before < 16 * 1024 * 1024
            body, broken = await read_body(reader, fields)
        assert not broken
        assert body.rstrip().endswith(b"data: [DONE]")
        writer.close()


def _sent(proxy: Stack) -> int:
    """Body bytes relayed towards the client so far."""
    (exchange,) = proxy.runtime.in_flight.tasks.values()
    assert isinstance(exchange, Exchange) and exchange.relay is not None
    return exchange.relay.bytes_out


async def _leave_after(proxy: Stack, *, chunks: int, pace: str) -> None:
    data = encode(CHAT)
    headers = {"content-type": "application/json", "x-sim-pace": pace, "x-sim-tokens": "40"}
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        target = "/v1/chat/completions"
        writer.write(head("POST", target, headers, len(data), "localhost") + data)
        await read_head(reader)
        for _ in range(chunks):
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            await reader.readexactly(size + 2)
        writer.transport.abort()
