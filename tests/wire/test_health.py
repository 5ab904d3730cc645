"""Candidates that keep failing are passed over, probed, and taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.stack import Stack, stack
from tests.wire.balance import balanced, nothing_left
from tests.wire.test_attempts import PAIR, ask, models, providers

BREAKER = "breaker: {failures: 3, open_for: 10s}"


async def shown(proxy: Stack, provider: str = "first") -> dict[str, Any]:
    """What /v1/providers says of the provider's one model."""
    found = (await proxy.get("/v1/providers")).json()["providers"]
    (one,) = next(p for p in found if p["name"] == provider)["models"]
    return one


def at(proxy: Stack, now: float) -> None:
    """Set the clock of the breakers."""
    proxy.runtime.health.clock = lambda: now


async def test_a_candidate_that_keeps_failing_is_passed_over_probed_and_taken_back(
    tmp_path: Path,
) -> None:
    async with nothing_left(), stack(tmp_path, PAIR, providers=providers(BREAKER)) as proxy:
        at(proxy, 1000.0)
        proxy.sim.script(model="a", status=500, times=3)
        for _ in range(3):
            assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        found = await shown(proxy)
        assert (found["state"], found["opens_again_in_s"], found["opened_total"]) == ("open", 10, 1)
        before = len(models(proxy))
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        assert models(proxy)[before:] == ["b"]
        at(proxy, 1010.0)
        assert (await shown(proxy))["state"] == "half_open"
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        assert (await shown(proxy))["state"] == "closed"
        await balanced(proxy, 5)


async def test_half_open_lets_one_probe_through_and_a_failed_one_doubles_the_wait(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path, PAIR, providers=providers(BREAKER)) as proxy:
        at(proxy, 1000.0)
        proxy.sim.script(model="a", status=503, times=3)
        for _ in range(3):
            await ask(proxy)
        at(proxy, 1010.0)
        live = proxy.runtime.health.of("first", "a")
        assert live.circuit is not None
        live.circuit.begin(1010.0)  # another request's probe is under way
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        at(proxy, 1020.0)  # never heard of again
        proxy.sim.script(model="a", status=502)
        assert (await ask(proxy)).headers["x-muxproxy-attempts"] == "2 (first/a: 502)"
        found = await shown(proxy)
        assert (found["state"], found["opens_again_in_s"]) == ("open", 20)


async def test_a_lone_candidate_is_asked_though_it_is_open(tmp_path: Path) -> None:
    alone = "models: {pair: [first/a]}\n"
    async with stack(tmp_path, alone, providers=providers(BREAKER)) as proxy:
        proxy.sim.script(model="a", status=500, times=4)
        assert [(await ask(proxy)).status for _ in range(5)] == [500, 500, 500, 500, 200]


async def test_streams_that_die_amid_count_and_rate_limits_do_not(tmp_path: Path) -> None:
    async with stack(tmp_path, PAIR, providers=providers(BREAKER)) as proxy:
        proxy.sim.script(model="a", status=429, times=4)
        for _ in range(4):
            await ask(proxy)
        assert (await shown(proxy))["state"] == "closed"
        proxy.sim.script(model="a", drop_after=2, times=3)
        for _ in range(3):
            assert (await ask(proxy, stream=True)).broken
        assert (await shown(proxy))["state"] == "open"


async def test_a_candidate_without_headroom_is_passed_over(tmp_path: Path) -> None:
    async with stack(tmp_path, PAIR, providers=providers()) as proxy:
        proxy.sim.script(model="a", status=429, retry_after=60)
        await ask(proxy)
        await ask(proxy)
        assert models(proxy) == ["a", "b", "b"]


async def test_circuits_survive_a_reload_and_stand_in_the_metrics(tmp_path: Path) -> None:
    async with stack(tmp_path, PAIR, providers=providers(BREAKER)) as proxy:
        proxy.sim.script(model="a", status=500, times=3)
        for _ in range(3):
            await ask(proxy)
        await proxy.runtime.reload()
        assert (await shown(proxy))["state"] == "open"
        page = (await proxy.get("/metrics")).body.decode()
        assert 'muxproxy_circuit_state{model="a",provider="first"} 2.0' in page
        assert 'muxproxy_circuit_opened_total{model="a",provider="first"} 1.0' in page
        health = proxy.runtime.health
        assert (health.state("first", "a"), health.state("second", "b")) == ("open", "closed")
        assert health.in_flight("second", "b") == 0 and (health.latency("second", "b") or 0) > 0


async def test_a_provider_that_does_not_answer_its_probes_is_passed_over(tmp_path: Path) -> None:
    probed = "probe: {every: 5ms, failures: 2, timeout: 1s}, headers: {x-sim-status: '500'}"
    async with nothing_left(), stack(tmp_path, PAIR, providers=providers(probed)) as proxy:
        health = proxy.runtime.health
        async with asyncio.timeout(10):
            while health.state("first", "a") != "open":
                await asyncio.sleep(0.005)
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        probes = [seen for seen in proxy.sim.requests if seen.path == "/v1/models"]
        assert probes and probes[0].get("authorization") == "Bearer k1"
        config = tmp_path / "muxproxy.yaml"
        config.write_text(config.read_text().replace("x-sim-status: '500'", "x-nothing: '1'"))
        await proxy.runtime.reload()
        async with asyncio.timeout(10):
            while health.state("first", "a") != "closed":
                await asyncio.sleep(0.005)
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        await proxy.settled(2)
