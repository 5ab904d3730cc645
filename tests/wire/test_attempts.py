"""What is tried after a failure, where, how often, and what the caller is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from muxproxy.sim.server import start
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, nothing_left

PROVIDERS = """
  first:  {dialect: openai, base_url: "SIM/v1", api_key: k1, FIRST}
  second: {dialect: openai, base_url: "SIM/v1", api_key: k2, SECOND}
"""
PAIR = "models: {pair: [first/a, second/b]}\n"
CHAT = {"model": "pair", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def providers(first: str = "price: free", second: str = "price: free") -> str:
    return PROVIDERS.replace("FIRST", first).replace("SECOND", second)


async def ask(proxy: Stack, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return await fetch(proxy.port, "/v1/chat/completions", {**CHAT, **more}, headers)


def models(proxy: Stack) -> list[str]:
    """What the provider was asked for, in order."""
    return [json.loads(seen.body or b"{}").get("model") for seen in proxy.sim.requests]


async def test_the_answer_and_the_books_tell_what_happened(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, PAIR, providers=providers()) as proxy:
        proxy.sim.script(model="a", status=503)
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (200, "second")
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: 503)"
        (receipt,) = await balanced(proxy, 1)
        assert receipt.attempts == 2 and "first/a: 503" in receipt.reason
        plain = await ask(proxy)
        assert "x-muxproxy-attempts" not in plain.headers


OVERLOADS: list[tuple[str, bytes, str]] = [
    ("text/event-stream", b'data: {"error":{"code":502,"message":"Provider"}}\n\n', "error"),
    ("text/event-stream", b': ping\n\ndata: {"error":{"type":"server_error"}}\n\n', "server_error"),
    ("text/event-stream", b'event: error\ndata: {"error":{"code":"429"}}\n\n', "429"),
    ("application/json", b'{"error":{"message":"Overloaded","code":529}}', "error"),
    ("application/json", b'\n {"type":"error","error":{"type":"overloaded_error"}}',
     "overloaded_error"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "cause"), OVERLOADS, ids=range(len(OVERLOADS)))
async def test_an_overload_told_in_a_200_goes_to_another(
    tmp_path: Path, kind: str, body: bytes, cause: str
) -> None:
    async with stack(tmp_path, PAIR, providers=providers()) as proxy:
        options: dict[str, Any] = {"headers": {"content-type": kind}, "body": body, "slice": 3}
        proxy.sim.script(options, model="a")
        answer = await ask(proxy, stream=kind == "text/event-stream")
        assert (answer.status, answer.broken) == (200, False)
        assert answer.headers["x-muxproxy-attempts"] == f"2 (first/a: {cause})"
        assert b"rror" not in answer.body


@pytest.mark.parametrize(
    "body", [b'{"error":{"type":"invalid_request_error","message":"no"}}', b'{"error":null}']
)
async def test_an_error_that_is_the_callers_own_is_passed_on(tmp_path: Path, body: bytes) -> None:
    async with stack(tmp_path, PAIR, providers=providers()) as proxy:
        proxy.sim.script({"headers": {"content-type": "application/json"}, "body": body}, model="a")
        answer = await ask(proxy)
        assert models(proxy) == ["a"]
        assert answer.json()["error"] == json.loads(body)["error"]


async def test_when_all_answers_are_overloads_the_caller_gets_an_error(tmp_path: Path) -> None:
    async with stack(tmp_path, PAIR, providers=providers()) as proxy:
        body = b'{"error":{"type":"overloaded_error"}}'
        options = {"headers": {"content-type": "application/json"}, "body": body}
        proxy.sim.script(options, model="a", times=None)
        proxy.sim.script(model="b", drop_after=0, times=None)
        answer = await ask(proxy)
        assert answer.status == 502 and answer.json()["error"]["code"] == "upstream_died"
        assert (
            answer.headers["x-muxproxy-attempts"]
            == "2 (first/a: overloaded_error, second/b: reset)"
        )


async def test_the_same_candidate_is_asked_again_only_where_it_is_said(tmp_path: Path) -> None:
    retry = "retry: {same: 2, backoff: 1ms}"
    async with stack(tmp_path, PAIR, providers=providers(retry)) as proxy:
        proxy.sim.script(model="a", status=500, times=3)
        proxy.sim.script(model="b", status=500, times=1)
        answer = await ask(proxy)
        assert models(proxy) == ["a", "a", "a", "b"]
        assert answer.status == 500
        (receipt,) = await balanced(proxy, 1)
        assert receipt.attempts == 4
        proxy.sim.script(model="a", status=529, times=1)
        assert (await ask(proxy)).headers["x-muxproxy-attempts"] == "2 (first/a: 529)"


async def test_a_rule_says_it_for_its_requests(tmp_path: Path) -> None:
    rule = "rules:\n  - {name: r, to: first/a, retry: {same: 1, backoff: 1ms}}\n"
    async with stack(tmp_path, PAIR + rule, providers=providers()) as proxy:
        proxy.sim.script(model="a", status=409, times=1)
        assert (await ask(proxy)).status == 200
        assert models(proxy) == ["a", "a"]


async def test_retry_after_beyond_the_callers_patience_is_not_waited_for(tmp_path: Path) -> None:
    retry = "retry: {same: 1, patience: 60s}"
    async with stack(tmp_path, PAIR, providers=providers(retry, retry)) as proxy:
        proxy.sim.script(status=429, retry_after=9, times=None)
        answer = await ask(proxy, {"x-stainless-read-timeout": "5"})
        assert (answer.status, answer.headers["retry-after"]) == (429, "9")
        assert models(proxy) == ["a", "b"]


async def test_retry_after_is_waited_for_within_it(tmp_path: Path) -> None:
    retry = "retry: {same: 1, backoff: 60s}"
    async with stack(tmp_path, PAIR, providers=providers(retry)) as proxy:
        proxy.sim.script(model="a", status=429, retry_after=0)
        assert (await ask(proxy)).status == 200
        assert models(proxy) == ["a", "a"]


async def test_repeated_tries_stay_within_their_budget(tmp_path: Path) -> None:
    """A fifth of the requests, and ten in reserve."""
    retry = "retry: {same: 5, backoff: 1ms}, breaker: {failures: 0}"
    alone = "models: {pair: [first/a]}\n"
    async with stack(tmp_path, alone, providers=providers(retry)) as proxy:
        proxy.sim.script(model="a", status=500, times=None)
        await asyncio.gather(*(ask(proxy) for _ in range(50)))
        assert 50 < len(proxy.sim.requests) <= 50 + 10 + 10
        await balanced(proxy, 50)


@pytest.mark.parametrize(
    ("first", "second", "status", "provider"),
    [
        ({"status": 429, "retry_after": 3}, {"status": 503}, 429, "first"),
        ({"status": 503}, {"status": 429}, 429, "second"),
        ({"status": 503}, {"drop_after": 0}, 503, "first"),
        ({"drop_after": 0}, {"status": 503}, 503, "second"),
        ({"status": 503}, {"status": 400}, 400, "second"),
    ],
)
async def test_the_most_telling_answer_is_passed_on(
    tmp_path: Path, first: Any, second: Any, status: int, provider: str
) -> None:
    async with nothing_left(), stack(tmp_path, PAIR, providers=providers()) as proxy:
        proxy.sim.script(first, model="a")
        proxy.sim.script(second, model="b", times=2)  # a stale one is sent twice
        answer = await ask(proxy)
        assert (answer.status, answer.headers["x-muxproxy-provider"]) == (status, provider)
        assert answer.json()["error"]["message"]
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.status, receipt.provider, receipt.attempts) == (status, provider, 2)
        assert receipt.cost == 0


async def test_a_refused_connection_is_tried_again_where_there_is_no_other(tmp_path: Path) -> None:
    closed = await start()
    await closed.aclose()
    there = f'{{dialect: openai, base_url: "{closed.url}/v1", api_key: k}}'
    yaml = "models: {pair: [away/a], both: [away/a, first/b]}\n"
    async with stack(tmp_path, yaml, providers=f"\n  away: {there}" + providers()) as proxy:
        answer = await ask(proxy)
        assert answer.status == 502
        assert answer.headers["x-muxproxy-attempts"] == "2 (away/a: connect, away/a: connect)"
        answer = await ask(proxy, model="both")
        assert answer.headers["x-muxproxy-attempts"] == "2 (away/a: connect)"


async def test_the_deadline_is_the_whole_requests(tmp_path: Path) -> None:
    rule = "rules:\n  - {name: r, to: pair, timeouts: {total: 100ms}}\n"
    async with nothing_left(), stack(tmp_path, PAIR + rule, providers=providers()) as proxy:
        proxy.sim.script(model="a", hang_after=0)
        answer = await ask(proxy)
        assert (answer.status, answer.json()["error"]["code"]) == (504, "upstream_timeout")
        assert models(proxy) == ["a"]
        await balanced(proxy, 1)


@pytest.mark.parametrize("fault", ["hang-after=0", "hang-after=head"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_rules_time_outs_come_before_the_providers(
    tmp_path: Path, fault: str, stream: bool
) -> None:
    rule = "rules:\n  - {name: r, to: pair, timeouts: {first_byte: 50ms, idle: 50ms}}\n"
    async with nothing_left(), stack(tmp_path, PAIR + rule, providers=providers()) as proxy:
        proxy.sim.script(model="a", hang_after=fault.partition("=")[2])
        answer = await ask(proxy, stream=stream)
        assert (answer.status, answer.broken) == (200, False)
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: timeout)"
        await balanced(proxy, 1)


async def test_a_caller_that_leaves_between_attempts_ends_them(tmp_path: Path) -> None:
    retry = "retry: {same: 1}"
    async with nothing_left(), stack(tmp_path, PAIR, providers=providers(retry)) as proxy:
        proxy.sim.script(model="a", status=429, retry_after=20)
        await fetch(proxy.port, "/v1/chat/completions", CHAT, leave_after=1.5)
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.cost, receipt.attempts) == ("client_left", 0, 1)
