"""When no second attempt is made, and what is left of one that got nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from muxproxy.errors import MuxError
from muxproxy.exchange import Hold
from tests.stack import stack
from tests.wire.balance import balanced, fetch, flying, nothing_left, without_vocabularies
from tests.wire.hedged import (
    CHAT,
    SLOW,
    TOKENS,
    ask,
    booked,
    counted,
    models,
    own_cost,
    providers,
    yaml,
)


async def test_hedges_stay_within_the_retry_budget(tmp_path: Path) -> None:
    """A fifth of the requests, and ten in reserve."""
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="300ms", times=None)
        answers = await asyncio.gather(*(ask(proxy) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        won, withheld = counted(proxy)
        hedges = sum(won.values())
        assert 10 <= hedges <= 10 + 10
        assert withheld == {"retry_budget": 50 - hedges}
        assert len(proxy.sim.requests) == 50 + hedges
        await booked(proxy, 50)


async def test_streams_have_no_second_attempt(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="200ms")
        answer = await ask(proxy, stream=True)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert models(proxy) == ["a"]
        assert counted(proxy) == ({}, {})
        await booked(proxy, 1)


async def test_a_percentile_needs_times_to_be_known(tmp_path: Path) -> None:
    async with (
        nothing_left(),
        stack(tmp_path, yaml("{after: p95}"), providers=providers()) as proxy,
    ):
        proxy.sim.script(model="a", ttft="300ms")
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        assert models(proxy) == ["a"]  # one is slow, and nobody knows
        for _ in range(19):
            assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        live = proxy.runtime.health.of("first", "a")
        assert live.whole is not None and len(live.whole) == 20
        live.whole.extend([20_000] * 128)
        proxy.sim.script(model="a", ttft=SLOW)
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        assert live.whole[-1] > 20_000  # what it took at least is known now
        await booked(proxy, 21)
        assert counted(proxy) == ({"won": 1}, {})


async def test_streams_do_not_tell_how_long_json_takes(tmp_path: Path) -> None:
    async with (
        nothing_left(),
        stack(tmp_path, yaml("{after: p95}"), providers=providers()) as proxy,
    ):
        for _ in range(20):
            await ask(proxy, stream=True)
        proxy.sim.script(model="a", ttft="200ms")
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        assert "b" not in models(proxy)
        assert proxy.runtime.health.p95("first", "a") is not None


async def test_the_floor_holds_while_nothing_is_known_and_below_what_is(tmp_path: Path) -> None:
    hedge = "{after: p95, floor: 50ms}"
    async with nothing_left(), stack(tmp_path, yaml(hedge), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        answer = await ask(proxy)
        assert answer.headers["x-muxproxy-provider"] == "second"
        live = proxy.runtime.health.of("first", "a")
        for _ in range(30):
            live.observe_whole(1)
        proxy.sim.script(model="a", ttft=SLOW)
        answer = await ask(proxy)
        for receipt in await booked(proxy, 2):
            assert "hedged after 50 ms at second/b: won" in receipt.reason


STORED = {"model": "first/a", "input": "hi", "max_output_tokens": TOKENS}


@pytest.mark.parametrize(
    ("path", "body", "due"),
    [
        ("/v1/responses", STORED, False),
        ("/v1/responses", {**STORED, "store": True}, False),
        ("/v1/responses", {**STORED, "store": False}, True),
        ("/v1/responses", {**STORED, "store": False, "conversation": "conv_1"}, False),
        ("/v1/responses", {**STORED, "store": False, "tools": [{"type": "mcp"}]}, False),
        ("/v1/chat/completions", {**CHAT, "store": True}, False),
        ("/v1/chat/completions", {**CHAT, "store": False}, True),
        ("/v1/embeddings", {"model": "first/a", "input": "hi"}, True),
        ("/v1/completions", {"model": "first/a", "prompt": "hi", "max_tokens": 3}, True),
        ("/v1/messages", {**CHAT, "model": "other/a"}, True),
        ("/v1/messages", {**CHAT, "model": "other/a", "mcp_servers": [{"url": "u"}]}, False),
        ("/v1/messages/count_tokens", {**CHAT, "model": "other/a"}, None),
        ("/v1beta/models/a:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}, True),
        ("/v1/images/generations", {"model": "a", "prompt": "hi"}, None),
        ("/v1/batches", {"input_file_id": "a"}, None),
    ],
    ids=range(15),
)
async def test_only_what_may_be_asked_twice_is(
    tmp_path: Path, path: str, body: dict[str, Any], due: bool | None
) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(ttft="300ms")
        answer = await fetch(proxy.port, path, body)
        assert answer.status == 200, answer.body
        made, withheld = counted(proxy)
        assert (sum(made.values()), withheld) == (
            1 if due else 0,
            {"unsafe": 1} if due is False else {},
        )
        await balanced(proxy, 1)


async def test_a_candidate_whose_circuit_is_open_is_not_the_second(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        health = proxy.runtime.health
        for _ in range(5):
            health.failed("second", health.of("second", "b"))
        proxy.sim.script(model="a", ttft="200ms")
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        assert counted(proxy) == ({}, {"no_candidate": 1})
        assert models(proxy) == ["a"]


async def test_a_budget_that_has_no_room_for_both(tmp_path: Path) -> None:
    """The first call's hold fits; a second beside it would not. Nobody is told of that."""
    tight = yaml().replace(
        "limit: $1000, window: month, hold", "limit: $0.00005, window: month, hold"
    )
    async with nothing_left(), stack(tmp_path, tight, providers=providers()) as proxy:
        without_vocabularies(proxy)
        proxy.sim.script(model="a", ttft="200ms")
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert counted(proxy) == ({}, {"budget": 1})
        assert not [kind for _, kind in proxy.runtime.metrics.budget_events if kind == "exceeded"]
        assert proxy.runtime.proxy.retries._left >= 10  # given back
        await booked(proxy, 1)


async def test_the_callers_own_ceiling_is_for_both(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="200ms")
        answer = await ask(proxy, {"x-max-budget": "0.00005"})
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert counted(proxy) == ({}, {"budget": 1})
        await booked(proxy, 1)


@pytest.mark.parametrize("slow", ["first", "second"])
async def test_limits_of_both_candidates_are_taken_and_given_back(
    tmp_path: Path, slow: str
) -> None:
    limits = "limits:\n  - {name: one, per: provider, concurrent: 1, tokens: 100k/min}\n"
    async with nothing_left(), stack(tmp_path, yaml() + limits, providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW if slow == "first" else "400ms")
        proxy.sim.script(model="b", ttft=SLOW if slow == "second" else "400ms")
        asking = asyncio.create_task(ask(proxy))
        await proxy.sim.until(lambda sim: len(sim.requests) == 2)
        refused = await ask(proxy, model="alone")
        assert refused.status == 429
        refused = await ask(proxy, model="second/b")
        assert refused.status == 429
        assert (await asking).status == 200
        (rule,) = proxy.runtime.proxy.limits._rules.values()
        await balanced(proxy, 3)
        for name in ("first", "second"):
            meter = rule.meters[name]
            assert meter.flying == 0 and meter.tokens is not None
            assert meter.tokens.reserved == 0 and meter.tokens.total > 0
        assert (await ask(proxy, model="alone")).status == 200


async def test_a_candidate_at_its_limit_is_not_the_second(tmp_path: Path) -> None:
    limits = "limits:\n  - {name: one, per: provider, concurrent: 1}\n"
    async with nothing_left(), stack(tmp_path, yaml() + limits, providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="300ms")
        assert (await ask(proxy, model="alone")).status == 200
        assert counted(proxy) == ({}, {"limit": 1})
        await booked(proxy, 1)


async def test_nothing_is_added_while_draining(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="300ms")
        asking = asyncio.create_task(ask(proxy))
        await flying(proxy, 1)
        proxy.runtime.in_flight.draining = True
        assert (await asking).headers["x-muxproxy-provider"] == "first"
        assert counted(proxy) == ({}, {"draining": 1})
        await booked(proxy, 1)


async def test_one_that_would_wait_for_a_connection_is_not_made(tmp_path: Path) -> None:
    """It would set out when the first one's becomes free: when its answer is there."""
    full = "pool: {max_connections: 1}"
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers(full)) as proxy:
        proxy.sim.script(model="a", ttft="300ms")
        answer = await ask(proxy, model="alone")
        assert "x-muxproxy-attempts" not in answer.headers
        assert models(proxy) == ["a"]
        (receipt,) = await booked(proxy, 1)
        assert receipt.cost == own_cost(receipt)
        assert counted(proxy) == ({}, {"no_candidate": 1})


@asynccontextmanager
async def deaf() -> AsyncIterator[int]:
    """The port of a server that takes connections and says nothing, so that TLS waits."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(4096):
                continue
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_one_that_is_still_connecting_owes_nothing(tmp_path: Path) -> None:
    """The second had not been sent when the first answered."""
    here = 'second: {dialect: openai, base_url: "SIM/v1"'
    async with nothing_left(), deaf() as port:
        given = providers().replace(here, here.replace("SIM", f"https://127.0.0.1:{port}"))
        async with stack(tmp_path, yaml(), providers=given) as proxy:
            proxy.sim.script(model="a", ttft="300ms")
            answer = await ask(proxy)
            assert answer.headers["x-muxproxy-attempts"] == "2 (second/b: outrun)"
            (receipt,) = await booked(proxy, 1)
            assert receipt.cost == own_cost(receipt)
            assert counted(proxy) == ({"lost": 1}, {})


@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
async def test_books_that_fail_stop_the_second_and_not_the_first(
    tmp_path: Path, later: bool
) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        ledger = proxy.runtime.ledger
        real = ledger.hold

        def failing(hold: Hold) -> asyncio.Future[None] | None:
            if hold.provider == "first":
                return real(hold)
            if not later:
                raise MuxError("ledger_unavailable", "no")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiter.set_exception(MuxError("ledger_unavailable", "no"))
            return waiter

        ledger.hold = failing  # type: ignore[method-assign]
        proxy.sim.script(model="a", ttft="300ms")
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert models(proxy) == ["a"]
        made, withheld = counted(proxy)
        assert made == ({"failed": 1} if later else {})
        assert withheld == ({} if later else {"ledger_unavailable": 1})
        (receipt,) = await booked(proxy, 1)
        assert receipt.cost == own_cost(receipt)
