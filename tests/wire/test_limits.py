"""Limits over real sockets: requests, tokens and concurrency, with the headers SDKs wait by."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from muxproxy.dialects.paths import classify
from muxproxy.inspection import inspect
from tests.http_client import Answer, encode, head, read_head
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, flying, quiet, without_vocabularies

USER = {"role": "user", "content": "Tell me a story"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER], "max_tokens": 20}
PATH = "/v1/chat/completions"
GENERATE: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Tell"}]}]}
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATH, CHAT),
    "responses": ("/v1/responses", {"model": "m", "input": "Tell me"}),
    "anthropic": ("/v1/messages", CHAT),
    "gemini": ("/v1beta/models/m:generateContent", GENERATE),
}


def limit(**terms: str) -> str:
    """The configuration with one limit."""
    fields = {"name": "fair", **terms}
    return f"limits:\n  - {{{', '.join(f'{k}: {v}' for k, v in fields.items())}}}\n"


def sized(body: dict[str, Any], tokens: int) -> bytes:
    """The body, padded until it is estimated at so many tokens."""
    data, route = encode(body), classify("POST", PATH)
    while inspect(route, data).prompt_tokens < tokens:
        data += b" "
    return data


def empty(proxy: Stack) -> bool:
    """Nothing flies and nothing is reserved under any limit."""
    meters = [m for r in proxy.runtime.proxy.limits._rules.values() for m in r.meters.values()]
    return all(m.flying == 0 and (m.tokens is None or m.tokens.reserved == 0) for m in meters)


def assert_limited(answer: Answer, kind: str, of: str) -> None:
    """A 429 of ours that the dialect's SDK raises as its own rate-limit error, and waits for."""
    assert answer.status == 429
    assert code_in(answer.json(), kind) == "rate_limited"
    assert 1 <= int(answer.headers["retry-after"]) <= 62
    assert answer.headers.get("x-should-retry") is None
    if of != "concurrent":
        assert answer.headers[f"x-ratelimit-remaining-{of}"].isdigit()
        assert answer.headers[f"x-ratelimit-reset-{of}"][-1] == "s"
    error = answer.json()["error"]
    details = error["details"][0]["metadata"] if kind == "gemini" else error
    assert (details["limit"], details["kind"]) == ("fair", of)
    if kind == "gemini":
        assert error["details"][1]["retryDelay"] == answer.headers["retry-after"] + "s"


@pytest.mark.parametrize("kind", ASKS)
async def test_requests_per_minute(tmp_path: Path, kind: str) -> None:
    path, body = ASKS[kind]
    async with stack(tmp_path, limit(requests="3/min")) as proxy:
        answers = [await fetch(proxy.port, path, body) for _ in range(5)]
        assert [a.status for a in answers] == [200, 200, 200, 429, 429]
        assert_limited(answers[4], kind, "requests")
        assert answers[4].headers["x-ratelimit-limit-requests"] == "3"
        assert answers[4].headers["x-ratelimit-remaining-requests"] == "0"
        receipts = await balanced(proxy, 5)
        assert [(r.end, r.code, r.cost) for r in receipts[3:]] == [
            ("refused", "rate_limited", 0)
        ] * 2
        assert len(proxy.sim.requests) == 3


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
async def test_concurrent_requests_cannot_take_663_tokens_of_100(
    tmp_path: Path, stream: bool
) -> None:
    """BerriAI/litellm #18730, #5783; and #41610: streams count too."""
    data = sized({**CHAT, "stream": stream}, 13)
    used = {"x-sim-input": "13", "x-sim-tokens": "20", "x-sim-ttft": "30ms"}
    async with stack(tmp_path, limit(tokens="100/min")) as proxy:
        answers = await asyncio.gather(*(fetch(proxy.port, PATH, data, used) for _ in range(20)))
        assert sorted(a.status for a in answers) == [200] * 3 + [429] * 17
        assert len(proxy.sim.requests) == 3
        after = await fetch(proxy.port, PATH, data, used)
        assert_limited(after, "chat", "tokens")
        assert after.headers["x-ratelimit-limit-tokens"] == "100"
        assert after.headers["x-ratelimit-remaining-tokens"] == "1"
        await balanced(proxy, 21)
        assert empty(proxy)


async def test_what_was_reserved_and_not_used_is_given_back(tmp_path: Path) -> None:
    data = sized({**CHAT, "max_tokens": 60}, 13)
    used = {"x-sim-input": "13", "x-sim-tokens": "7"}
    async with stack(tmp_path, limit(tokens="100/min")) as proxy:
        for _ in range(2):
            assert (await fetch(proxy.port, PATH, data, used)).status == 200
        refused = await fetch(proxy.port, PATH, data, used)
        assert refused.headers["x-ratelimit-remaining-tokens"] == "60"
        # An error answer and a connection that broke before it was used cost no tokens.
        small = sized({**CHAT, "max_tokens": 40}, 13)
        assert (await fetch(proxy.port, PATH, small, {"x-sim-status": "500"})).status == 500
        assert (await fetch(proxy.port, PATH, small, used)).status == 200


@pytest.mark.parametrize("leaving", [False, True], ids=["finished", "client left"])
async def test_concurrency_and_its_end(tmp_path: Path, leaving: bool) -> None:
    data = encode({**CHAT, "stream": True})
    async with stack(tmp_path, limit(per="user", concurrent="2")) as proxy:
        streams = []
        for name in "ab":
            sent = {"content-type": "application/json", "x-sim-lockstep": name}
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(head("POST", PATH, sent, len(data), "localhost") + data)
            assert (await read_head(reader))[0] == 200
            streams.append(writer)
        refused = await fetch(proxy.port, PATH, CHAT)
        assert_limited(refused, "chat", "concurrent")
        assert (await fetch(proxy.port, PATH, {**CHAT, "user": "another"})).status == 200
        if leaving:
            streams[0].transport.abort()
        else:
            proxy.sim.ack("a", 10_000)
        await flying(proxy, 1)
        assert (await fetch(proxy.port, PATH, CHAT)).status == 200
        proxy.sim.ack("b", 10_000)
        await flying(proxy, 0)
        for writer in streams:
            writer.close()
        await balanced(proxy, 5)
        assert empty(proxy)


async def test_a_providers_own_429_and_its_headers_pass_untouched(tmp_path: Path) -> None:
    told = {"x-sim-status": "429", "x-sim-retry-after": "9"}
    async with stack(tmp_path, limit(requests="100/min")) as proxy:
        answer = await fetch(proxy.port, PATH, CHAT, told)
        assert (answer.status, answer.headers["retry-after"]) == (429, "9")
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        limits = {"x-sim-ratelimit": "remaining=9,limit=10,reset=30s"}
        answer = await fetch(proxy.port, PATH, CHAT, limits)
        assert answer.headers["x-ratelimit-remaining-requests"] == "9"
        assert answer.headers["x-ratelimit-limit-requests"] == "10"


@pytest.mark.parametrize("per", ["model", "provider"])
async def test_a_candidate_at_its_limit_is_passed_over(tmp_path: Path, per: str) -> None:
    yaml = limit(per=per, requests="1/min") + "models:\n  both: [openai/m, mistral/n]\n"
    async with stack(tmp_path, yaml) as proxy:
        body = {**CHAT, "model": "both"}
        answers = [await fetch(proxy.port, PATH, body) for _ in range(3)]
        assert [a.status for a in answers] == [200, 200, 429]
        served = [a.headers["x-muxproxy-provider"] for a in answers[:2]]
        assert served == ["openai", "mistral"]
        assert_limited(answers[2], "chat", "requests")
        receipts = await balanced(proxy, 3)
        assert [r.attempts for r in receipts] == [1, 1, 0]


async def test_a_refused_call_holds_no_money_and_an_unaffordable_one_no_tokens(
    tmp_path: Path,
) -> None:
    yaml = limit(tokens="100/min") + "budgets:\n  - {name: purse, limit: $1, window: day}\n"
    yaml += "  - {name: poor, per: user, limit: $0, window: day, when: {user: poor}}\n"
    yaml += "prices:\n  '*': {input: 1, output: 2}\n"
    data = sized({**CHAT, "max_tokens": 70}, 13)
    async with stack(tmp_path, yaml) as proxy:
        unaffordable = await fetch(proxy.port, PATH, {**CHAT, "user": "poor"})
        assert unaffordable.status == 402
        silent = {"x-sim-hang-after": "0"}
        first = asyncio.create_task(fetch(proxy.port, PATH, data, silent))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        held = [row["held"] for row in proxy.runtime.budgets() if row["name"] == "purse"]
        assert (await fetch(proxy.port, PATH, data)).status == 429
        assert held == [row["held"] for row in proxy.runtime.budgets() if row["name"] == "purse"]
        first.cancel()
        await asyncio.wait([first])
        await balanced(proxy, 3)
        assert empty(proxy)


async def test_counts_survive_a_reload(tmp_path: Path) -> None:
    async with stack(tmp_path, limit(requests="2/min")) as proxy:
        statuses = [(await fetch(proxy.port, PATH, CHAT)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        path = tmp_path / "muxproxy.yaml"
        path.write_text(path.read_text().replace("2/min", "3/min"))
        await proxy.runtime.reload()
        statuses = [(await fetch(proxy.port, PATH, CHAT)).status for _ in range(2)]
        assert statuses == [200, 429]


async def test_after_a_storm_nothing_flies_and_nothing_is_reserved(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    yaml = """limits:
  - {name: fair, per: user, concurrent: 6, requests: 5k/min, tokens: 9k/min}
  - {name: models, per: model, concurrent: 20}
  - {name: providers, per: provider, tokens: 12k/min}
  - {name: everyone, concurrent: 60}
models: {both: [openai/m, mistral/n, anthropic/o, google/p]}
"""

    async def one() -> int:
        path, body = ASKS[chance.choice(list(ASKS))]
        body = {**body, "user": chance.choice("abcd")}
        if "model" in body:
            body |= {"model": chance.choice(["both", "m"]), "stream": chance.random() < 0.5}
        headers = {"x-sim-pace": "3ms", "x-sim-ttft": f"{chance.randint(0, 40)}ms"}
        fate = chance.random()
        if fate < 0.15:
            headers["x-sim-status"] = chance.choice(["400", "503"])
        elif fate < 0.3:
            headers["x-sim-drop-after"] = chance.choice(["0", "2"])
        elif fate < 0.4:
            headers |= {"x-sim-status": "529", "x-sim-for": "m"}
        await asyncio.sleep(chance.random() * 0.2)
        leave = chance.random() * 0.06 if chance.random() < 0.3 else None
        answer = await fetch(proxy.port, path, body, headers, leave_after=leave)
        return answer.status

    async with stack(tmp_path, yaml) as proxy:
        without_vocabularies(proxy)
        statuses = await asyncio.gather(*(one() for _ in range(400)))
        await quiet(proxy)
        await balanced(proxy, len(await proxy.settled(1)))
        assert {0, 200, 429, 502} <= set(statuses)
        assert empty(proxy)
