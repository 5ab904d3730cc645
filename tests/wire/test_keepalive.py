"""Signs of life between whole events, only where they were asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from muxproxy.sse import Framer
from tests.stack import PROVIDERS, Stack, stack
from tests.wire.balance import balanced, fetch, nothing_left

RULE = "rules:\n  - {name: r, keepalive: 10ms}\n"
CHAT = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


async def thinking(proxy: Stack, path: str, body: object, mark: bytes, slice: int | None) -> bytes:
    """A stream held after its first chunk until three signs of life have come."""
    options = {"lockstep": "think", **({} if slice is None else {"slice": slice})}
    proxy.sim.script(options)
    task = asyncio.create_task(fetch(proxy.port, path, body))
    await proxy.sim.until(lambda sim: bool(sim.requests))
    last, before = None, 0  # the provider's latest bytes, and what had gone out with them
    async with asyncio.timeout(30):
        while True:
            (exchange,) = proxy.runtime.in_flight.tasks.values()
            relay = exchange.relay  # type: ignore[attr-defined]
            if relay is not None and relay._last is not last:
                last, before = relay._last, relay.bytes_out
            elif last and relay.bytes_out >= before + 3 * len(mark):
                break
            await asyncio.sleep(0.005)
    proxy.sim.ack("think", 999)
    answer = await task
    assert (answer.status, answer.broken) == (200, False)
    return answer.body


@pytest.mark.parametrize("slice", [None, 7, 1])
async def test_a_silent_stream_gets_comments_between_its_events(
    tmp_path: Path, slice: int | None
) -> None:
    async with nothing_left(), stack(tmp_path, RULE) as proxy:
        body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        given = await thinking(proxy, "/v1/chat/completions", body, COMMENT, slice)
        assert COMMENT in given
        plain = await fetch(proxy.sim.port, "/v1/chat/completions", {**body, "model": "m"})
        framer = Framer()
        assert framer.feed(given) == Framer().feed(plain.body)
        assert given.replace(COMMENT, b"") == plain.body
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.usage_source) == ("finished", "provider")


async def test_anthropics_callers_get_its_ping(tmp_path: Path) -> None:
    providers = PROVIDERS.replace("sk-anthropic}", "sk-anthropic, keepalive: 10ms}")
    async with nothing_left(), stack(tmp_path, providers=providers) as proxy:
        given = await thinking(
            proxy, "/v1/messages", {**CHAT, "model": "anthropic/m", "stream": True}, PING, None
        )
        assert given.count(PING) >= 1
        assert given.endswith(b'data: {"type":"message_stop"}\n\n')


async def test_json_and_streams_of_others_get_none(tmp_path: Path) -> None:
    async with stack(tmp_path, RULE) as proxy:
        headers = {"x-sim-ttft": "60ms"}
        answer = await fetch(proxy.port, "/v1/chat/completions", CHAT, headers)
        assert answer.json()["choices"]


async def test_an_idle_stream_ends_with_the_error_event_all_the_same(tmp_path: Path) -> None:
    rule = "rules:\n  - {name: r, keepalive: 10ms, timeouts: {idle: 100ms}}\n"
    async with nothing_left(), stack(tmp_path, rule) as proxy:
        proxy.sim.script(hang_after=2)
        answer = await fetch(
            proxy.port, "/v1/chat/completions", {**CHAT, "stream": True, "max_tokens": 900}
        )
        assert answer.broken and b"upstream_timeout" in answer.body
        assert COMMENT in answer.body
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.code) == ("upstream_died", "upstream_timeout")


async def test_a_rules_total_ends_a_stream_that_never_ends(tmp_path: Path) -> None:
    rule = "rules:\n  - {name: r, timeouts: {total: 150ms}}\n"
    async with nothing_left(), stack(tmp_path, rule) as proxy:
        proxy.sim.script(tokens=500, pace="5ms")
        answer = await fetch(
            proxy.port, "/v1/chat/completions", {**CHAT, "stream": True, "max_tokens": 900}
        )
        assert answer.broken and b"within the total time" in answer.body
        await balanced(proxy, 1)
