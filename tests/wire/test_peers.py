"""Rows of the field's budget complaints (PEERS.md 2.1) that show only on the road itself; the
others are in tests/budget/test_peers.py and tests/prices/test_peers.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.dialects.clients import Clients
from tests.stack import stack
from tests.wire.balance import balanced, sums
from tests.wire.test_ledger_failures import YAML as PURSE
from tests.wire.test_ledger_failures import locked

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "max_tokens": 20,
}
PRICES = 'prices: {"*": {input: 1, output: 2}}\n'


async def test_04_a_reservation_that_cannot_be_written_fails_closed(tmp_path: Path) -> None:
    """BerriAI/litellm #33923."""
    async with stack(tmp_path, PURSE) as proxy:
        async with locked(proxy):
            answers = await asyncio.gather(*(proxy.post(PATH, CHAT) for _ in range(5)))
            assert {a.status for a in answers} == {503}
            assert {a.json()["error"]["code"] for a in answers} == {"ledger_unavailable"}
        assert not proxy.sim.requests


async def test_11_a_model_nobody_prices_is_refused_and_never_costs_nothing(tmp_path: Path) -> None:
    """BerriAI/litellm PR #36561, #35524."""
    yaml = "unknown_price: deny\nbudgets: [{name: purse, limit: $1}]\n"
    async with stack(tmp_path, yaml) as proxy:
        answer = await proxy.post(PATH, {**CHAT, "model": "nobody-prices-me"})
        assert (answer.status, answer.json()["error"]["code"]) == (402, "unknown_price")
        assert not proxy.sim.requests
    other = tmp_path / "other"
    other.mkdir()
    async with stack(other) as proxy:  # no budget covers it: it passes, and its cost is not known
        answer = await proxy.post(PATH, {**CHAT, "model": "nobody-prices-me"})
        assert answer.status == 200
        assert (await proxy.receipt(answer)).cost is None


async def test_16_a_translated_stream_tells_its_usage_and_tokens_can_be_counted(
    tmp_path: Path,
) -> None:
    """vercel/ai #17326: message_start said 0/0 and count_tokens was a 404."""
    async with stack(tmp_path, PRICES) as proxy:
        body = {**CHAT, "model": "openai/m", "stream": True}
        answer = await proxy.post("/v1/messages", body, {"x-sim-input": "11", "x-sim-tokens": "7"})
        usage = Clients().message_stream(answer.body).usage
        assert (usage.input_tokens, usage.output_tokens) == (11, 7)
        counted = await proxy.post("/v1/messages/count_tokens", {**body, "stream": False})
        assert counted.status == 200
        assert counted.json()["input_tokens"] > 0


async def test_18_paths_passed_through_unread_stay_under_the_budget(tmp_path: Path) -> None:
    """maximhq/bifrost #2873."""
    yaml = "budgets: [{name: nothing, limit: 0 tokens}]\n"
    async with stack(tmp_path, yaml) as proxy:
        for path in ("/v1/audio/speech", "/p/openai/v1/whatever", "/p/openai/v1/chat/completions"):
            answer = await proxy.post(path, CHAT)
            assert answer.status == 402, path
        assert not proxy.sim.requests


async def test_24_what_remains_goes_down_in_the_headers(tmp_path: Path) -> None:
    """envoyproxy/ai-gateway #1754."""
    async with stack(tmp_path, PRICES + "budgets: [{name: purse, limit: $1}]\n") as proxy:
        seen = []
        for _ in range(3):
            answer = await proxy.post(PATH, CHAT)
            seen.append(float(answer.headers["x-budget-remaining"]))
            await balanced(proxy, len(seen))
        assert seen == sorted(seen, reverse=True)
        assert len(set(seen)) == 3


async def test_26_a_budget_of_ones_own_without_a_deploy(tmp_path: Path) -> None:
    """agentgateway/agentgateway #2171: per-user overrides while it runs."""
    async with stack(tmp_path, PRICES) as proxy:
        terms = {"name": "ann", "limit": "$0", "when": {"user": "ann"}}
        assert (await proxy.post("/v1/analytics/budgets", terms)).status == 200
        assert (await proxy.post(PATH, {**CHAT, "user": "ann"})).status == 402
        assert (await proxy.post(PATH, {**CHAT, "user": "bob"})).status == 200
        raised = await proxy.post("/v1/analytics/budgets", {**terms, "limit": "$5"})
        assert raised.status == 200
        assert (await proxy.post(PATH, {**CHAT, "user": "ann"})).status == 200


async def test_29_keys_and_their_budgets_come_with_the_product(tmp_path: Path) -> None:
    """Portkey-AI/gateway #1169, #1160, #115."""
    yaml = f"""{PRICES}
auth: {{mode: keys}}
keys: [{{name: ann, value: key-ann, team: red}}, {{name: bob, value: key-bob, team: red}}]
budgets: [{{name: each, per: key, limit: $1}}, {{name: team, per: team, limit: $1}}]
"""
    async with stack(tmp_path, yaml) as proxy:
        for key in ("key-ann", "key-bob"):
            sent = {"authorization": f"Bearer {key}", "x-sim-input": "10", "x-sim-tokens": "5"}
            assert (await proxy.post(PATH, CHAT, sent)).status == 200
        assert (await proxy.post(PATH, CHAT)).status == 401
        await proxy.settled(3)
        each, team = sums(proxy, "each"), sums(proxy, "team")
        cost = 10 * 1000 + 5 * 2000
        assert {scope: nano for scope, (nano, _) in each.items()} == {"ann": cost, "bob": cost}
        assert team["red"][0] == 2 * cost
