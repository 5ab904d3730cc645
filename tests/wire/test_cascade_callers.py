"""Cascades for callers of every dialect, over steps of any: answers, headers and books."""

from __future__ import annotations

import asyncio
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Receipt
from tests.http_client import Answer, call, encode, head, read_head
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, nothing_left, sums, tokens_of

YAML = """
models:
  oa: {strategy: cascade, cheap: openai/mini, strong: openai/large}
  ao: {strategy: cascade, cheap: anthropic/mini, strong: openai/large}
  ga: {strategy: cascade, cheap: google/mini, strong: anthropic/large}
  og: {strategy: cascade, cheap: openai/mini, strong: google/large}
  twice: {strategy: cascade, cheap: openai/mini, strong: google/large, agree: anthropic/second}
  rated: {strategy: cascade, cheap: google/mini, strong: openai/large, judge: anthropic/rater}
prices:
  "*/large": {input: 100, output: 100}
  "*/*": {input: 1, output: 1}
budgets: [{name: all, limit: $100}]
"""
SORRY = "I'm sorry, but I cannot help with that."
QUESTION = "What is the capital of France?"
CALLERS = ("openai", "responses", "anthropic", "gemini")
NAMES = {
    "oa": ("openai", "openai"),
    "ao": ("anthropic", "openai"),
    "ga": ("google", "anthropic"),
    "og": ("openai", "google"),
}


def request(caller: str, alias: str, stream: bool, **more: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": QUESTION}]
    if caller == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
        return f"/v1beta/models/{alias}:{verb}", {
            **body,
            "generationConfig": {"maxOutputTokens": 50},
            **more,
        }
    body = {"model": alias, "stream": stream, **more}
    if caller == "responses":
        return "/v1/responses", {**body, "input": QUESTION, "max_output_tokens": 50}
    path = "/v1/messages" if caller == "anthropic" else "/v1/chat/completions"
    return path, {**body, "messages": messages, "max_tokens": 50}


async def ask(proxy: Stack, caller: str, alias: str, stream: bool, **more: Any) -> Answer:
    path, body = request(caller, alias, stream, **more)
    answer = await proxy.post(path, body)
    kind = "text/event-stream" if stream else "application/json"
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith(kind)
    return answer


def text(caller: str, answer: Answer, stream: bool) -> str:
    """What the caller reads, in its own dialect and to its own end."""
    if not stream:
        body = answer.json()
        if caller == "openai":
            return str(body["choices"][0]["message"]["content"])
        if caller == "anthropic":
            return str(body["content"][0]["text"])
        if caller == "gemini":
            return str(body["candidates"][0]["content"]["parts"][0]["text"])
        assert body["status"] == "completed"
        return str(body["output"][-1]["content"][0]["text"])
    lines = [line[5:].strip() for line in answer.body.decode().splitlines() if line[:5] == "data:"]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    found = ""
    if caller == "openai":
        assert lines[-1] == "[DONE]"
        for event in events:
            for choice in event["choices"]:
                found += choice["delta"].get("content") or ""
    elif caller == "anthropic":
        assert events[-1]["type"] == "message_stop"
        for event in events:
            found += event.get("delta", {}).get("text", "")
    elif caller == "gemini":
        assert events[-1]["candidates"][0]["finishReason"] == "STOP"
        for event in events:
            for part in event["candidates"][0].get("content", {}).get("parts", ()):
                found += part.get("text", "")
    else:
        assert events[-1]["type"] == "response.completed"
        for event in events:
            found += event["delta"] if event["type"] == "response.output_text.delta" else ""
    return found


async def booked(proxy: Stack, rows: int) -> list[Receipt]:
    """The books balance, and the budget has what the rows say."""
    receipts = await balanced(proxy, rows)
    cost = sum(receipt.cost or 0 for receipt in receipts)
    assert sums(proxy, "all").get("all", (0, 0))[0] == cost
    assert sums(proxy, "all").get("all", (0, 0))[1] == sum(map(tokens_of, receipts))
    return receipts


every = pytest.mark.parametrize(
    ("caller", "alias", "stream"),
    [
        pytest.param(c, a, s, id=f"{c}-{a}-{'stream' if s else 'json'}")
        for c, a, s in product(CALLERS, NAMES, (False, True))
    ],
)


@every
async def test_a_bad_answer_goes_on_to_the_strong_model(
    tmp_path: Path, caller: str, alias: str, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(text=SORRY, path="mini" if NAMES[alias][0] == "google" else None)
        proxy.sim.script(text="Paris it is.")
        answer = await ask(proxy, caller, alias, stream)
        assert text(caller, answer, stream) == "Paris it is."
        cheap, strong = NAMES[alias]
        told = answer.headers["x-muxproxy-cascade"]
        assert told == f"{cheap}/mini: refusal, strong: asked"
        assert answer.headers["x-muxproxy-model"] == "large"
        first, second = await booked(proxy, 2)
        assert [(r.provider, r.model) for r in (first, second)] == [
            (cheap, "mini"),
            (strong, "large"),
        ]
        assert first.cost and second.cost and first.end == second.end == "finished"
        assert {first.dialect, second.dialect} == {caller}
        assert format(second.id, "016x") == answer.headers["x-muxproxy-id"]


@every
async def test_a_good_answer_goes_out_as_it_came(
    tmp_path: Path, caller: str, alias: str, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(text="Paris.")
        answer = await ask(proxy, caller, alias, stream)
        assert text(caller, answer, stream) == "Paris."
        assert answer.headers["x-muxproxy-cascade"] == f"{NAMES[alias][0]}/mini: kept"
        (receipt,) = await booked(proxy, 1)
        assert (receipt.provider, receipt.status) == (NAMES[alias][0], 200)
        if not stream:
            (step,) = answer.json()["router_metadata"]["cascade"]["steps"]
            assert (step["verdict"], step["cost"]) == ("kept", (receipt.cost or 0) / 1e9)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("other", "asked"), [("It is Paris", 3), ("Paris", 2)])
async def test_a_second_opinion_in_another_dialect(
    tmp_path: Path, caller: str, stream: bool, other: str, asked: int
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(text="Paris.")
        proxy.sim.script(text=other)
        proxy.sim.script(text="Strong.")
        answer = await ask(proxy, caller, "twice", stream)
        assert text(caller, answer, stream) == ("Paris." if asked == 2 else "Strong.")
        verdict = "agrees" if asked == 2 else "disagrees"
        told = answer.headers["x-muxproxy-cascade"]
        first = "kept" if asked == 2 else "disagrees"
        assert told.startswith(f"openai/mini: {first}, anthropic/second: {verdict}")
        rows = await booked(proxy, asked)
        assert [row.provider for row in rows] == ["openai", "anthropic", "google"][:asked]
        assert all(row.cost for row in rows)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("rating", "asked"), [("8", 2), ("1", 3)])
async def test_a_model_judges_whatever_the_dialect(
    tmp_path: Path, caller: str, stream: bool, rating: str, asked: int
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(text="Lyon.")
        proxy.sim.script(text=rating)
        proxy.sim.script(text="Paris.")
        answer = await ask(proxy, caller, "rated", stream)
        assert text(caller, answer, stream) == ("Lyon." if asked == 2 else "Paris.")
        shown = json.loads(proxy.sim.requests[1].body or b"")
        assert proxy.sim.requests[1].target == "/v1/messages"
        prompt = shown["messages"][0]["content"]
        prompt = prompt if isinstance(prompt, str) else prompt[0]["text"]
        assert prompt == f"QUESTION:\n{QUESTION}\n\nANSWER:\nLyon."
        rows = {row.model: row for row in await booked(proxy, asked)}
        assert rows["rater"].provider == "anthropic" and rows["rater"].cost
        assert "judges a step of" in rows["rater"].reason


# -- probabilities ---------------------------------------------------------------------------


def unsure(logprob: float, stream: bool) -> dict[str, Any]:
    """A sim script of an answer with a probability for each token."""
    tokens = [{"token": t, "logprob": logprob, "bytes": None, "top_logprobs": []} for t in "Ly"]
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    head = {"id": "c", "created": 1, "model": "mini"}
    if not stream:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "Lyon."},
            "logprobs": {"content": tokens},
            "finish_reason": "stop",
        }
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return {"body": body, "headers": [("content-type", "application/json")]}
    chunk = {**head, "object": "chat.completion.chunk"}
    delta = {"index": 0, "delta": {"content": "Lyon."}, "logprobs": {"content": tokens}}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    events = [{**chunk, "choices": [delta]}, {**chunk, "choices": [last], "usage": usage}]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return {"body": text, "headers": [("content-type", "text/event-stream")]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("logprob", "config", "asked"),
    [
        (-0.1, {}, 1),  # 90 %
        (-1.2, {}, 2),  # 30 %
        (-0.4, {}, 1),  # 67 %
        (-0.4, {"quality_threshold": 0.8}, 2),  # asks for 84 %
        (-0.4, {"confidence_threshold": 0.7}, 2),
        (-1.2, {"cascade_type": "cost_optimized", "quality_threshold": 0.1}, 1),  # for 28 %
    ],
)
async def test_who_was_guessing_is_not_believed(
    tmp_path: Path, logprob: float, config: dict[str, Any], asked: int, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(unsure(logprob, stream))
        proxy.sim.script(text="Paris.")
        path, body = request("openai", "oa", stream, logprobs=True)
        if config:
            path, body = f"{path}/enhanced", {**body, "cascade_config": config}
        answer = await proxy.post(path, body)
        assert answer.status == 200, answer.body
        told = answer.headers["x-muxproxy-cascade"]
        assert ("unsure (" in told) == (asked == 2), told
        assert text("openai", answer, stream) == ("Lyon." if asked == 1 else "Paris.")
        await booked(proxy, asked)


# -- tools -----------------------------------------------------------------------------------

SCHEMA = {"type": "object", "required": ["never_there"], "properties": {}}
TOOLS: dict[str, dict[str, Any]] = {
    "openai": {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
    "responses": {"type": "function", "name": "look", "parameters": SCHEMA},
    "anthropic": {"name": "look", "input_schema": SCHEMA},
    "gemini": {"functionDeclarations": [{"name": "look", "parametersJsonSchema": SCHEMA}]},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("alias", NAMES)
@pytest.mark.parametrize("caller", CALLERS)
async def test_a_tool_call_that_does_not_validate_goes_on(
    tmp_path: Path, caller: str, alias: str, stream: bool
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        proxy.sim.script(tools=1)
        proxy.sim.script(text="Strong.")
        answer = await ask(proxy, caller, alias, stream, tools=[TOOLS[caller]])
        assert text(caller, answer, stream) == "Strong."
        assert "does not fit its schema" in answer.headers["x-muxproxy-cascade"]
        await booked(proxy, 2)


# -- leaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("alias", "at"), [("ao", 1), ("ao", 2), ("twice", 2), ("rated", 2)])
@pytest.mark.parametrize("how", [{"ttft": "60s"}, {"hang_after": 1}])
async def test_a_caller_that_leaves_stops_whichever_step(
    tmp_path: Path, caller: str, stream: bool, alias: str, at: int, how: dict[str, Any]
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        for _ in range(at - 1):
            proxy.sim.script(text=SORRY if alias == "ao" else "Paris.")
        proxy.sim.script(how, text="Something longer than one piece of text, for sure.")
        path, body = request(caller, alias, stream)
        task = asyncio.create_task(call(proxy.port, "POST", path, body))
        await proxy.sim.until(lambda sim: len(sim.requests) == at)
        await proxy.sim.until(lambda sim: sim.requests[-1].target != "")
        task.cancel()
        rows = await booked(proxy, at)
        assert len(proxy.sim.requests) == at
        left = next(row for row in rows if row.end == "client_left")
        assert left.cost  # what it had cost, or may have
        assert "large" not in {row.model for row in rows} or alias == "ao"


@pytest.mark.parametrize(("alias", "at"), [("ao", 1), ("ao", 2), ("twice", 2), ("rated", 2)])
@pytest.mark.parametrize("how", [{"ttft": "60s"}, {"hang_after": 1}])
@pytest.mark.parametrize("caller", ["openai", "anthropic"])
async def test_who_is_waiting_when_we_stop_is_told(
    tmp_path: Path, caller: str, alias: str, at: int, how: dict[str, Any]
) -> None:
    async with nothing_left(), stack(tmp_path, YAML) as proxy:
        for _ in range(at - 1):
            proxy.sim.script(text=SORRY if alias == "ao" else "Paris.")
        proxy.sim.script(how, text="Something longer than one piece of text, for sure.")
        task = asyncio.create_task(call(proxy.port, "POST", *request(caller, alias, False)))
        await proxy.sim.until(lambda sim: len(sim.requests) == at)
        if "hang_after" in how:
            await asyncio.sleep(0.02)
        await proxy.runtime.in_flight.cancel_all()
        answer = await task
        assert (answer.status, code_in(answer.json(), caller)) == (503, "shutting_down")
        rows = await booked(proxy, at)
        assert [row.end for row in rows].count("error") == 1 + (alias == "rated")


EARLY = (
    "\n".join(
        f"  {name}: {{strategy: cascade, cheap: {cheap}/mini, strong: openai/large, hold: 60}}"
        for name, cheap in (("eo", "openai"), ("ea", "anthropic"), ("eg", "google"))
    )
    + "\n"
)


@pytest.mark.parametrize("alias", ["eo", "ea", "eg"])
@pytest.mark.parametrize("caller", CALLERS)
async def test_a_stream_flows_before_its_end_once_its_beginning_is_good(
    tmp_path: Path, caller: str, alias: str
) -> None:
    yaml = YAML.replace("models:\n", f"models:\n{EARLY}")
    async with nothing_left(), stack(tmp_path, yaml) as proxy:
        proxy.sim.script(text="word " * 40, hang_after=35)
        path, body = request(caller, alias, True)
        data = encode(body)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        sent = {"content-type": "application/json"}
        writer.write(head("POST", path, sent, len(data), "127.0.0.1") + data)
        status, fields = await read_head(reader)  # while the provider says no more
        assert status == 200
        assert dict(fields)["x-muxproxy-cascade"] == "kept by its beginning"
        begun = await reader.read(100_000)
        assert b"word" in begun
        writer.close()
        (row,) = await booked(proxy, 1)
        assert (row.end, row.model) == ("client_left", "mini") and row.cost
