"""Equals share the load; sessions and keys stay together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from muxproxy.config.dump import dump
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, nothing_left

PROVIDERS = """
  one:   {dialect: openai, base_url: "SIM/v1", api_key: k1, price: free}
  two:   {dialect: openai, base_url: "SIM/v1", api_key: k2, price: free}
  three: {dialect: openai, base_url: "SIM/v1", api_key: k3, price: free}
  many:  {dialect: openai, base_url: "SIM/v1", api_keys: [ka, kb, kc], price: free}
"""
GROUP = "models:\n  pool: {strategy: KIND, models: [one/m, two/m]}\n  large: [pool, three/m]\n"


def group(kind: str, more: str = "") -> str:
    return GROUP.replace("KIND", kind).replace("two/m]}", f"two/m]{more}}}")


async def ask(proxy: Stack, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    body = {"model": "large", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    return await fetch(proxy.port, "/v1/chat/completions", {**body, **more}, headers)


def provider(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-muxproxy-provider"]


async def test_weights_share_the_load_and_the_rest_is_the_fall_back(tmp_path: Path) -> None:
    yaml = group("weighted", ", weights: [3, 1]")
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        seen = Counter([provider(await ask(proxy)) for _ in range(100)])
        assert set(seen) == {"one", "two"}
        assert 55 <= seen["one"] <= 92  # 75, five standard deviations
        proxy.sim.script(status=503, times=2)
        answer = await ask(proxy)
        assert provider(answer) == "three"
        assert answer.json()["router_metadata"]["strategy"] == "weighted"
        await balanced(proxy, 101)


async def test_a_weight_of_nothing_is_a_reserve(tmp_path: Path) -> None:
    yaml = group("weighted", ", weights: [1, 0]")
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        assert {provider(await ask(proxy)) for _ in range(20)} == {"one"}


async def test_the_least_busy_goes_first(tmp_path: Path) -> None:
    async with stack(tmp_path, group("least_in_flight"), providers=PROVIDERS) as proxy:
        proxy.sim.script(lockstep="go")
        busy = asyncio.create_task(ask(proxy, stream=True))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        first = "one" if proxy.runtime.health.in_flight("one", "m") else "two"
        other = {"one": "two", "two": "one"}[first]
        assert {provider(await ask(proxy)) for _ in range(8)} == {other}
        proxy.sim.ack("go", 999)
        assert provider(await busy) == first
        assert proxy.runtime.health.in_flight(first, "m") == 0


async def test_the_one_that_became_slow_is_asked_less(tmp_path: Path) -> None:
    async with stack(tmp_path, group("peak_ewma"), providers=PROVIDERS) as proxy:
        proxy.runtime.health.of("one", "m").observe(5_000_000)
        proxy.runtime.health.of("two", "m").observe(1_000)
        assert {provider(await ask(proxy)) for _ in range(10)} == {"two"}


async def test_an_open_circuit_leaves_the_group(tmp_path: Path) -> None:
    async with stack(tmp_path, group("weighted"), providers=PROVIDERS) as proxy:
        health = proxy.runtime.health
        for _ in range(5):
            health.failed("one", health.of("one", "m"))
        assert {provider(await ask(proxy)) for _ in range(10)} == {"two"}


async def test_a_session_stays_where_it_is(tmp_path: Path) -> None:
    yaml = group("weighted", ", affinity: true")
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        homes = {}
        for name in "abcdefgh":
            seen = {provider(await ask(proxy, {"x-session-id": name})) for _ in range(3)}
            assert len(seen) == 1
            homes[name] = seen
        assert len({str(home) for home in homes.values()}) == 2
        turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "q 1"}]
        seen = set()
        for turn in range(4):
            seen.add(provider(await ask(proxy, messages=turns)))
            turns += [{"role": "assistant", "content": "a"}, {"role": "user", "content": f"{turn}"}]
        assert len(seen) == 1


def keys(proxy: Stack) -> list[str]:
    """The keys that the provider saw, in order."""
    return [str(seen.get("authorization")).removeprefix("Bearer ") for seen in proxy.sim.requests]


async def chat(proxy: Stack, text: str) -> Answer:
    return await ask(proxy, model="many/m", messages=[{"role": "user", "content": text}])


async def test_keys_share_conversations_and_each_keeps_its_own(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, providers=PROVIDERS) as proxy:
        for number in range(24):
            for _ in range(2):
                assert provider(await chat(proxy, f"conversation {number}")) == "many"
        seen = keys(proxy)
        assert seen[::2] == seen[1::2]
        assert set(seen) == {"ka", "kb", "kc"}
        assert "ka" not in str(dump(proxy.runtime.config))
        await balanced(proxy, 48)


async def test_a_key_at_its_limit_gives_way_to_another(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, providers=PROVIDERS) as proxy:
        proxy.sim.script(status=429, retry_after=60)
        answer = await chat(proxy, "hi")
        assert provider(answer) == "many"
        assert answer.headers["x-muxproxy-attempts"] == "2 (many/m: 429)"
        spent, good = keys(proxy)
        assert spent != good
        for number in range(12):
            await chat(proxy, f"{number}")
        assert spent not in keys(proxy)[2:]
        await balanced(proxy, 13)


async def test_when_all_keys_are_at_their_limit_the_caller_is_told(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=PROVIDERS) as proxy:
        proxy.sim.script(status=429, retry_after=60, times=3)
        answer = await chat(proxy, "hi")
        assert (answer.status, sorted(keys(proxy))) == (429, ["ka", "kb", "kc"])


async def test_keys_are_drawn_by_what_they_have_left(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=PROVIDERS) as proxy:
        headroom = proxy.runtime.headroom
        for slot, left in (("", "1"), ("#2", "1"), ("#3", "1000")):
            fields = [
                (b"x-ratelimit-limit-requests", b"1000"),
                (b"x-ratelimit-remaining-requests", left.encode()),
                (b"x-ratelimit-reset-requests", b"60s"),
            ]
            headroom.observe("many", "m", fields, 200, time.time(), slot)
        for number in range(30):
            await chat(proxy, f"{number}")
        assert Counter(keys(proxy))["kc"] >= 24


async def test_keys_that_are_not_set_are_left_out(tmp_path: Path) -> None:
    providers = '\n  some: {dialect: openai, base_url: "SIM/v1", api_keys: ["${A}", "${B}"]}\n'
    async with stack(tmp_path, providers=providers, env={"B": "kb"}) as proxy:
        await ask(proxy, model="m")
        assert keys(proxy) == ["kb"]
    async with stack(tmp_path, providers=providers) as proxy:
        answer = await ask(proxy, model="m")
        assert keys(proxy) == ["None"] and answer.status == 200  # the caller's own, had it one
        assert any("A is not set" in warning for warning in proxy.runtime.warnings)
