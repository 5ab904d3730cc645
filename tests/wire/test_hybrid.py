"""`hybrid` over sockets: budgets, breakers and latencies move the decision for the same prompt, and
the uncertain band is cascaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muxproxy.routing import judgement
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, nothing_left

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1, breaker: {failures: 2, open_for: 60s}}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2, breaker: {failures: 2, open_for: 60s}}
"""
HARD = "Prove that there are infinitely many primes."
SCORE = judgement.scorer("semantic", None)(HARD).score


def config(threshold: float, band: float = 0.0, more: str = "") -> str:
    alias = f"strategy: hybrid, cheap: one/mini, strong: two/large, sticky: false, band: {band}"
    return (
        f"models: {{auto: {{{alias}, threshold: {threshold:.3f}}}}}\n"
        "prices: {one/mini: {input: 1, output: 1}, two/large: {input: 100, output: 100}}\n" + more
    )


async def ask(proxy: Stack, model: str = "auto", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": HARD}], "max_tokens": 20}
    return await proxy.post("/v1/chat/completions", {**body, **more})


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)["router_metadata"]
    return found


async def test_a_budget_that_is_nearly_used_goes_cheap(tmp_path: Path) -> None:
    budget = "budgets: [{name: purse, limit: $0.05}]\n"
    yaml = config(SCORE - 0.02, more=budget)
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        seen = []
        for _ in range(20):
            found = told(await ask(proxy))
            seen.append(found["selected_model"])
            if seen[-1] == "mini":
                break
        assert seen[0] == "large" and seen[-1] == "mini"
        assert len(seen) > 5  # half of it first
        assert "budget 5" in found["reason"] and "% used" in found["reason"]
        assert found["score"] < SCORE - 0.02
        await balanced(proxy, len(seen))


@pytest.mark.parametrize(
    ("threshold", "out", "first", "then"),
    [(SCORE - 0.02, "large", "large", "mini"), (SCORE + 0.02, "mini", "mini", "large")],
)
async def test_a_side_whose_breaker_opened_is_left(
    tmp_path: Path, threshold: float, out: str, first: str, then: str
) -> None:
    yaml = config(threshold)
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        assert told(await ask(proxy))["selected_model"] == first
        proxy.sim.script(model=out, status=503, times=2)
        for _ in range(2):
            assert told(await ask(proxy))["selected_model"] == then  # the fall-back
        asked = len(proxy.sim.requests)
        found = told(await ask(proxy))
        assert found["selected_model"] == then
        assert ("strong is out" if out == "large" else "cheap is out") in found["reason"]
        assert len(proxy.sim.requests) == asked + 1
        await balanced(proxy, 4)


@pytest.mark.parametrize(
    ("threshold", "slow", "first", "then"),
    [
        (SCORE - 0.02, "two/large", "large", "mini"),
        (SCORE + 0.02, "one/mini", "mini", "large"),
    ],
)
async def test_a_side_that_is_much_slower_is_left(
    tmp_path: Path, threshold: float, slow: str, first: str, then: str
) -> None:
    yaml = config(threshold)
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        assert told(await ask(proxy))["selected_model"] == first
        proxy.sim.script(model=slow.partition("/")[2], ttft="500ms", times=4)
        for _ in range(4):
            await ask(proxy, slow)
        for _ in range(2):
            await ask(proxy, "one/mini" if slow == "two/large" else "two/large")
        found = told(await ask(proxy))
        assert found["selected_model"] == then
        assert "times slower" in found["reason"]


@pytest.mark.parametrize(("away", "judged"), [(0.05, True), (-0.05, True), (0.15, False)])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_uncertain_band_is_cascaded(
    tmp_path: Path, away: float, judged: bool, stream: bool
) -> None:
    yaml = config(SCORE + away, band=0.1)
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        proxy.sim.script(model="mini", text="As an AI, I do not have access to that.")
        proxy.sim.script(model="large", text="Strong.")
        answer = await ask(proxy, stream=stream)
        assert (b"Strong." in answer.body) == judged
        header = answer.headers.get("x-muxproxy-cascade")
        assert header == ("one/mini: refusal, strong: asked" if judged else None)
        rows = await balanced(proxy, 2 if judged else 1)
        assert all("auto: " in row.reason for row in rows)
