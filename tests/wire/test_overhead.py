"""`x-muxproxy-overhead-ms` is what muxproxy took, whatever was waited for meanwhile.

No clock decides: what a provider was scripted to take is taken off what the client measured.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire import hedged
from tests.wire.balance import balanced, fetch

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2}
"""
YAML = """
models:
  pair: [one/a, two/b]
  cascade: {strategy: cascade, cheap: one/a, strong: two/b, judge: one/rater}
  like:
    strategy: semantic
    cheap: one/a
    strong: two/b
    examples: {embeddings: one/embed, timeout: 10s, routes: [{to: two/b, utterances: [hi]}]}
prices: {"*": {input: 1, output: 1}}
"""
WAIT = 0.4  # seconds


async def timed(proxy: Stack, model: str) -> tuple[Answer, float]:
    """The answer, and the milliseconds until it was there whole."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    began = time.perf_counter()
    answer = await fetch(proxy.port, "/v1/chat/completions", body)
    return answer, (time.perf_counter() - began) * 1000


def at_most(answer: Answer, milliseconds: float) -> None:
    assert answer.status == 200
    assert 0 <= float(answer.headers["x-muxproxy-overhead-ms"]) <= milliseconds


async def test_an_attempt_that_failed_late(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(model="a", status=503, ttft=f"{WAIT}s")
        answer, took = await timed(proxy, "pair")
        assert answer.headers["x-muxproxy-attempts"] == "2 (one/a: 503)"
        at_most(answer, took - WAIT * 1000)
        (receipt,) = await balanced(proxy, 1)
        assert receipt.overhead_us / 1000 <= took - WAIT * 1000


async def test_an_attempt_that_broke_off_late(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(model="a", reset_after=0, ttft=f"{WAIT}s")
        answer, took = await timed(proxy, "pair")
        assert answer.headers["x-muxproxy-attempts"].startswith("2 (one/a: ")
        at_most(answer, took - WAIT * 1000)


async def test_an_attempt_that_was_outrun(tmp_path: Path) -> None:
    yaml = hedged.yaml(hedge=f"{{after: {WAIT}s}}")
    async with stack(tmp_path, yaml, providers=hedged.providers()) as proxy:
        proxy.sim.script(model="a", ttft=hedged.SLOW)
        answer, took = await timed(proxy, "pair")
        assert answer.headers["x-muxproxy-attempts"] == "2 (first/a: outrun)"
        at_most(answer, took - WAIT * 1000)


async def test_an_answer_that_fell_short_and_its_judge(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(model="a", ttft=f"{WAIT}s", text="It may be Paris.")
        proxy.sim.script(model="rater", ttft=f"{WAIT}s", text="1")
        proxy.sim.script(model="rater", text="10")
        answer, took = await timed(proxy, "cascade")
        assert "strong: asked" in answer.headers["x-muxproxy-cascade"]
        at_most(answer, took - 2 * WAIT * 1000)


async def test_an_embedding_of_the_prompt(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(model="embed", ttft=f"{WAIT}s")
        answer, took = await timed(proxy, "like")
        assert "examples: like two/b" in (await proxy.receipt(answer)).reason
        at_most(answer, took - WAIT * 1000)
