"""Answers given again: whole, to the same caller, for the same bytes, and for nothing."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from muxproxy.proxy.cache_file import CacheFile, Entry
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, flying, nothing_left

RULE = "rules:\n  - {name: r, cache: {ttl: 1h}}\n"
JOIN = "rules:\n  - {name: r, cache: {ttl: 0s, join: true}}\n"
PRICES = "prices: {'*': {input: 1, output: 2}}\nbudgets: [{name: all, limit: $10, window: month}]\n"
USER = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "openai/m", "messages": USER, "max_tokens": 5, "temperature": 0}
GENERATE = {
    "contents": [{"parts": [{"text": "hi"}]}],
    "generationConfig": {"temperature": 0, "maxOutputTokens": 5},
}
GEMINI = "/v1beta/models/m:"
WAYS: list[tuple[str, Any]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/messages", {**CHAT, "model": "anthropic/m"}),
    ("/v1/messages", {**CHAT, "model": "anthropic/m", "stream": True}),
    ("/v1/messages", {**CHAT, "stream": True}),  # translated
    (GEMINI + "generateContent", GENERATE),
    (GEMINI + "streamGenerateContent?alt=sse", GENERATE),
    ("/v1/embeddings", {"model": "openai/e", "input": "hi"}),
]


async def ask(proxy: Stack, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return await fetch(proxy.port, "/v1/chat/completions", {**CHAT, **more}, headers)


def cached(answer: Answer) -> str | None:
    return answer.headers.get("x-muxproxy-cache")


@pytest.mark.parametrize(("path", "body"), WAYS, ids=range(len(WAYS)))
async def test_the_second_answer_is_the_first_and_costs_nothing(
    tmp_path: Path, path: str, body: Any
) -> None:
    async with nothing_left(), stack(tmp_path, RULE + PRICES) as proxy:
        first = await fetch(proxy.port, path, body)
        second = await fetch(proxy.port, path, body)
        assert (first.status, cached(first), cached(second)) == (200, "miss", "hit")
        assert second.body == first.body and not second.broken
        assert second.headers["content-type"] == first.headers["content-type"]
        assert second.headers["x-muxproxy-id"] != first.headers["x-muxproxy-id"]
        assert second.headers["x-muxproxy-provider"] == first.headers["x-muxproxy-provider"]
        assert len(proxy.sim.requests) == 1
        one, two = await balanced(proxy, 2)
        assert (one.cost or 0) > 0 or "embed" in path
        assert (two.cost, two.end, two.status, two.attempts) == (0, "finished", 200, 0)
        assert two.edits == ("cache",) and "from the cache" in two.reason


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "user", "content": "ho"}]},
        {"max_tokens": 6},
        {"stream": True},
        {"user": "somebody"},
    ],
    ids=["text", "field", "stream", "user"],
)
async def test_one_byte_makes_it_another_request(tmp_path: Path, other: Any) -> None:
    async with stack(tmp_path, RULE) as proxy:
        assert cached(await ask(proxy)) == "miss"
        assert cached(await ask(proxy, **other)) == "miss"
        assert len(proxy.sim.requests) == 2


async def test_callers_do_not_see_each_others_answers(tmp_path: Path) -> None:
    keys = "auth: {mode: keys}\nkeys: [{name: a, value: key-a}, {name: b, value: key-b}]\n"
    async with stack(tmp_path, RULE + keys) as proxy:
        for name in "aabb":
            answer = await ask(proxy, {"authorization": f"Bearer key-{name}"})
            assert answer.status == 200
        assert len(proxy.sim.requests) == 2


async def test_only_what_cannot_vary_is_kept(tmp_path: Path) -> None:
    async with stack(tmp_path, RULE) as proxy:
        for more in ({"temperature": None}, {"temperature": 0.7}):
            assert [cached(await ask(proxy, **more)) for _ in range(2)] == [None, None]
        given = {"cache-control": "no-cache"}
        assert [cached(await ask(proxy, given)) for _ in range(2)] == [None, None]
        stateful = {"model": "openai/m", "input": "hi", "temperature": 0}
        stateful["previous_response_id"] = "resp_1"
        answer = await fetch(proxy.port, "/v1/responses", stateful)
        assert (answer.status, cached(answer)) == (200, None)
    async with stack(tmp_path, RULE.replace("ttl: 1h", "ttl: 1h, any: true")) as proxy:
        assert [cached(await ask(proxy, temperature=0.7)) for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 400}, {"drop_after": 2}, {"error_after": 2}]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_not_kept(tmp_path: Path, fault: Any, stream: bool) -> None:
    if fault == {"error_after": 2} and not stream:
        return
    async with nothing_left(), stack(tmp_path, RULE) as proxy:
        proxy.sim.script(fault)
        assert cached(await ask(proxy, stream=stream)) == "miss"
        assert cached(await ask(proxy, stream=stream)) == "miss"
        assert cached(await ask(proxy, stream=stream)) == "hit"
        await balanced(proxy, 3)


async def test_a_caller_that_left_leaves_no_half_answer(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, RULE) as proxy:
        proxy.sim.script(hang_after=2)
        body = {**CHAT, "stream": True}
        await fetch(proxy.port, "/v1/chat/completions", body, leave_after=0.2)
        await flying(proxy, 0)
        assert cached(await ask(proxy, stream=True)) == "miss"


async def test_it_outlives_reloads_and_restarts_and_large_answers_are_left_out(
    tmp_path: Path,
) -> None:
    yaml = RULE + "cache: {max_entry: 2KiB}\n"
    async with stack(tmp_path, yaml) as proxy:
        await ask(proxy)
        await proxy.runtime.reload()
        assert cached(await ask(proxy)) == "hit"
        for _ in range(2):
            assert cached(await ask(proxy, stream=True, max_tokens=400)) == "miss"
        file = Path(f"{proxy.state}.cache")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with stack(tmp_path, yaml) as proxy:
        assert cached(await ask(proxy)) == "hit"
        assert not proxy.sim.requests


async def test_identical_calls_in_flight_are_joined(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, JOIN) as proxy:
        proxy.sim.script(lockstep="go")
        tasks = [asyncio.create_task(ask(proxy, stream=True)) for _ in range(5)]
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        await flying(proxy, 5)
        proxy.sim.ack("go", 999)
        answers = await asyncio.gather(*tasks)
        assert len({answer.body for answer in answers}) == 1
        assert sorted(str(cached(answer)) for answer in answers) == ["hit"] * 4 + ["miss"]
        assert len(proxy.sim.requests) == 1
        assert cached(await ask(proxy, stream=True)) == "miss"  # nothing is kept
        await balanced(proxy, 6)


async def test_who_joined_a_call_that_fails_asks_itself(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, JOIN) as proxy:
        proxy.sim.script(hang_after=2)
        body = {**CHAT, "stream": True}
        path = "/v1/chat/completions"
        first = asyncio.create_task(fetch(proxy.port, path, body, leave_after=0.5))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        second = asyncio.create_task(ask(proxy, stream=True))
        await flying(proxy, 2)
        await first
        answer = await second
        assert (answer.status, answer.broken, cached(answer)) == (200, False, "miss")
        await balanced(proxy, 2)


async def test_a_file_that_cannot_be_used_fails_no_call(tmp_path: Path) -> None:
    async with stack(tmp_path, RULE + "cache: {file: /nowhere/at/all.db}\n") as proxy:
        assert [(await ask(proxy)).status for _ in range(2)] == [200, 200]
        cache = proxy.runtime.proxy.cache
        assert cache is not None and cache.file.off


def entry(size: int) -> Entry:
    return Entry([(b"content-type", b"application/json")], bytes(size), "p", "m")


def test_entries_expire_and_the_oldest_make_room(tmp_path: Path) -> None:
    file = CacheFile(str(tmp_path / "c"), 10_000)
    file.put(b"old", entry(4000), now=1.0, ttl=100.0)
    file.put(b"short", entry(100), now=2.0, ttl=1.0)
    assert file.get(b"short", 2.5) is not None and file.get(b"short", 3.5) is None
    file.put(b"new", entry(4000), now=5.0, ttl=100.0)
    file.put(b"newer", entry(4000), now=6.0, ttl=100.0)
    assert [file.get(key, 7.0) is not None for key in (b"old", b"new", b"newer")] == [
        False,
        True,
        True,
    ]
    file.put(b"huge", entry(20_000), now=7.0, ttl=100.0)
    assert file.get(b"huge", 7.0) is None
    file.close()
    again = CacheFile(str(tmp_path / "c"), 10_000)
    found = again.get(b"new", 7.0)
    assert found is not None and (found.provider, len(found.body)) == ("p", 4000)
    again.close()


def test_a_broken_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"no database at all, whatever its name says" * 100)
    file = CacheFile(str(path), 10_000)
    assert file.off is None
    file.put(b"k", entry(10), now=1.0, ttl=10.0)
    assert file.get(b"k", 2.0) is not None
    file.close()
