"""`/v1/chat/completions/enhanced` with `cascade_config`, and `X-Routing-Strategy` in full."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, nothing_left

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2}
"""
YAML = """
models:
  auto: {strategy: semantic, cheap: one/mini, strong: two/large, sticky: false}
  rated: {strategy: semantic, cheap: one/mini, strong: two/large, judge: one/rater, sticky: false}
  twice: {strategy: semantic, cheap: one/mini, strong: two/large, agree: one/second, sticky: false}
  always: {strategy: semantic, cheap: one/mini, strong: two/large, threshold: 0.0, sticky: false}
  pool: {strategy: weighted, models: [one/a, two/b], weights: [0, 1]}
  price: {strategy: cheapest, models: [two/large, one/mini], sticky: false}
prices:
  one/*: {input: 1, output: 1}
  two/*: {input: 100, output: 100}
budgets: [{name: all, limit: $100}]
"""
PATH = "/v1/chat/completions/enhanced"
SORRY = "I'm sorry, but I cannot help with that."
UNSURE = "I am not sure, it may be 4."


async def ask(proxy: Stack, config: object, model: str = "auto", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    return await proxy.post(PATH, {**body, "cascade_config": config, **more})


def models(proxy: Stack) -> list[str]:
    return [json.loads(seen.body or b"{}").get("model") for seen in proxy.sim.requests]


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)["router_metadata"]
    return found


# -- what is told ----------------------------------------------------------------------------


async def test_every_step_is_told_with_its_score_and_cost(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(text="3", model="rater")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, {"quality_threshold": 0.7, "max_budget": "$1"}, "rated")
        found = told(answer)
        cascade = found["cascade"]
        assert (cascade["cascade_type"], cascade["quality_threshold"]) == ("balanced", 0.7)
        assert cascade["max_budget"] == 1.0
        steps = cascade["steps"]
        assert [(s["role"], s["model"], s["verdict"]) for s in steps] == [
            ("cheap", "mini", "judged 0.3"),
            ("judge", "rater", "rates 0.3"),
            ("strong", "large", "kept"),
        ]
        assert steps[0]["score"] == steps[1]["score"] == 0.3
        rows = {row.model: row for row in await balanced(proxy, 3)}
        for step in steps:
            assert step["cost"] == pytest.approx((rows[step["model"]].cost or 0) / 1e9)
            assert step["cost"] > 0
        assert cascade["total_cost"] == pytest.approx(sum(step["cost"] for step in steps))
        assert found["actual_cost"] == steps[2]["cost"]
        assert "cascade_config was asked for" not in found["reason"]
        assert "by balanced, bar 0.7" in found["reason"]


async def test_a_kept_cheap_answer_tells_its_steps_too(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="It is 4", model="mini")
        proxy.sim.script(text="4", model="second")
        answer = await ask(proxy, {}, "twice")
        found = told(answer)
        assert [(s["role"], s["verdict"]) for s in found["cascade"]["steps"]] == [
            ("cheap", "kept"),
            ("second opinion", "agrees"),
        ]
        assert found["selected_model"] == "mini"
        assert int(answer.headers["content-length"]) == len(answer.body)
        costs = [value for name, value in answer.raw_headers if name == "x-muxproxy-cost-usd"]
        assert len(costs) == 1
        await balanced(proxy, 2)


async def test_a_stream_on_this_path(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, {"cascade_type": "balanced"}, stream=True)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert b"Strong." in answer.body and b"sorry" not in answer.body
        assert answer.headers["x-muxproxy-cascade"] == "one/mini: refusal, strong: asked"
        assert all(b"cascade_config" not in (seen.body or b"") for seen in proxy.sim.requests)
        await balanced(proxy, 2)


# -- cascade_type ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "text", "asked"),
    [
        ({"cascade_type": "cost_optimized"}, UNSURE, ["mini"]),
        ({"cascade_type": "cost_optimized"}, SORRY, ["mini", "large"]),
        ({"cascade_type": "balanced"}, UNSURE, ["mini", "large"]),
        ({}, UNSURE, ["mini", "large"]),
        ({"cascade_type": "cost_optimized", "quality_threshold": 0.9}, UNSURE, ["mini", "large"]),
        ({"cascade_type": "balanced", "quality_threshold": 0.2}, UNSURE, ["mini"]),
    ],
)
async def test_the_type_sets_the_bar(
    tmp_path: Path, config: dict[str, Any], text: str, asked: list[str]
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=text, model="mini")
        told(await ask(proxy, config))
        assert models(proxy) == asked


async def test_who_wants_quality_skips_the_cheap_step_where_the_prompt_is_hard(
    tmp_path: Path,
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        quality = {"cascade_type": "quality_focused"}
        found = told(await ask(proxy, quality, "always"))
        assert models(proxy) == ["large"]
        assert "strong at once by quality_focused, bar 0.8" in found["reason"]
        assert 0 <= found["score"] <= 1
        assert "cascade" not in found
        told(await ask(proxy, {"cascade_type": "cost_optimized"}, "always"))
        assert models(proxy) == ["large", "mini"]


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("cost_optimized", ["mini", "rater"]),
        ("balanced", ["mini", "rater", "large"]),
        ("quality_focused", ["mini", "rater", "large"]),
    ],
)
async def test_the_bar_is_the_judges(tmp_path: Path, kind: str, asked: list[str]) -> None:
    yaml = YAML.replace("judge: one/rater", "judge: one/rater, threshold: 1.0")
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(text="4", model="rater")
        told(await ask(proxy, {"cascade_type": kind}, "rated"))
        assert models(proxy) == asked


async def test_a_low_bar_asks_no_second_model(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="4", model="mini", times=None)
        told(await ask(proxy, {"cascade_type": "cost_optimized"}, "twice"))
        told(await ask(proxy, {"quality_threshold": 0}, "rated"))
        assert models(proxy) == ["mini", "mini"]


# -- max_budget ------------------------------------------------------------------------------


async def test_where_not_even_the_first_step_fits_there_is_a_402(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, {"max_budget": 0.00001})
        assert (answer.status, code_in(answer.json(), "openai")) == (402, "budget_exceeded")
        assert "max_budget" in answer.json()["error"]["message"]
        assert answer.json()["error"]["needed"] < 0.0001  # of the cheap step
        assert not proxy.sim.requests
        await balanced(proxy, 2)


async def test_a_judge_that_does_not_fit_is_not_asked(tmp_path: Path) -> None:
    yaml = YAML.replace("one/rater", "two/rater")
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        answer = await ask(proxy, {"max_budget": 0.001}, "rated")
        assert models(proxy) == ["mini"]
        (cheap, judge) = told(answer)["cascade"]["steps"]
        assert (cheap["verdict"], judge["verdict"]) == ("kept", "budget_exceeded")
        assert judge["cost"] == 0
        await balanced(proxy, 2)


async def test_the_least_of_several_limits_counts(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini", times=None)
        for more in ({"max_budget": 0.001}, {}):
            config = {"max_budget": 5 if more else 0.001}
            answer = await ask(proxy, config, **more)
            assert "strong: budget_exceeded" in answer.headers["x-muxproxy-cascade"]
        assert models(proxy) == ["mini", "mini"]


async def test_a_max_budget_that_was_heeded_does_not_go_on(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        body = {"model": "one/mini", "messages": [{"role": "user", "content": "hi"}]}
        answer = await proxy.post("/v1/chat/completions", {**body, "max_budget": 1})
        assert answer.status == 200
        assert b"max_budget" not in (proxy.sim.requests[0].body or b"")


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("fast", "cascade_config"),
        ([], "cascade_config"),
        ({"cascade_type": "magic"}, "cascade_config.cascade_type"),
        ({"cascade_type": ["balanced"]}, "cascade_config.cascade_type"),
        ({"max_budget": 0}, "cascade_config.max_budget"),
        ({"max_budget": -1}, "cascade_config.max_budget"),
        ({"max_budget": "a lot"}, "cascade_config.max_budget"),
        ({"max_budget": True}, "cascade_config.max_budget"),
        ({"max_budget": {}}, "cascade_config.max_budget"),
        ({"quality_threshold": 1.1}, "cascade_config.quality_threshold"),
        ({"quality_threshold": "high"}, "cascade_config.quality_threshold"),
        ({"quality_threshold": True}, "cascade_config.quality_threshold"),
        ({"confidence_threshold": -0.1}, "cascade_config.confidence_threshold"),
        ({"quality_treshold": 0.5}, "cascade_config.quality_treshold"),
    ],
)
async def test_a_bad_value_is_refused_by_name(tmp_path: Path, config: object, field: str) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, config)
        assert (answer.status, code_in(answer.json(), "openai")) == (400, "invalid_request")
        error = answer.json()["error"]
        assert error["message"].startswith(f"{field}: ")
        assert error["param"] == field
        assert not proxy.sim.requests


async def test_elsewhere_it_is_not_ours(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        body = {"model": "one/mini", "messages": [{"role": "user", "content": "hi"}]}
        await proxy.post("/v1/chat/completions", {**body, "cascade_config": "theirs"})
        (seen,) = proxy.sim.requests
        assert json.loads(seen.body or b"")["cascade_config"] == "theirs"


async def test_where_there_are_no_two_sides_it_says_so(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        found = told(await ask(proxy, {}, "price"))
        assert "no cheap and strong side" in found["reason"]
        found = told(await ask(proxy, {}, "one/mini"))
        assert "cascade_config: no alias with a cheap and a strong side" in found["reason"]


# -- X-Routing-Strategy ----------------------------------------------------------------------

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "responses": ("/v1/responses", {"input": "hi"}),
    "anthropic": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
    ),
    "gemini": ("/v1beta/models/auto:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
}


@pytest.mark.parametrize("model", ["auto", "one/mini"])
@pytest.mark.parametrize("dialect", CALLS)
async def test_an_unknown_strategy_is_a_400_in_the_callers_dialect(
    tmp_path: Path, dialect: str, model: str
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        path, body = CALLS[dialect]
        if dialect != "gemini":
            body = {**body, "model": model}
        answer = await proxy.post(path, body, {"x-routing-strategy": "magic"})
        assert (answer.status, code_in(answer.json(), dialect)) == (400, "invalid_request")
        for name in ("X-Routing-Strategy", "weighted", "peak_ewma", "cost_optimized", "hybrid"):
            assert name in answer.json()["error"]["message"]
        assert not proxy.sim.requests


@pytest.mark.parametrize("wish", ["weighted", "least_in_flight", "peak_ewma"])
async def test_both_sides_may_be_balanced_by_wish(tmp_path: Path, wish: str) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        chosen: Counter[str] = Counter()
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        for _ in range(40):
            answer = await proxy.post(
                "/v1/chat/completions", body, {"x-routing-strategy": wish.upper()}
            )
            found = told(answer)
            assert found["strategy"] == wish
            assert f"({wish} was asked for); auto: {wish}" in found["reason"]
            chosen[found["selected_model"]] += 1
        assert wish == "peak_ewma" or (chosen["mini"] and chosen["large"])


async def test_a_balanced_alias_does_as_the_caller_wishes(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        body = {"model": "pool", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}

        async def goes(wish: str) -> tuple[str, str]:
            headers = {"x-routing-strategy": wish} if wish else {}
            found = told(await proxy.post("/v1/chat/completions", body, headers))
            return found["selected_model"], found["strategy"]

        # Its weights are 0 and 1; `a` is the cheaper one.
        assert await goes("") == ("b", "weighted")
        assert await goes("weighted") == ("b", "weighted")
        assert await goes("cheapest") == ("a", "cheapest")
        assert await goes("cost_optimized") == ("a", "cheapest")
        assert await goes("quality_focused") == ("b", "weighted")  # it has no sides
        assert (await goes("fastest"))[1] == "fastest"
