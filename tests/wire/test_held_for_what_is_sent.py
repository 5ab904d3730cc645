"""A rule's `set` and the defaults change what a call may cost: holds and limits count with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stack import stack
from tests.wire.balance import balanced, code_in, nothing_left

PRICES = 'prices: {"*/*": {input: 0, output: 1000000}}\n'  # a dollar a token of output
BUDGET = "budgets: [{name: purse, limit: $1000}]\n"
SAY = [{"role": "user", "content": "hi"}]
CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "openai": ("/v1/chat/completions", {"model": "openai/m", "messages": SAY}, "max_tokens"),
    "reasoning": (
        "/v1/chat/completions",
        {"model": "openai/o3", "messages": SAY},
        "max_completion_tokens",
    ),
    "responses": ("/v1/responses", {"model": "openai/m", "input": "hi"}, "max_output_tokens"),
    "anthropic": ("/v1/messages", {"model": "anthropic/m", "messages": SAY}, "max_tokens"),
    "gemini": (
        "/v1beta/models/m:generateContent",
        {"contents": [{"parts": [{"text": "hi"}]}]},
        "generationConfig.maxOutputTokens",
    ),
}


def asking(name: str, most: int | None) -> tuple[str, dict[str, Any]]:
    path, body, field = CALLS[name]
    outer, dot, inner = field.partition(".")
    if most is None:
        return path, body
    return path, {**body, outer: {inner: most} if dot else most}


def member(body: bytes, field: str) -> Any:
    found = json.loads(body)
    for name in field.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("asked", [None, 7, 900])
@pytest.mark.parametrize("yaml", ["rules: [{name: r, set: {max_tokens: 70}}]\n", "defaults"])
async def test_the_hold_is_for_the_tokens_that_are_sent(
    tmp_path: Path, name: str, asked: int | None, yaml: str
) -> None:
    sent = 70
    if yaml == "defaults":
        yaml, sent = "defaults: {max_tokens: 70}\n", asked or 70
    async with nothing_left(), stack(tmp_path, PRICES + BUDGET + yaml) as proxy:
        path, body = asking(name, asked)
        answer = await proxy.post(path, body)
        assert answer.status == 200, answer.body
        (seen,) = proxy.sim.requests
        assert member(seen.body or b"", CALLS[name][2]) == sent
        (row,) = await balanced(proxy, 1)
        assert row.held == sent * 10**9


async def test_what_a_rule_raises_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    yaml = PRICES + BUDGET + "rules: [{name: r, set: {max_tokens: 1001}}]\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        answer = await proxy.post(*asking("openai", 5))
        assert (answer.status, code_in(answer.json(), "openai")) == (402, "budget_exceeded")
        assert not proxy.sim.requests
        await balanced(proxy, 1)


async def test_what_a_rule_lowers_fits(tmp_path: Path) -> None:
    yaml = PRICES + BUDGET + "rules: [{name: r, set: {max_tokens: 20}}]\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        answer = await proxy.post(*asking("openai", 5000), {"x-max-budget": "20"})
        assert answer.status == 200
        await balanced(proxy, 1)


async def test_more_answers_are_held_for(tmp_path: Path) -> None:
    yaml = PRICES + BUDGET + "rules: [{name: r, set: {n: 3}}]\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        assert (await proxy.post(*asking("openai", 10))).status == 200
        (row,) = await balanced(proxy, 1)
        assert row.held == 30 * 10**9


async def test_a_clamp_lowers_what_a_rule_set_and_never_raises_it(tmp_path: Path) -> None:
    budget = "budgets: [{name: purse, limit: $100, clamp: true, window: prepaid}]\n"
    for most, sent in ((50, 50), (500, 100)):
        yaml = PRICES + budget + f"rules: [{{name: r, set: {{max_tokens: {most}}}}}]\n"
        folder = tmp_path / str(most)
        folder.mkdir()
        async with nothing_left(), stack(folder, yaml) as proxy:
            assert (await proxy.post(*asking("openai", 5000))).status == 200
            assert member(proxy.sim.requests[0].body or b"", "max_tokens") == sent
            await balanced(proxy, 1)


async def test_a_cut_stream_is_counted_by_what_was_sent(tmp_path: Path) -> None:
    yaml = PRICES + BUDGET + "rules: [{name: r, set: {max_tokens: 300}}]\n"
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        proxy.sim.script(text="word " * 100, drop_after=80)
        path, body = asking("openai", 2)
        await proxy.post(path, {**body, "stream": True})
        (row,) = await balanced(proxy, 1)
        assert row.usage is not None and row.usage.output_total > 10
