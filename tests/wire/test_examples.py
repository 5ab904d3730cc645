"""Routing by example prompts over sockets: what is chosen, what is asked, what is booked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, flying, nothing_left, quiet

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  ant: {dialect: anthropic, base_url: "SIM", api_key: k2}
  vec: {dialect: openai, base_url: "SIM/v1", api_key: k3}
"""
YAML = """
models:
  auto:
    strategy: semantic
    cheap: one/mini
    strong: one/large
    models: [one/painter]
    threshold: 1
    examples:
      embeddings: vec/embed
      timeout: TIMEOUT
      threshold: 0.5
      nearest: 1
      routes:
        - {to: one/large, utterances: [prove the theorem about prime numbers, derive the integral]}
        - {to: one/mini, utterances: [say hello to my friend, translate this word]}
        - {to: one/painter, utterances: [paint a red horse on a hill]}
prices:
  one/*: {input: 1, output: 1}
  vec/*: {input: 1, output: 0}
budgets: [{name: all, limit: $100}]
""".replace("TIMEOUT", "10s")
PROOF = "prove a theorem about prime numbers"
OFF = "zebra quantum onions"


def text_of(answer: Answer) -> str:
    found: str = answer.json()["choices"][0]["message"]["content"]
    return found


async def ask(proxy: Stack, text: str, model: str = "auto", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
    return await proxy.post("/v1/chat/completions", {**body, **more})


def asked(proxy: Stack) -> list[str]:
    """The models that were asked, and how many texts the embedding ones had."""
    found = []
    for seen in proxy.sim.requests:
        body = json.loads(seen.body or b"{}")
        many = f" {len(body['input'])}" if isinstance(body.get("input"), list) else ""
        found.append(f"{body.get('model')}{many}")
    return found


async def test_a_prompt_goes_where_those_like_it_go(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, PROOF)
        assert asked(proxy) == ["embed 5", "embed 1", "large"]
        await ask(proxy, "say hello to a friend")
        await ask(proxy, "paint a blue horse on a hill")
        assert asked(proxy)[3:] == ["embed 1", "mini", "embed 1", "painter"]
        other = [{"role": "system", "content": "hi"}, {"role": "user", "content": PROOF}]
        await ask(proxy, "", messages=other)  # another conversation; the prompt's vector is known
        assert asked(proxy)[7:] == ["large"]
        assert proxy.runtime.metrics.examples == {"chosen": 4}
        page = (await proxy.get("/metrics")).body
        assert b'muxproxy_examples_total{outcome="chosen"} 4.0' in page
        receipts = await balanced(proxy, 8)
        examples, prompt, chat = sorted(receipts, key=lambda r: r.id)[:3]
        by_reason = {r.reason.split(",")[0].split(" of ")[0]: r for r in receipts}
        assert by_reason["embeds 5 examples"].cost and by_reason["embeds the prompt"].cost
        assert {examples.model, prompt.model, chat.model} == {"embed", "large"}
        mine = await proxy.receipt(answer)
        assert "examples: like one/large, similarity" in mine.reason
        assert sum(answer.headers["x-muxproxy-id"] in r.reason for r in receipts) == 2


async def test_what_is_like_nothing_is_for_the_classifier(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, OFF)
        assert asked(proxy) == ["embed 5", "embed 1", "mini"]
        reason = (await proxy.receipt(answer)).reason
        assert "< 0.5, so the classifier decided" in reason
        await balanced(proxy, 3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"messages": [{"role": "user", "content": PROOF}], "max_tokens": 9}),
        ("/v1/responses", {"input": PROOF, "max_output_tokens": 20}),
        (
            "/v1beta/models/auto:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": PROOF}]}]},
        ),
    ],
)
async def test_callers_of_other_dialects(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        named = {} if "/models/" in path else {"model": "auto"}
        answer = await proxy.post(path, {**named, **body})
        assert answer.status == 200
        assert asked(proxy) == ["embed 5", "embed 1", "large"]
        await balanced(proxy, 3)


async def test_a_restart_pays_for_nothing_again(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, PROOF)
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, PROOF)
        assert asked(proxy) == ["large"]
    path = tmp_path / "books.db.vectors"
    assert path.stat().st_mode & 0o077 == 0
    assert b"theorem" not in path.read_bytes()


async def test_a_reload_embeds_only_what_is_new(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, PROOF)
        file = tmp_path / "muxproxy.yaml"
        file.write_text(file.read_text().replace("translate this word", "cook a soup, fry an egg"))
        await proxy.runtime.reload()
        await ask(proxy, "cook the soup please", user="another")
        assert asked(proxy)[3:] == ["embed 2", "embed 1", "mini"]
        await balanced(proxy, 6)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"status": 500}, "status 500"),
    ({"status": 401}, "status 401"),
    ({"drop_after": 0}, ""),
    ({"body": '{"data": [{"embedding": "no"}]}'}, "malformed embeddings"),
    ({"body": '{"data": []}'}, "malformed embeddings"),
]


@pytest.mark.parametrize(("script", "why"), BROKEN)
async def test_embeddings_that_fail_leave_it_to_the_classifier(
    tmp_path: Path, script: dict[str, Any], why: str
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(script, model="embed", times=None)
        answer = await ask(proxy, PROOF)
        assert answer.status == 200 and asked(proxy)[-1] == "mini"
        reason = (await proxy.receipt(answer)).reason
        assert f"examples: {why}" in reason and "so the classifier decided" in reason
        assert proxy.runtime.metrics.examples["chosen"] == 0
        before = len(asked(proxy))
        await ask(proxy, OFF)  # not tried again at once
        assert asked(proxy)[before:] == ["mini"]
        await balanced(proxy, 3)


async def test_slow_ones_are_not_waited_for(tmp_path: Path) -> None:
    yaml = YAML.replace("timeout: 10s", "timeout: 400ms")
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        proxy.sim.script(ttft="1500ms", model="embed")
        answer = await ask(proxy, PROOF)
        assert "embeddings are slow" in (await proxy.receipt(answer)).reason
        assert asked(proxy) == ["embed 5", "mini"]
        await balanced(proxy, 2)  # the examples are embedded all the same, for those to come
        proxy.sim.script(ttft="30s", model="embed")
        answer = await ask(proxy, OFF)
        assert "embeddings are slow" in (await proxy.receipt(answer)).reason
        assert asked(proxy)[2:] == ["embed 1", "mini"]
        slow = [r for r in await balanced(proxy, 4) if r.reason.startswith("embeds the prompt")]
        assert len(slow) == 1 and slow[0].end == "error"


async def test_a_budget_that_refuses_leaves_it_to_the_classifier(tmp_path: Path) -> None:
    yaml = YAML.replace(
        "name: all, limit: $100", "name: few, limit: $0.0000001, when: {model: embed}"
    )
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        answer = await ask(proxy, PROOF)
        assert answer.status == 200 and asked(proxy) == ["mini"]
        assert "examples: budget_exceeded" in (await proxy.receipt(answer)).reason
        await balanced(proxy, 2)


async def test_a_caller_that_leaves_ends_its_embedding(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, PROOF)
        proxy.sim.script(ttft="30s", model="embed")
        body = {"model": "auto", "messages": [{"role": "user", "content": OFF}]}
        gone = await fetch(proxy.port, "/v1/chat/completions", body, leave_after=1.0)
        assert gone.status == 0
        await quiet(proxy)
        await flying(proxy, 0)
        assert asked(proxy)[3:] == ["embed 1"]
        receipts = await balanced(proxy, 5)
        assert [r.end for r in receipts].count("client_left") == 2


async def test_a_conversation_stays_and_is_not_embedded_again(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        first = {"role": "user", "content": PROOF}
        answer = await proxy.post(
            "/v1/chat/completions", {"model": "auto", "messages": [first], "max_tokens": 9}
        )
        turns = [
            first,
            {"role": "assistant", "content": text_of(answer)},
            {"role": "user", "content": "say hello to my friend"},
        ]
        body = {"model": "auto", "messages": turns, "max_tokens": 9}
        await proxy.post("/v1/chat/completions", body)
        assert asked(proxy) == ["embed 5", "embed 1", "large", "large"]
        await balanced(proxy, 4)


async def test_explain_asks_nobody(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        body = {"model": "auto", "messages": [{"role": "user", "content": PROOF}]}
        want = {"path": "/v1/chat/completions", "body": body}
        told = (await proxy.post("/v1/explain", want)).json()
        assert "a provider would be asked" in told["plan"]["reason"]
        assert asked(proxy) == []
        await ask(proxy, PROOF)
        told = (await proxy.post("/v1/explain", want)).json()
        assert "examples: like one/large" in told["plan"]["reason"]


async def test_a_provider_of_another_format_embeds_too(tmp_path: Path) -> None:
    yaml = YAML.replace("vec/embed", "gem/embed").replace("vec/*", "gem/*").replace("0.5", "0.2")
    gemini = PROVIDERS + '  gem: {dialect: gemini, base_url: "SIM", api_key: k4}\n'
    async with nothing_left(), stack(tmp_path, yaml, providers=gemini) as proxy:
        answer = await ask(proxy, PROOF)
        assert "examples: like one/large" in (await proxy.receipt(answer)).reason
        paths = [seen.path for seen in proxy.sim.requests]
        assert all("/models/embed:" in path for path in paths[:-1]) and len(paths) == 3
        await balanced(proxy, 3)


@pytest.mark.parametrize("provider", ["vec", "gem"])
async def test_as_many_dimensions_as_are_set_are_asked_for(tmp_path: Path, provider: str) -> None:
    gemini = PROVIDERS + '  gem: {dialect: gemini, base_url: "SIM", api_key: k4}\n'
    yaml = YAML.replace("vec/", f"{provider}/").replace("threshold: 0.5", "threshold: 0.2")
    short = yaml.replace("nearest: 1", "nearest: 1\n      dimensions: 16")
    async with nothing_left(), stack(tmp_path, short, providers=gemini) as proxy:
        await ask(proxy, PROOF)
        bodies = [json.loads(seen.body) for seen in proxy.sim.requests[:2]]
        if provider == "gem":
            bodies = [piece for body in bodies for piece in body.get("requests", [body])]
        name = "dimensions" if provider == "vec" else "outputDimensionality"
        assert bodies and all(body[name] == 16 for body in bodies)
        await balanced(proxy, 3)
    async with stack(tmp_path, yaml, providers=gemini) as proxy:  # vectors of one length only
        await ask(proxy, PROOF)
        assert len(proxy.sim.requests) == 3
        assert not any("imensionality" in str(seen.body) for seen in proxy.sim.requests)


async def test_vectors_of_another_length_are_of_no_use(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, PROOF)
        vector = {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}
        proxy.sim.script(body=json.dumps({"data": [vector]}), model="embed")
        answer = await ask(proxy, OFF)
        assert asked(proxy)[3:] == ["embed 1", "mini"]
        assert "so the classifier decided" in (await proxy.receipt(answer)).reason
        await balanced(proxy, 5)


async def test_whose_circuit_is_open_is_not_asked(tmp_path: Path) -> None:
    open_soon = PROVIDERS.replace("api_key: k3", "api_key: k3, breaker: {failures: 1}")
    async with nothing_left(), stack(tmp_path, YAML, providers=open_soon) as proxy:
        await ask(proxy, PROOF)
        proxy.sim.script(status=500, model="embed")
        await ask(proxy, OFF)
        answer = await ask(proxy, f"{OFF} again")
        assert "examples: circuit open" in (await proxy.receipt(answer)).reason
        assert asked(proxy)[3:] == ["embed 1", "mini", "mini"]
        await balanced(proxy, 6)


async def test_many_at_once_embed_the_examples_once(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await asyncio.gather(*(ask(proxy, f"{PROOF} {n}") for n in range(8)))
        assert asked(proxy).count("embed 5") == 1 and asked(proxy).count("large") == 8
        await balanced(proxy, 17)


async def test_prompts_are_bounded_in_the_file(tmp_path: Path) -> None:
    yaml = YAML.replace("nearest: 1", "nearest: 1\n      prompts: 4")
    async with nothing_left(), stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        for number in range(9):
            await ask(proxy, f"{PROOF} {number}")
    with sqlite3.connect(tmp_path / "books.db.vectors") as con:
        kept = dict(con.execute("SELECT prompt, count(*) FROM vectors GROUP BY prompt"))
    con.close()
    assert kept[0] == 5 and 1 <= kept[1] <= 4
