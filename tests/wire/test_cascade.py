"""Cascades over sockets: what goes out, what is asked, what is booked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer, call
from tests.stack import Stack, stack
from tests.wire.balance import balanced, nothing_left

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2}
  ant: {dialect: anthropic, base_url: "SIM", api_key: k3}
"""
YAML = """
models:
  auto: {strategy: cascade, cheap: one/mini, strong: two/large}
  twice: {strategy: cascade, cheap: one/mini, strong: two/large, agree: one/second}
  rated: {strategy: cascade, cheap: one/mini, strong: two/large, judge: ant/rater}
  early: {strategy: cascade, cheap: one/mini, strong: two/large, hold: 20}
  across: {strategy: cascade, cheap: ant/mini, strong: two/large}
prices:
  one/*: {input: 1, output: 1}
  ant/*: {input: 1, output: 1}
  two/*: {input: 100, output: 100}
budgets: [{name: all, limit: $100}]
"""
SORRY = "I'm sorry, but I cannot help with that."


async def ask(proxy: Stack, model: str = "auto", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    return await proxy.post("/v1/chat/completions", {**body, **more})


def models(proxy: Stack) -> list[str]:
    return [json.loads(seen.body or b"{}").get("model") for seen in proxy.sim.requests]


def text(answer: Answer) -> str:
    found: str = answer.json()["choices"][0]["message"]["content"]
    return found


async def test_a_good_cheap_answer_goes_out_alone(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        answer = await ask(proxy)
        assert (answer.status, text(answer)) == (200, "Paris.")
        assert answer.headers["x-muxproxy-cascade"] == "one/mini: kept"
        assert models(proxy) == ["mini"]
        (receipt,) = await balanced(proxy, 1)
        assert receipt.model == "mini" and "cascade: one/mini: kept" in receipt.reason


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"text": SORRY}, {}, "refusal"),
    ({"text": "I am not sure, it may be 4."}, {}, "hedging"),
    ({"status": 503}, {}, "status 503"),
    ({"text": "not json"}, {"response_format": {"type": "json_object"}}, "invalid JSON"),
    ({"text": " "}, {}, "empty"),
    ({"text": "the same long line again and again\n" * 12}, {}, "repetitive"),
]


@pytest.mark.parametrize(("script", "more", "why"), FAULTS, ids=[why for _, _, why in FAULTS])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_bad_one_stays_here_and_is_booked(
    tmp_path: Path, script: dict[str, Any], more: dict[str, Any], why: str, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(script, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, stream=stream, **more)
        assert answer.status == 200
        assert b"Strong." in answer.body and b"sorry" not in answer.body
        assert models(proxy) == ["mini", "large"]
        told = answer.headers["x-muxproxy-cascade"]
        assert told == f"one/mini: {why}, strong: asked"
        cheap, strong = await balanced(proxy, 2)
        assert (cheap.model, strong.model) == ("mini", "large")
        assert format(strong.id, "016x") == answer.headers["x-muxproxy-id"]
        assert f"cascade: {why}" in cheap.reason
        if cheap.status == 200:
            assert cheap.cost and strong.cost and cheap.cost < strong.cost


@pytest.mark.parametrize(("other", "asked"), [("It is 42", 2), ("41", 3)])
async def test_a_second_opinion(tmp_path: Path, other: str, asked: int) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="The answer is 42.", model="mini")
        proxy.sim.script(text=other, model="second")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, "twice")
        assert models(proxy) == ["mini", "second", "large"][:asked]
        assert text(answer) == ("The answer is 42." if asked == 2 else "Strong.")
        told = answer.headers["x-muxproxy-cascade"]
        assert (": agrees" in told) == (asked == 2) and (": disagrees" in told) == (asked == 3)
        receipts = await balanced(proxy, asked)
        assert all(receipt.cost for receipt in receipts)


async def test_a_stream_flows_once_its_beginning_shows_no_fault(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="word " * 40, model="mini")
        answer = await ask(proxy, "early", stream=True)
        assert answer.headers["x-muxproxy-cascade"] == "kept by its beginning"
        assert answer.body.rstrip().endswith(b"data: [DONE]")
        proxy.sim.script(text=SORRY * 3, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, "early", stream=True, user="another")
        assert b"Strong" in answer.body and b"sorry" not in answer.body


@pytest.mark.parametrize("failing", [{"status": 500}, {"status": 400}, {"drop_after": 0}])
async def test_the_cheap_answer_goes_out_when_the_strong_ones_fail(
    tmp_path: Path, failing: dict[str, Any]
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini")
        proxy.sim.script(failing, model="large", times=None)
        answer = await ask(proxy)
        assert (answer.status, text(answer)) == (200, SORRY)
        assert "strong: " in answer.headers["x-muxproxy-cascade"]
        assert [r.model for r in await balanced(proxy, 2)] == ["mini", "large"]


async def test_the_money_of_all_steps_stays_within_the_callers_ceiling(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini")
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 50,
            "cascade_config": {"cascade_type": "balanced", "max_budget": 0.001},
        }
        answer = await proxy.post("/v1/chat/completions/enhanced", body)
        assert (answer.status, text(answer)) == (200, SORRY)
        assert models(proxy) == ["mini"]
        assert "strong: budget_exceeded" in answer.headers["x-muxproxy-cascade"]
        assert b"cascade_config" not in (proxy.sim.requests[0].body or b"")


async def test_between_dialects(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        assert text(await ask(proxy, "across")) == "Paris."
        proxy.sim.script(text=SORRY, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        assert text(await ask(proxy, "across", user="x")) == "Strong."


async def test_a_tool_call_that_does_not_fit_its_schema_goes_on(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        parameters = {"type": "object", "required": ["never_there"], "properties": {}}
        tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
        proxy.sim.script(tools=1, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, tools=[tool])
        assert text(answer) == "Strong."
        assert "does not fit its schema" in answer.headers["x-muxproxy-cascade"]


async def test_a_caller_that_leaves_stops_everything(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(lockstep="go", model="mini")
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        task = asyncio.create_task(call(proxy.port, "POST", "/v1/chat/completions", body))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        task.cancel()
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.model) == ("client_left", "mini")
        assert models(proxy) == ["mini"]


@pytest.mark.parametrize(
    ("rating", "asked"),
    [({"text": "9"}, 2), ({"text": "Score: 2"}, 3), ({"text": "no idea"}, 2), ({"status": 500}, 2)],
)
async def test_a_model_judges(tmp_path: Path, rating: dict[str, Any], asked: int) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(rating, model="rater")
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, "rated")
        assert text(answer) == ("Paris." if asked == 2 else "Strong.")
        assert models(proxy) == ["mini", "rater", "large"][:asked]
        if asked == 3:
            assert "judged 0.2" in answer.headers["x-muxproxy-cascade"]
        receipts = {receipt.model: receipt for receipt in await balanced(proxy, asked)}
        assert set(receipts) == {"mini", "rater", "large"} - ({"large"} if asked == 2 else set())
        if "status" not in rating:
            assert receipts["rater"].cost
        assert "judges a step of" in receipts["rater"].reason


async def test_a_caller_that_leaves_stops_the_judge_too(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(ttft="60s", model="rater")
        body = {"model": "rated", "messages": [{"role": "user", "content": "hi"}]}
        task = asyncio.create_task(call(proxy.port, "POST", "/v1/chat/completions", body))
        await proxy.sim.until(lambda sim: len(sim.requests) == 2)
        task.cancel()
        await balanced(proxy, 2)
        assert models(proxy) == ["mini", "rater"]


@pytest.mark.parametrize(
    ("models", "called"),
    [("mini, large", ["mini", "large"]), ("large", ["large"]), ("mini", ["mini"])],
)
async def test_a_key_that_may_use_one_side_only(
    tmp_path: Path, models: str, called: list[str]
) -> None:
    """What is judged are the cheap ones that are left, not whoever stands first."""
    keys = f"""
auth: {{mode: keys}}
keys: [{{name: k, value: mux-key-1234567890, models: [{models}]}}]
defaults: {{model: auto}}
"""
    async with nothing_left(), stack(tmp_path, YAML + keys, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini")
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
        answer = await proxy.post(
            "/v1/chat/completions", body, {"authorization": "Bearer mux-key-1234567890"}
        )
        assert answer.status == 200
        assert [
            json.loads(seen.body or b"{}").get("model") for seen in proxy.sim.requests
        ] == called
        await balanced(proxy, len(called))
