"""Budgets over many scopes at once, over a restart and over a change of the YAML."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Receipt
from tests.dialects.clients import Clients
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, sums, tokens_of, without_vocabularies
from tests.wire.test_budgets import (
    ASKS,
    CHAT,
    DEAR,
    IN,
    OUT,
    PATH,
    PRICES,
    PROVIDERS,
    USED,
    budget,
    spend,
    wire,
)

SCOPES = ("all", "key", "user", "team", "tag", "model", "provider", "rule", "run")


def _keys(receipt: Receipt) -> dict[str, list[str]]:
    """Under which scopes a row must have been counted."""
    return {
        "all": ["all"],
        "key": [receipt.caller],
        "user": [receipt.user or "anonymous"],
        "team": [receipt.team] if receipt.team else [],
        "tag": list(dict.fromkeys(receipt.tags)),
        "model": [f"{receipt.provider}/{receipt.model}"],
        "provider": [receipt.provider or ""],
        "rule": [receipt.rule] if receipt.rule else [],
        "run": [receipt.run] if receipt.run else [],
    }


async def test_all_scopes_at_once_agree_with_the_rows(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    limits = {"user": f"${DEAR * 9 / 1e9:.9f}", "run": "2k tokens"}
    budgets = "\n".join(
        f"  - {{name: by-{scope}, per: {scope}, limit: {limits.get(scope, '$100')}, window: month}}"
        for scope in SCOPES
    )
    yaml = f"""{PRICES}
auth: {{mode: keys, user_header: x-user}}
keys:
  - {{name: ann, value: key-ann, team: red, tags: [t1, t2]}}
  - {{name: bob, value: key-bob, team: blue}}
  - {{name: cid, value: key-cid, user: fixed}}
rules:
  - {{name: long, when: {{prompt_chars: "> 20"}}, tag: [long, t1], continue: true}}
  - {{name: short, when: {{prompt_chars: "<= 20"}}, tag: short, continue: true}}
budgets:
{budgets}
"""

    async def one(number: int) -> None:
        path, body = ASKS[chance.choice(list(ASKS))]
        body = dict(body)
        if "messages" in body:
            model = chance.choice(["dear", "cheap"])
            text = "Tell me a story" * chance.randint(1, 2)
            body |= {"model": model, "messages": [{"role": "user", "content": text}]}
        headers = {"authorization": f"Bearer key-{chance.choice(['ann', 'bob', 'cid'])}"}
        if chance.random() < 0.7:
            headers["x-user"] = f"u{chance.randint(0, 9)}"
        if chance.random() < 0.5:
            headers["x-muxproxy-run"] = f"r{chance.randint(0, 5)}"
        fate = chance.random()
        if fate < 0.2:
            headers["x-sim-status"] = "500"
        elif fate < 0.35:
            headers["x-sim-drop-after"] = chance.choice(["0", "1", "2"])
        headers["x-sim-tokens"] = str(chance.randint(1, 20))
        await asyncio.sleep(chance.random() * 0.1)
        await fetch(proxy.port, path, body, headers)

    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        without_vocabularies(proxy)
        await asyncio.gather(*(one(n) for n in range(400)))
        receipts = await balanced(proxy, 400)
        assert {r.status for r in receipts} >= {200, 402, 500, 502}
        for scope in SCOPES:
            wanted: dict[str, int] = defaultdict(int)
            for receipt in receipts:
                if receipt.attempts:
                    for key in _keys(receipt)[scope]:
                        wanted[key] += receipt.cost or 0
            found = {key: nano for key, (nano, _) in sums(proxy, f"by-{scope}").items() if nano}
            assert found == {key: nano for key, nano in wanted.items() if nano}, scope


async def test_tokens_of_the_rows_are_those_of_the_counters(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("1M tokens"), providers=PROVIDERS) as proxy:
        await fetch(proxy.port, PATH, CHAT, {"x-sim-drop-after": "0"})
        receipts = await balanced(proxy, 1)
        assert sums(proxy, "purse")["all"][1] == sum(map(tokens_of, receipts))


async def test_what_is_spent_survives_a_restart(tmp_path: Path) -> None:
    yaml = budget(f"${DEAR * 3 / 1e9:.9f}", per="user")
    for statuses in ([200, 200], [200, 402], [402]):
        async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
            answers = await spend(proxy, len(statuses), user="ann")
            assert [a.status for a in answers] == statuses
            (other,) = await spend(proxy, 1, user=f"other {len(statuses)} {statuses[0]}")
            assert other.status == 200


async def _change(proxy: Stack, old: str, new: str) -> None:
    path = proxy.state.parent / "muxproxy.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    await proxy.runtime.reload()


async def test_a_changed_limit_keeps_what_is_spent(tmp_path: Path) -> None:
    two, three, few = (f"${n * DEAR / 1e9:.9f}" for n in (2, 3, 0.5))
    yaml = budget(two)
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        assert [a.status for a in await spend(proxy, 3)] == [200, 200, 402]
        await _change(proxy, two, three)
        assert [a.status for a in await spend(proxy, 2)] == [200, 402]
        await _change(proxy, three, few)
        (refused,) = await spend(proxy)
        assert refused.json()["error"]["spent"] == 3 * DEAR / 1e9
        await _change(proxy, "name: purse", "name: another")
        assert [a.status for a in await spend(proxy, 1)] == [402]  # its own count; too small
        await _change(proxy, "name: another", "name: purse")
        await _change(proxy, few, f"{(IN + OUT) * 4} tokens")  # tokens were counted all along
        assert [a.status for a in await spend(proxy, 2)] == [200, 402]
        await balanced(proxy, 9)


async def test_a_call_that_runs_over_a_reload_is_settled_where_it_was_held(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("$1"), providers=PROVIDERS) as proxy:
        slow = [{**USED, "x-sim-lockstep": name} for name in "ab"]
        calls = [asyncio.create_task(fetch(proxy.port, PATH, wire(CHAT), h)) for h in slow]
        await proxy.sim.until(lambda sim: len(sim.requests) == 2)
        await _change(proxy, "limit: $1", "limit: $2")
        (row,) = (await proxy.get("/v1/analytics/budgets")).json()["budgets"]
        assert (row["limit"], row["held"]) == (2, 2 * DEAR / 1e9)
        await _change(
            proxy, "window: month", "window: day"
        )  # other windows: what is held stays behind
        for name in "ab":
            proxy.sim.ack(name, 99)
        assert [a.status for a in await asyncio.gather(*calls)] == [200, 200]
        await proxy.settled(2)
        assert sums(proxy, "purse")["all"][0] == 2 * DEAR
        assert not proxy.runtime.proxy.budgets.open


STOPPED: dict[str, tuple[str, dict[str, Any], list[bytes]]] = {
    "chat": (PATH, {**CHAT, "stream": True}, [b'"finish_reason":"length"', b"data: [DONE]"]),
    "responses": (
        "/v1/responses",
        {**ASKS["responses"][1], "stream": True},
        [b"response.incomplete", b"max_output_tokens"],
    ),
    "anthropic": (
        "/v1/messages",
        {**CHAT, "stream": True},
        [b'"stop_reason":"max_tokens"', b"message_stop"],
    ),
    "gemini": (
        "/v1beta/models/dear:streamGenerateContent?alt=sse",
        ASKS["gemini"][1],
        [b'"finishReason":"MAX_TOKENS"'],
    ),
}


@pytest.mark.parametrize("kind", STOPPED)
async def test_stop_stream_ends_a_stream_at_the_limit(tmp_path: Path, kind: str) -> None:
    """The provider goes on beyond max_tokens; the budget does not."""
    path, body, endings = STOPPED[kind]
    async with stack(tmp_path, budget("$0.0012", stop_stream="true"), providers=PROVIDERS) as proxy:
        answer = await fetch(proxy.port, path, body, {"x-sim-tokens": "4000", "x-sim-pace": "1ms"})
        assert answer.status == 200
        assert not answer.broken
        (receipt,) = await balanced(proxy, 1)
        assert receipt.usage is not None and receipt.usage.output_total < 100
        tail = answer.body[-2000:].replace(b": ", b":")
        assert [end for end in endings if end.replace(b": ", b":") not in tail] == []
        assert proxy.sim.requests[0].closed_early


@pytest.mark.parametrize("kind", STOPPED)
async def test_a_stopped_stream_is_whole_to_its_sdk(tmp_path: Path, kind: str) -> None:
    path, body, _ = STOPPED[kind]
    async with stack(tmp_path, budget("$0.0012", stop_stream="true"), providers=PROVIDERS) as proxy:
        fast = {"x-sim-tokens": "4000", "x-sim-pace": "1ms"}
        answer = await fetch(proxy.port, path, body, fast)
    clients = Clients()
    if kind == "chat":
        choice = clients.completion_stream(answer.body).choices[0]
        assert (choice.finish_reason, bool(choice.message.content)) == ("length", True)
    elif kind == "responses":
        response = clients.response_stream(answer.body)
        assert response.status == "incomplete" and response.output_text
    elif kind == "anthropic":
        message = clients.message_stream(answer.body)
        assert message.stop_reason == "max_tokens" and message.content[0].text
    else:
        chunks = clients.generated_stream(answer.body)
        assert chunks[-1].candidates[0].finish_reason == "MAX_TOKENS"
        assert "".join(chunk.text or "" for chunk in chunks)


@pytest.mark.parametrize("provider", ["anthropic", "google"])
async def test_a_translated_stream_is_stopped_too(tmp_path: Path, provider: str) -> None:
    yaml = budget("$0.0012", stop_stream="true")
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        body = {**CHAT, "model": f"{provider}/dear", "stream": True}
        answer = await fetch(proxy.port, PATH, body, {"x-sim-tokens": "4000", "x-sim-pace": "1ms"})
        (receipt,) = await balanced(proxy, 1)
        assert "stop_stream" in receipt.edits
        assert receipt.usage is not None and receipt.usage.output_total < 100
    choice = Clients().completion_stream(answer.body).choices[0]
    assert (choice.finish_reason, bool(choice.message.content)) == ("length", True)


async def test_a_stopped_stream_tells_the_usage_that_is_booked(tmp_path: Path) -> None:
    yaml = budget("$0.0012", stop_stream="true")
    fast = {"x-sim-tokens": "4000", "x-sim-pace": "1ms"}
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        chat = await fetch(proxy.port, PATH, body, fast)
        (receipt,) = await balanced(proxy, 1)
        told = Clients().completion_stream(chat.body).usage
        assert told is not None and receipt.usage is not None
        assert told.completion_tokens == receipt.usage.output_total
        assert receipt.end == "finished" and receipt.usage_source == "counted"
    other = tmp_path / "other"
    other.mkdir()
    async with stack(other, yaml, providers=PROVIDERS) as proxy:
        path, body, _ = STOPPED["anthropic"]
        answer = await fetch(proxy.port, path, body, fast)
        (receipt,) = await balanced(proxy, 1)
        usage = Clients().message_stream(answer.body).usage
        assert receipt.usage is not None
        assert usage.output_tokens == receipt.usage.output_total
