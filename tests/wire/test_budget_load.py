"""A thousand callers at once on one budget: what it affords is spent, exactly, and no more."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Receipt
from tests.http_client import Answer, encode, head
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, quiet, sums, without_vocabularies

CALLS = 1000
AFFORDED = 137
TOKENS = 20
BODY = 240  # bytes of every request body
INPUT, OUTPUT = 1000, 2000  # nano-dollars per token
BASE = """
auth: {mode: open, user_header: x-user}
prices: {"*": {input: 1, output: 2}}
budgets:
  - {name: purse, limit: $LIMIT, hold: HOLD, window: month, when: {model: "m*"}}
"""
USER = {"role": "user", "content": "Tell me a story"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER], "max_tokens": TOKENS}
GENERATE: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}],
    "generationConfig": {"maxOutputTokens": TOKENS},
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "anthropic": ("/v1/messages", CHAT),
    "responses": ("/v1/responses", {"model": "m", "input": "story", "max_output_tokens": TOKENS}),
    "gemini": ("/v1beta/models/m:generateContent", GENERATE),
}
STREAMED = {
    "chat": ("/v1/chat/completions", {**CHAT, "stream": True}),
    "anthropic": ("/v1/messages", {**CHAT, "stream": True}),
    "responses": ("/v1/responses", {**KINDS["responses"][1], "stream": True}),
    "gemini": ("/v1beta/models/m:streamGenerateContent?alt=sse", GENERATE),
}


def padded(body: dict[str, Any]) -> bytes:
    """JSON of exactly BODY bytes."""
    data = encode(body)
    assert len(data) <= BODY
    return data + b" " * (BODY - len(data))


def dollars(nano: int) -> str:
    """As the YAML takes it, to the nano-dollar."""
    return f"{Decimal(nano) / 10**9:.9f}"


def terms(hold: str, nano: int) -> str:
    """The configuration with that limit."""
    return BASE.replace("HOLD", hold).replace("LIMIT", dollars(nano))


async def prompt_tokens(tmp_path: Path, path: str, body: dict[str, Any]) -> int:
    """The input estimate of a request, as its row tells it."""
    folder = tmp_path / "probe"
    folder.mkdir()
    async with stack(folder) as proxy:
        receipt = await proxy.receipt(await fetch(proxy.port, path, padded(body)))
    assert receipt.features is not None
    tokens: int = json.loads(receipt.features)["prompt_tokens"]
    return tokens


def assert_refused(answer: Answer, kind: str, limit: int, need: int) -> None:
    """A 402 of the budget in the caller's dialect, with all that an operator wants to know."""
    assert answer.status == 402, answer.body
    assert answer.headers["x-should-retry"] == "false"
    body = answer.json()
    assert code_in(body, kind) == "budget_exceeded"
    error = body["error"]
    details = error["details"][0]["metadata"] if kind == "gemini" else error
    assert (details["budget"], details["scope"], details["unit"]) == ("purse", "all", "usd")
    told = {n: round(float(details[n]) * 1e9) for n in ("limit", "spent", "held", "needed")}
    assert (told["limit"], told["needed"]) == (limit, need)
    assert limit - need < told["spent"] + told["held"] <= limit
    assert details["resets_at"].endswith("-01T00:00:00Z")
    assert "purse" in error["message"]


@pytest.mark.parametrize("streams", [False, True], ids=["JSON", "streams"])
@pytest.mark.parametrize("hold", ["worst", "expected"])
async def test_exactly_what_the_budget_affords_is_forwarded(
    tmp_path: Path, hold: str, streams: bool
) -> None:
    """Every call costs exactly what was held for it, so the limit is met to the nano-dollar."""
    kinds = STREAMED if streams else KINDS
    need = TOKENS * OUTPUT
    if hold == "worst":
        need += BODY * INPUT
    else:  # one dialect: estimates differ between them
        kinds = {"chat": kinds["chat"]}
        need += await prompt_tokens(tmp_path, *kinds["chat"]) * INPUT
    limit = need * AFFORDED + need // 2
    async with stack(tmp_path, terms(hold, limit)) as proxy:
        without_vocabularies(proxy)
        used = str((need - TOKENS * OUTPUT) // INPUT)
        headers = {"x-sim-input": used, "x-sim-tokens": str(TOKENS), "x-sim-ttft": "50ms"}
        names = [name for name, _ in zip(_cycle(kinds), range(CALLS), strict=False)]
        answers = await asyncio.gather(
            *(fetch(proxy.port, kinds[n][0], padded(kinds[n][1]), headers) for n in names)
        )
        receipts = await balanced(proxy, CALLS)
        assert len(proxy.sim.requests) == AFFORDED
        assert Counter(a.status for a in answers) == {200: AFFORDED, 402: CALLS - AFFORDED}
        for name, answer in zip(names, answers, strict=True):
            assert not answer.broken
            if answer.status == 402:
                assert_refused(answer, name, limit, need)
            else:
                assert answer.headers["x-budget-name"] == "purse"
        assert sums(proxy, "purse") == {"all": (need * AFFORDED, _tokens(receipts))}
        assert Counter(r.cost for r in receipts) == {need: AFFORDED, 0: CALLS - AFFORDED}
        refused = [r for r in receipts if r.cost == 0]
        assert {(r.end, r.code, r.attempts) for r in refused} == {("refused", "budget_exceeded", 0)}
        # What is left is less than such a call; a smaller one still fits.
        small = encode({**CHAT, "max_tokens": 1})
        headers = {"x-sim-input": "5", "x-sim-tokens": "1"}
        answer = await fetch(proxy.port, "/v1/chat/completions", small, headers)
        assert answer.status == 200


def _cycle(kinds: dict[str, Any]) -> list[str]:
    return list(kinds) * CALLS


def _tokens(receipts: list[Receipt]) -> int:
    return sum(r.usage.input_total + r.usage.output_total for r in receipts if r.usage)


class Storm:
    """A thousand calls of every kind, a third of them left by their callers at random points."""

    def __init__(self, proxy: Stack, seed: int, tokens: int | None) -> None:
        self.proxy = proxy
        self.tokens = tokens  # of every answer; None: any number that was asked for
        self.random = random.Random(seed)
        self.left: set[str] = set()

    async def call(self, number: int) -> tuple[str, Answer | None]:
        """One call; None: we left."""
        chance = self.random
        kind = chance.choice(list(KINDS))
        path, body = (STREAMED if chance.random() < 0.7 else KINDS)[kind]
        tag = f"u{number}"
        headers = {"x-user": tag, "x-tag": tag, "x-sim-input": str(chance.randint(1, 4))}
        headers["x-sim-tokens"] = str(self.tokens or chance.randint(1, TOKENS))
        headers["x-sim-ttft"] = f"{chance.randint(0, 60)}ms"
        headers["x-sim-pace"] = f"{chance.randint(1, 8)}ms"
        fate = chance.random()
        if fate < 0.12:
            headers["x-sim-status"] = str(chance.choice((400, 401, 429, 500, 529)))
        elif fate < 0.24:
            word = chance.choice(("drop", "reset"))
            headers[f"x-sim-{word}-after"] = str(chance.choice(("head", 0, 1, 3, 7)))
        elif fate < 0.27:
            headers["x-sim-usage"] = "off"
        await asyncio.sleep(chance.random() * 0.25)
        if number % 3:
            return tag, await fetch(self.proxy.port, path, padded(body), headers)
        self.left.add(tag)
        await self._leave(path, padded(body), headers, chance.random() * 0.2, chance.random())
        return tag, None

    async def _leave(
        self, path: str, data: bytes, headers: dict[str, str], after: float, how: float
    ) -> None:
        """Send the request (or most of it), read for `after` seconds at most, and be gone."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        sent = {"content-type": "application/json", **headers}
        raw = head("POST", path, sent, len(data), "localhost") + data
        try:
            writer.write(raw[: -BODY // 2] if how < 0.05 else raw)
            async with asyncio.timeout(after):
                while await reader.read(200):
                    if how < 0.3 and self.random.random() < 0.3:
                        break
        except (TimeoutError, ConnectionError):
            pass
        finally:
            if how < 0.8:
                writer.transport.abort()
            writer.close()

    async def watch(self, limit: int, most: list[int]) -> None:
        """At no moment is more spent and held than the limit."""
        while True:
            for account in self.proxy.runtime.proxy.budgets._active:
                for counter in account.counters.values():
                    most.append(counter.spent + counter.held)
                    assert counter.spent + counter.held <= limit
            await asyncio.sleep(0.003)


@pytest.mark.parametrize("hold", ["worst", "expected"])
async def test_aborts_errors_and_deaths_never_break_the_limit(tmp_path: Path, hold: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    limit = 60 * (BODY * INPUT + TOKENS * OUTPUT) if hold == "worst" else 9_000_000
    async with stack(tmp_path, terms(hold, limit)) as proxy:
        without_vocabularies(proxy)
        # What is expected is learned from answers; these leave nothing to learn, nor to overrun.
        storm = Storm(proxy, seed, None if hold == "worst" else TOKENS)
        most: list[int] = []
        watcher = asyncio.create_task(storm.watch(limit, most))
        answers = dict(await asyncio.gather(*(storm.call(n) for n in range(CALLS))))
        await quiet(proxy)
        rows = len(await proxy.settled(CALLS - len(storm.left)))
        receipts = await balanced(proxy, rows)
        watcher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watcher

        by_user = {r.user: r for r in receipts}
        assert len(by_user) == rows
        seen = Counter(r.get("x-tag") for r in proxy.sim.requests)
        for tag, times in seen.items():  # what the provider saw has a row that says so
            assert by_user[tag].attempts == 1
            assert times <= 2  # once more on a fresh connection where the pooled one was stale
        for tag, answer in answers.items():
            if answer is not None:
                assert answer.status in (by_user[tag].status, 0)
        assert Counter(r.end for r in receipts).keys() == {
            "finished", "client_left", "upstream_died", "refused", "error",
        }  # fmt: skip
        spent = sum(r.cost or 0 for r in receipts)
        assert sums(proxy, "purse") == {"all": (spent, sums(proxy, "purse")["all"][1])}
        assert 0 < spent <= limit
        assert max(most) > limit - 2 * (BODY * INPUT + TOKENS * OUTPUT)  # it was a squeeze
        assert all(r.overrun == 0 for r in receipts)
        assert all(r.cost is not None for r in receipts)
        assert sum(a is not None and a.status == 402 for a in answers.values()) > 0
