"""Strategies on the request path: where calls go, what callers are told, who stays where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muxproxy.config.faults import ConfigError
from tests.http_client import Answer
from tests.stack import Stack, stack

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2}
"""
YAML = """
models:
  auto: {strategy: semantic, cheap: one/mini, strong: two/large}
  loose: {strategy: heuristic, cheap: one/mini, strong: two/large, sticky: false}
  mix: {strategy: hybrid, cheap: one/mini, strong: two/large}
  price: {strategy: cheapest, models: [two/large, one/mini]}
  speed: {strategy: fastest, models: [one/mini, two/large]}
prices:
  one/mini: {input: 0.1, output: 0.4}
  two/large: {input: 5, output: 15}
"""
EASY = "hi"
HARD = (
    "Prove, step by step, and explain why: let $f(x)=\\frac{x^3-1}{x+2}$ and compute, compare and "
    "determine all roots. You must only answer in JSON, without more than 20 words, at least 3."
)

CHEAP = {"x_routing_strategy": "cost_optimized"}
STRONG = {"x_routing_strategy": "quality_focused"}


async def ask(proxy: Stack, model: str, *texts: str, **headers: str) -> Answer:
    messages = [
        {"role": "assistant" if at % 2 else "user", "content": text}
        for at, text in enumerate(texts)
    ]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"model": model, "messages": messages, "max_tokens": 5}
    return await proxy.post("/v1/chat/completions", body, named)


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)["router_metadata"]
    return found


async def test_the_score_decides_and_is_told(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        easy, hard = told(await ask(proxy, "loose", EASY)), told(await ask(proxy, "loose", HARD))
        assert (easy["selected_model"], hard["selected_model"]) == ("mini", "large")
        assert easy["strategy"] == hard["strategy"] == "heuristic"
        assert easy["score"] < 0.5 <= hard["score"]
        assert "score" in easy["reason"] and "hard verbs" in hard["reason"]
        found = told(await ask(proxy, "auto", HARD))
        assert found["strategy"] == "semantic"
        assert (found["selected_model"] == "large") == (found["score"] >= 0.5)
        assert "expected gain" in found["reason"]


WISHES = [
    ("auto", "cost_optimized", "mini", "cheap first"),
    ("auto", "quality_focused", "large", "strong first"),
    ("auto", "balanced", None, "hybrid"),
    ("auto", "cheapest", "mini", "cheapest"),
    ("price", "semantic", "large", "listed"),
]


@pytest.mark.parametrize(("model", "wish", "goes", "strategy"), WISHES)
async def test_a_caller_may_wish(
    tmp_path: Path, model: str, wish: str, goes: str | None, strategy: str
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        found = told(await ask(proxy, model, EASY, x_routing_strategy=wish))
        assert found["strategy"] == strategy
        assert goes in (None, found["selected_model"])
        assert found["reason"].endswith(f"({wish} was asked for)")
        (seen,) = proxy.sim.requests
        assert "x-routing-strategy" not in {name.lower() for name, _ in seen.headers}


async def test_a_wish_nobody_knows_is_refused_with_the_names(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, "auto", EASY, x_routing_strategy="magic")
        assert answer.status == 400
        assert b"X-Routing-Strategy" in answer.body and b"cost_optimized" in answer.body
        assert not proxy.sim.requests


async def test_by_price_and_by_speed(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        found = told(await ask(proxy, "price", EASY))
        assert found["selected_model"] == "mini" and "about $" in found["reason"]
        # Nobody was measured: each is asked once, in turn; then the faster one.
        await ask(proxy, "speed", EASY)
        await ask(proxy, "speed", "other conversation")
        live = {
            m: proxy.runtime.proxy.health.of(p, m) for p, m in (("one", "mini"), ("two", "large"))
        }
        assert all(one.ewma_us for one in live.values())
        live["mini"].ewma_us, live["large"].ewma_us = 900_000.0, 100.0
        found = told(await ask(proxy, "speed", "a third"))
        assert found["selected_model"] == "large" and "to the first byte" in found["reason"]


async def test_a_conversation_stays_where_it_began(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        first = told(await ask(proxy, "auto", HARD, **STRONG))
        assert first["selected_model"] == "large"
        later = told(await ask(proxy, "auto", HARD, "ok", "yes", **CHEAP))
        assert later["selected_model"] == "large"
        assert "stays at two/large" in later["reason"]
        other = told(await ask(proxy, "auto", "something else", **CHEAP))
        assert other["selected_model"] == "mini"
        assert proxy.runtime.metrics.sticky_turns == 1
        page = (await proxy.get("/metrics")).body
        assert b"muxproxy_sticky_turns_total 1.0" in page


def counted(page: bytes) -> dict[str, float]:
    """The sticky figures of /metrics."""
    lines = [line.split() for line in page.decode().splitlines() if "muxproxy_sticky_" in line]
    return {line[0]: float(line[1]) for line in lines if line[0] != "#"}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_staying_saved_in_cached_tokens_is_reported(
    tmp_path: Path, stream: bool
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:

        async def turn(wish: dict[str, str], *texts: str) -> None:
            roles = ("user", "assistant")
            body = {
                "model": "auto",
                "messages": [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)],
                "stream": stream,
            }
            headers = {name.replace("_", "-"): value for name, value in wish.items()}
            assert (await proxy.post("/v1/chat/completions", body, headers)).status == 200

        proxy.sim.script(model="large", cached=70, input=100, times=3)
        proxy.sim.script(model="mini", cached=9, input=100, times=2)
        await turn(STRONG, HARD)  # begins there: nothing was kept
        await turn(STRONG, HARD, "ok", "yes")  # would have gone there anyway
        await turn(CHEAP, HARD, "ok", "yes")  # stays: 70 tokens of it are read from the cache
        proxy.sim.script(model="large", status=503)
        await turn(CHEAP, HARD, "ok", "yes", "ok", "yes")
        await proxy.settled(4)
        assert counted((await proxy.get("/metrics")).body) == {
            "muxproxy_sticky_turns_total": 2,
            "muxproxy_sticky_cached_tokens_total": 70,
        }


async def test_a_candidate_that_fails_is_left_and_the_conversation_moves(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, "auto", HARD, **STRONG)
        proxy.sim.script(model="large", status=503)
        moved = told(await ask(proxy, "auto", HARD, "ok", "yes"))
        assert moved["selected_model"] == "mini"
        again = told(await ask(proxy, "auto", HARD, "ok", "yes", **STRONG))
        assert again["selected_model"] == "mini"


async def test_not_sticky_where_turned_off(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        assert told(await ask(proxy, "loose", HARD))["selected_model"] == "large"
        assert told(await ask(proxy, "loose", HARD, "ok", "yes"))["selected_model"] == "mini"


RULES = """
rules:
  - {name: big, when: {messages: ">= 7"}, to: two/huge}
  - {name: code, when: {text: code}, to: two/large}
  - {name: rest, to: one/mini}
"""


async def test_what_a_text_rule_chose_stays_until_a_rule_without_text_says_otherwise(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path, RULES, providers=PROVIDERS) as proxy:
        code = "Fix this:\n```python\ndef f(): pass\n```"
        assert told(await ask(proxy, "any", code))["selected_model"] == "large"
        assert told(await ask(proxy, "any", code, "ok", "yes"))["selected_model"] == "large"
        assert told(await ask(proxy, "any", "hello", "ok", "yes"))["selected_model"] == "mini"
        long = await ask(proxy, "any", code, "ok", "yes", "ok", "yes", "ok", "yes")
        assert told(long)["selected_model"] == "huge"


async def test_remembered_conversations_are_bounded(tmp_path: Path) -> None:
    yaml = YAML + "routing: {conversations: 2}\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        for n in range(5):
            await ask(proxy, "auto", f"conversation {n}")
        assert len(proxy.runtime.proxy.conversations) == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "No such file"),
        (b"MUXROUTE1\n{}\n", "another version of muxproxy: train it again"),
        (b"PK", "not a file of `muxproxy train`"),
    ],
)
async def test_weights_that_cannot_be_used_stop_the_start(
    tmp_path: Path, data: bytes | None, why: str
) -> None:
    path = tmp_path / "router.mux"
    if data is not None:
        path.write_bytes(data)
    yaml = YAML + f"routing: {{weights: {path}}}\n"
    with pytest.raises(
        ConfigError, match=rf"yaml:\d+:\d+: routing\.weights: .*router\.mux: .*{why}"
    ):
        async with stack(tmp_path, yaml, providers=PROVIDERS):
            pass


HYBRID = """
models:
  near: {strategy: hybrid, cheap: one/mini, strong: two/large, threshold: 0.5, band: 1.0}
  far: {strategy: hybrid, cheap: one/mini, strong: two/large, threshold: 0.0, band: 0.0}
"""


async def test_hybrid_judges_the_cheap_answer_where_it_is_not_sure(tmp_path: Path) -> None:
    async with stack(tmp_path, HYBRID, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="I'm sorry, but I cannot help with that.", model="mini")
        answer = await ask(proxy, "near", EASY)
        found = told(answer)
        assert (found["selected_model"], found["strategy"]) == ("large", "hybrid")
        assert "is near 0.5, cheap first and judged" in found["reason"]
        assert answer.headers["x-muxproxy-cascade"] == "one/mini: refusal, strong: asked"
        sure = await ask(proxy, "far", EASY)
        assert told(sure)["selected_model"] == "large"
        assert "x-muxproxy-cascade" not in sure.headers


async def test_hybrid_gives_way_to_a_budget_that_is_nearly_used(tmp_path: Path) -> None:
    budget = "budgets: [{name: few, limit: 100 tokens, on_exceed: warn}]\n"
    async with stack(tmp_path, HYBRID + budget, providers=PROVIDERS) as proxy:
        before = told(await ask(proxy, "far", HARD, "ok", "one"))["score"]
        for n in range(12):
            await ask(proxy, "far", f"spend {n}")
        await proxy.settled(13)
        found = told(await ask(proxy, "far", "Another beginning", "ok", "one"))
        assert "budget" in found["reason"] and "% used" in found["reason"]
        assert found["score"] < before or before == 0


async def test_hybrid_leaves_a_side_that_is_out(tmp_path: Path) -> None:
    async with stack(tmp_path, HYBRID, providers=PROVIDERS) as proxy:
        health = proxy.runtime.proxy.health
        for _ in range(50):
            health.failed("two", health.of("two", "large"))
        found = told(await ask(proxy, "far", EASY))
        assert found["selected_model"] == "mini"
        assert "strong is out" in found["reason"]


async def test_a_run_has_many_conversations(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        run = {"x_muxproxy_run": "r1", "x_session_id": "s1"}
        assert told(await ask(proxy, "auto", HARD, **STRONG, **run))["selected_model"] == "large"
        assert told(await ask(proxy, "auto", "new", **CHEAP, **run))["selected_model"] == "mini"
