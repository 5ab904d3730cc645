"""Agents in a loop are stopped with a 429 that says why, per run or key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, stack

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "again"}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


async def status(proxy: Stack, body: Any, run: str | None = None) -> int:
    answer = await proxy.post(PATH, body, {"x-muxproxy-run": run} if run else None)
    if answer.status == 429:
        error = answer.json()["error"]
        assert error["guard"] == "runaway"
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["retry-after"] == "60"
    return answer.status


async def test_the_same_request_again_and_again(tmp_path: Path) -> None:
    async with stack(tmp_path, "runaway: {repeats: 2}") as proxy:
        assert [await status(proxy, CHAT, "a") for _ in range(4)] == [200, 200, 429, 429]
        assert await status(proxy, CHAT, "b") == 200  # another run
        assert await status(proxy, {**CHAT, "seed": 1}, "a") == 200
        assert len(proxy.sim.requests) == 4
        receipts = await proxy.settled(6)
        assert [r.code for r in receipts].count("rate_limited") == 2


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_the_same_tool_call_again_and_again(tmp_path: Path, dialect: str) -> None:
    """Every request is longer than the one before, so none is the same."""
    async with stack(tmp_path, "runaway: {repeats: 3}") as proxy:
        messages: list[Any] = [{"role": "user", "content": "Look it up"}]
        seen = []
        for turn in range(5):
            if dialect == "openai":
                body = {"model": "gpt-4o", "tools": [TOOL], "messages": messages}
                path = PATH
                call = {"name": "look", "arguments": json.dumps({"q": 1})}
                called = {"id": f"c{turn}", "type": "function", "function": call}
                messages = [
                    *messages,
                    {"role": "assistant", "tool_calls": [called]},
                    {"role": "tool", "tool_call_id": f"c{turn}", "content": f"nothing {turn}"},
                ]
            else:
                tool = {"name": "look", "input_schema": {"type": "object"}}
                body = {"model": "m", "max_tokens": 9, "tools": [tool], "messages": messages}
                path = "/v1/messages"
                use = {"type": "tool_use", "id": f"c{turn}", "name": "look", "input": {"q": 1}}
                told = {"type": "tool_result", "tool_use_id": f"c{turn}", "content": f"no {turn}"}
                messages = [
                    *messages,
                    {"role": "assistant", "content": [use]},
                    {"role": "user", "content": [told]},
                ]
            seen.append((await proxy.post(path, body)).status)
        assert seen == [200, 200, 200, 200, 429]


async def test_dollars_per_minute(tmp_path: Path) -> None:
    yaml = 'runaway: {dollars_per_minute: $0.0001}\nprices: {"*/dear": {input: 100, output: 100}}\n'
    async with stack(tmp_path, yaml) as proxy:
        assert await status(proxy, {**CHAT, "model": "dear"}, "a") == 200
        await proxy.settled(1)
        assert await status(proxy, {**CHAT, "model": "dear", "seed": 2}, "a") == 429
        assert await status(proxy, {**CHAT, "model": "dear", "seed": 3}, "b") == 200
