"""A second attempt beside a slow first one: who is asked, who wins, and what it costs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Target
from tests.stack import stack
from tests.wire.balance import fetch, nothing_left, sums, without_vocabularies
from tests.wire.hedged import (
    CHAT,
    OUTPUT,
    SLOW,
    SOON,
    TOKENS,
    ask,
    booked,
    counted,
    cut,
    models,
    own_cost,
    providers,
    yaml,
)


@pytest.mark.parametrize("hold", ["expected", "worst"])
async def test_the_second_answers_first_and_the_slow_one_is_cancelled_and_booked(
    tmp_path: Path, hold: str
) -> None:
    async with nothing_left(), stack(tmp_path, yaml(hold=hold), providers=providers()) as proxy:
        without_vocabularies(proxy)
        proxy.sim.script(model="a", ttft=SLOW)
        answer = await ask(proxy)
        assert (answer.status, answer.broken) == (200, False)
        assert answer.headers["x-muxproxy-provider"] == "second"
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: outrun)"
        assert answer.json()["model"] == "b"
        await cut(proxy, '"a"')
        (receipt,) = await booked(proxy, 1)
        assert (receipt.attempts, receipt.provider, receipt.model) == (2, "second", "b")
        assert (receipt.end, receipt.usage_source) == ("finished", "provider")
        assert "hedged after 30 ms at second/b: won" in receipt.reason
        assert "first/a: outrun" in receipt.reason
        # As a call whose caller left: the input's estimate, and the output that was expected.
        with_first = sums(proxy, "each")
        assert with_first["second"][0] == own_cost(receipt)
        assert with_first["first"][0] == receipt.cost - own_cost(receipt) > TOKENS * OUTPUT
        assert counted(proxy) == ({"won": 1}, {})
        page = (await proxy.get("/metrics")).body
        assert b'muxproxy_hedges_total{outcome="won"} 1.0' in page


async def test_the_first_answers_first_and_the_second_is_cancelled(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft="300ms")
        proxy.sim.script(model="b", ttft=SLOW)
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert answer.headers["x-muxproxy-attempts"] == "2 (second/b: outrun)"
        await cut(proxy, '"b"')
        (receipt,) = await booked(proxy, 1)
        assert (receipt.attempts, receipt.provider, receipt.cost is not None) == (2, "first", True)
        assert receipt.cost is not None and receipt.cost > own_cost(receipt)
        assert "hedged after 30 ms at second/b: lost" in receipt.reason
        assert counted(proxy) == ({"lost": 1}, {})


async def test_a_first_that_answers_in_time_is_alone(tmp_path: Path) -> None:
    async with (
        nothing_left(),
        stack(tmp_path, yaml("{after: 10s}"), providers=providers()) as proxy,
    ):
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert "x-muxproxy-attempts" not in answer.headers
        proxy.sim.script(model="a", status=503)
        answer = await ask(proxy)
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: 503)"
        assert models(proxy) == ["a", "a", "b"]
        for receipt in await booked(proxy, 2):
            assert receipt.cost == own_cost(receipt)
        assert counted(proxy) == ({}, {})


LATE = {"ttft": "200ms"}


@pytest.mark.parametrize(
    ("first", "second", "status", "provider", "told", "outcome"),
    [
        ({"status": 503, **LATE}, {"ttft": "600ms"}, 200, "second", "first/a: 503", "won"),
        ({"drop_after": 0, **LATE}, {"ttft": "600ms"}, 200, "second", "first/a: reset", "won"),
        ({"ttft": "400ms"}, {"status": 503}, 200, "first", "second/b: 503", "failed"),
        ({"ttft": "400ms"}, {"status": 401}, 200, "first", "second/b: 401", "failed"),
        ({"ttft": "400ms"}, {"drop_after": 0}, 200, "first", "second/b: reset", "failed"),
        ({"status": 400, **LATE}, {"ttft": SLOW}, 400, "first", "second/b: outrun", "lost"),
        ({"status": 429, "retry_after": 3, **LATE}, {"status": 503, "ttft": "600ms"}, 429, "first",
         "first/a: 429, second/b: 503", "failed"),
        ({"status": 503, **LATE}, {"status": 429, "retry_after": 3}, 429, "second",
         "second/b: 429, first/a: 503", "failed"),
        ({"status": 503, **LATE}, {"drop_after": 0, "ttft": "600ms"}, 503, "first",
         "first/a: 503, second/b: reset", "failed"),
    ],
)  # fmt: skip
async def test_one_that_fails_leaves_it_to_the_other(
    tmp_path: Path,
    first: dict[str, Any],
    second: dict[str, Any],
    status: int,
    provider: str,
    told: str,
    outcome: str,
) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(first, model="a")
        proxy.sim.script(second, model="b")
        answer = await ask(proxy)
        assert (answer.status, answer.broken) == (status, False)
        assert answer.headers["x-muxproxy-provider"] == provider
        assert answer.headers["x-muxproxy-attempts"] == f"2 ({told})"
        assert models(proxy) == ["a", "b"]
        (receipt,) = await booked(proxy, 1)
        assert (receipt.status, receipt.provider, receipt.attempts) == (status, provider, 2)
        broke = "reset" in told or "outrun" in told  # these may have cost something
        assert receipt.cost is not None
        if status == 200:
            assert (receipt.cost > own_cost(receipt)) is broke
        else:
            assert (receipt.cost > 0) is broke
        assert counted(proxy) == ({outcome: 1}, {})


async def test_both_break_and_the_caller_gets_our_error(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", drop_after=0, ttft="200ms")
        proxy.sim.script(model="b", drop_after=0, ttft="400ms")
        answer = await ask(proxy)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_died")
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: reset, second/b: reset)"
        (receipt,) = await booked(proxy, 1)
        assert (receipt.attempts, receipt.end, receipt.usage_source) == (2, "error", "estimated")
        assert receipt.cost is not None and receipt.cost > 0


@pytest.mark.parametrize("body", [b'{"error":{"type":"overloaded_error"}}', b'{"error":'])
async def test_a_200_that_begins_badly_does_not_win(tmp_path: Path, body: bytes) -> None:
    """An overload told in the body; a body of which nothing more comes."""
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        bad = {"headers": {"content-type": "application/json"}, "body": body}
        if not body.endswith(b"}"):
            bad |= {"hang_after": "head"}
        proxy.sim.script({**bad, "ttft": "100ms"}, model="a")
        proxy.sim.script(model="b", ttft="300ms")
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "second")
        (receipt,) = await booked(proxy, 1)
        assert receipt.attempts == 2


async def test_the_next_candidate_is_asked_after_both(tmp_path: Path) -> None:
    three = yaml().replace("[first/a, second/b]", "[first/a, second/b, other/c]")
    async with nothing_left(), stack(tmp_path, three, providers=providers()) as proxy:
        proxy.sim.script(model="a", status=503, ttft="200ms")
        proxy.sim.script(model="b", status=503)
        proxy.sim.script(model="c", ttft="200ms")
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "other")
        assert answer.headers["x-muxproxy-attempts"] == "3 (second/b: 503, first/a: 503)"
        (receipt,) = await booked(proxy, 1)
        assert (receipt.attempts, receipt.cost) == (3, own_cost(receipt))  # no third beside it
        assert counted(proxy) == ({"failed": 1}, {})


@pytest.mark.parametrize("settled", [False, True], ids=["both", "the-one-left"])
async def test_a_caller_that_leaves_cancels_both(tmp_path: Path, settled: bool) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        without_vocabularies(proxy)
        if settled:
            proxy.sim.script(model="a", status=503, ttft="100ms")
        else:
            proxy.sim.script(model="a", ttft=SLOW)
        proxy.sim.script(model="b", ttft=SLOW)
        answer = await fetch(proxy.port, "/v1/chat/completions", CHAT, leave_after=0.5)
        assert answer.broken
        if not settled:
            await cut(proxy, '"a"')
        await cut(proxy, '"b"')
        (receipt,) = await booked(proxy, 1)
        assert (receipt.end, receipt.status, receipt.attempts) == ("client_left", 499, 2)
        assert receipt.usage_source == "estimated" and receipt.cost is not None
        # One row; what both may have cost is in it.
        assert receipt.cost == own_cost(receipt) * (1 if settled else 2) > 0
        assert counted(proxy) == ({"abandoned": 1}, {})


async def test_a_caller_that_leaves_before_a_second_is_due(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml("{after: 9s}"), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        assert (await fetch(proxy.port, "/v1/chat/completions", CHAT, leave_after=0.2)).broken
        await cut(proxy, '"a"')
        (receipt,) = await booked(proxy, 1)
        assert (receipt.end, receipt.attempts) == ("client_left", 1)
        assert receipt.cost == own_cost(receipt) > 0


async def test_the_drain_deadline_ends_both(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        proxy.sim.script(model="b", ttft=SLOW)
        asking = asyncio.create_task(ask(proxy))
        await proxy.sim.until(lambda sim: len(sim.requests) == 2)
        await proxy.runtime.in_flight.cancel_all()
        answer = await asking
        assert (answer.status, answer.json()["error"]["code"]) == (503, "shutting_down")
        (receipt,) = await booked(proxy, 1)
        assert receipt.attempts == 2 and receipt.cost is not None and receipt.cost > 0


@pytest.mark.parametrize("when", ["before", "beside"])
async def test_a_reload_meanwhile(tmp_path: Path, when: str) -> None:
    """The exchange goes on under its own configuration, though both providers are gone from it."""
    hedge = "{after: 300ms}" if when == "before" else SOON
    async with nothing_left(), stack(tmp_path, yaml(hedge), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        proxy.sim.script(model="b", ttft="400ms")
        asking = asyncio.create_task(ask(proxy))
        seen = 1 if when == "before" else 2
        await proxy.sim.until(lambda sim: len(sim.requests) == seen)
        file = tmp_path / "muxproxy.yaml"
        text = file.read_text()
        lines = [n for n in text.split("\n") if "first" not in n and "second" not in n]
        file.write_text("\n".join(lines) + "\n")
        await proxy.runtime.reload()
        answer = await asking
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "second")
        await booked(proxy, 1)


async def test_a_conversation_stays_where_it_is(tmp_path: Path) -> None:
    """One slow turn does not move it away from its prompt cache."""
    text = yaml() + "  - {name: s, when: {text: /story/}, to: pair}\n"
    async with nothing_left(), stack(tmp_path, text, providers=providers()) as proxy:
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "first"
        (before,) = proxy.runtime.proxy.conversations._places.values()
        proxy.sim.script(model="a", ttft=SLOW)
        assert (await ask(proxy)).headers["x-muxproxy-provider"] == "second"
        (after,) = proxy.runtime.proxy.conversations._places.values()
        assert before == after == Target("first", "a")
        await booked(proxy, 2)


async def test_an_edited_answer_of_the_second(tmp_path: Path) -> None:
    """Collected to be given router_metadata, which tells what happened; and judged in a cascade."""
    casc = "models: {auto: {strategy: cascade, cheap: pair, strong: google/g},"
    text = yaml().replace("models: {", casc)
    async with nothing_left(), stack(tmp_path, text, providers=providers()) as proxy:
        for name in ("pair", "auto"):
            proxy.sim.script(model="a", ttft=SLOW)
            proxy.sim.script(model="b", text="It is Paris.")
            answer = await ask(proxy, model=name, max_tokens=50)
            assert answer.status == 200
            found = answer.json()["router_metadata"]
            assert found["selected_provider"] == "second"
            assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: outrun)"
        assert counted(proxy) == ({"won": 2}, {})
        await booked(proxy, 2)


async def test_explain_tells_when_a_second_attempt_is_due(tmp_path: Path) -> None:
    async with stack(tmp_path, yaml("{after: p95}"), providers=providers()) as proxy:

        async def told(body: dict[str, Any]) -> str:
            asked = {"path": "/v1/chat/completions", "body": body}
            found = (await proxy.post("/v1/explain", asked)).json()
            return str(found["candidates"][0]["hedge"])

        assert "too few" in await told(CHAT)
        for _ in range(20):
            proxy.runtime.health.of("first", "a").observe_whole(123_000)
        assert await told(CHAT) == "after 123 ms without an answer"
        assert (await told({**CHAT, "stream": True})).startswith("never")
        assert proxy.runtime.metrics.hedges_withheld == {}


@pytest.mark.parametrize("winner", ["second", "first"])
async def test_a_candidate_of_another_dialect_is_the_second(tmp_path: Path, winner: str) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        slow = SLOW if winner == "second" else "200ms"
        proxy.sim.script(model="a", ttft=slow)
        proxy.sim.script(model="c", ttft="0ms" if winner == "second" else SLOW)
        answer = await ask(proxy, model="crossed")
        assert answer.status == 200 and answer.json()["object"] == "chat.completion"
        name = "other" if winner == "second" else "first"
        assert answer.headers["x-muxproxy-provider"] == name
        assert [r.target for r in proxy.sim.requests] == ["/v1/chat/completions", "/v1/messages"]
        (receipt,) = await booked(proxy, 1)
        assert ("translated" in receipt.edits) is (winner == "second")


async def test_a_lone_candidate_is_asked_twice(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, yaml(), providers=providers()) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        answer = await ask(proxy, model="alone")
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "first")
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: outrun)"
        assert models(proxy) == ["a", "a"]
        (receipt,) = await booked(proxy, 1)
        # The same estimate and price for one, the provider's own figures for the other.
        assert receipt.cost is not None and receipt.cost > own_cost(receipt)


async def test_a_lone_candidates_other_key_is_used(tmp_path: Path) -> None:
    keys = 'api_keys: ["ka", "kb"]'
    given = providers(keys).replace("api_key: k1, ", "")
    async with nothing_left(), stack(tmp_path, yaml(), providers=given) as proxy:
        proxy.sim.script(model="a", ttft=SLOW)
        assert (await ask(proxy, model="alone")).status == 200
        seen = [
            dict(r.headers).get(b"authorization") or dict(r.headers)[b"Authorization"]
            for r in proxy.sim.requests
        ]
        assert sorted(seen) == [b"Bearer ka", b"Bearer kb"]
        await booked(proxy, 1)
