"""What goes to a provider keeps the provider's rules: its SDK's own parameter types, and what its
API refuses besides them, whatever the caller said."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from anthropic.types import MessageCreateParams
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic.models import find
from muxproxy.dialects.quirks import BY_HOST
from muxproxy.errors import MuxError
from tests.dialects.asking import TOOLS, chat, message, to_anthropic, to_openai
from tests.dialects.test_recorded_requests import kept_there, read, recorded
from tests.wire_corpus import needs_wire

MESSAGES: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
CHAT: TypeAdapter[Any] = TypeAdapter(CompletionCreateParams)
CLAUDES = (
    "claude-3-5-haiku-latest",
    "claude-3-7-sonnet-latest",
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-4-8",
    "claude-sonnet-5-5",
    "kimi-k2",
)


def walk(value: Any) -> None:
    """pydantic checks an Iterable when it is iterated."""
    if isinstance(value, dict):
        for inner in value.values():
            walk(inner)
    elif isinstance(value, list | tuple) or hasattr(value, "__next__"):
        for inner in value:
            walk(inner)


def blocks_of(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_anthropic(body: dict[str, Any]) -> None:
    """platform.claude.com/docs/en/api/messages, and the 400s that its issues tell of."""
    sampling = {key: body[key] for key in ("temperature", "top_p", "top_k") if key in body}
    walk(MESSAGES.validate_python({k: v for k, v in body.items() if k not in sampling}))
    model = find(body["model"])
    assert 0 <= body.get("temperature", 0) <= 1
    if not model.sampling:
        assert not sampling
    thinking = body.get("thinking", {}).get("type")
    if thinking == "enabled":
        assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]
        assert model.budgets
        assert body.get("tool_choice", {}).get("type") not in {"any", "tool"}
        assert not sampling
    assert "tool_choice" not in body or body["tools"]
    roles = [m["role"] for m in body["messages"]]
    assert roles
    assert all(a != b for a, b in pairwise(roles))
    system = body.get("system", "x")
    assert all(block["text"].strip() for block in blocks_of(system))
    waiting: list[str] = []
    for at, said in enumerate(body["messages"]):
        blocks = blocks_of(said["content"])
        assert blocks
        assert all(b["text"].strip() for b in blocks if b["type"] == "text")
        results = [b for b in blocks if b["type"] == "tool_result"]
        assert blocks[: len(results)] == results
        if waiting:
            assert sorted(b["tool_use_id"] for b in results) == sorted(waiting)
        waiting = [b["id"] for b in blocks if b["type"] == "tool_use"]
        if said["role"] == "assistant" and at == len(roles) - 1 and blocks[-1]["type"] == "text":
            assert model.prefill
            assert blocks[-1]["text"] == blocks[-1]["text"].rstrip()


def check_openai(body: dict[str, Any]) -> None:
    """platform.openai.com/docs/api-reference/chat: a tool's message answers the call before it."""
    walk(CHAT.validate_python(body))
    waiting: list[str] = []
    for said in body["messages"]:
        if said["role"] == "tool":
            waiting.remove(said["tool_call_id"])
        else:
            assert not waiting
            waiting = [call["id"] for call in said.get("tool_calls") or ()]
        if said["role"] == "assistant":
            assert said.get("content") is not None or said.get("tool_calls") or said.get("refusal")
    assert len(body.get("stop", ())) <= 4
    assert len(body.get("safety_identifier", "")) <= 64


@needs_wire
def test_recorded_requests_keep_the_other_providers_types() -> None:
    seen = 0
    for exchange in recorded():
        if exchange.status >= 400 or kept_there(exchange):
            continue
        for model in CLAUDES:
            sampling = ("temperature", "top_p", "top_k")
            body = to_anthropic(read(exchange), model)
            walk(MESSAGES.validate_python({k: v for k, v in body.items() if k not in sampling}))
        for model in ("gpt-4o", "gpt-5.2"):
            walk(CHAT.validate_python(to_openai(read(exchange), model=model)))
        seen += 1
    assert seen > 700


texts = st.sampled_from(["", " ", "\n", "a", "b ", " c"])
kinds = st.sampled_from(["string", "list", "empty", "image"])


@st.composite
def contents(draw: st.DrawFn, images: bool = True) -> Any:
    kind = draw(kinds)
    if kind == "string":
        return draw(texts)
    if kind == "empty":
        return []
    parts: list[Any] = [{"type": "text", "text": draw(texts)}]
    parts += [{"type": "text", "text": draw(texts)} for _ in range(draw(st.integers(0, 1)))]
    if kind == "image" and images:
        parts.append({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}})
    return parts


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Legal at OpenAI, and as odd as clients are."""
    messages: list[Any] = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["system", "user", "assistant", "loop"]))
        if kind in {"system", "user"}:
            messages.append({"role": kind, "content": draw(contents(kind == "user"))})
        elif kind == "assistant":
            messages.append({"role": kind, "content": draw(texts)})
        else:
            ids = [f"c{number}.{at}" for at in range(draw(st.integers(1, 3)))]
            calls = [{"id": i, "function": {"name": "look", "arguments": "{}"}} for i in ids]
            said = {"role": "assistant", "content": draw(st.none() | texts), "tool_calls": calls}
            messages.append(said)
            messages += [
                {"role": "tool", "tool_call_id": i, "content": draw(contents())} for i in ids
            ]
    return messages


def _says(said: dict[str, Any]) -> bool:
    """Whether there is anything but white space."""
    content = said.get("content")
    told = content.strip() if isinstance(content, str) else content
    return bool(told) and (
        isinstance(told, str) or any(p["type"] != "text" or p["text"].strip() for p in told)
    )


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.sampled_from([[], TOOLS]),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "max_tokens": st.integers(1, 5000),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": texts | st.lists(texts, max_size=6),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "max"]),
        "response_format": st.sampled_from(
            [
                {"type": "json_object"},
                {
                    "type": "json_schema",
                    "json_schema": {"name": "f", "schema": {"type": "object", "properties": {}}},
                },
            ]
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(conversations(), OPTIONS, st.sampled_from(CLAUDES))
def test_whatever_an_openai_caller_says_is_legal_at_anthropic(
    messages: list[Any], options: dict[str, Any], model: str
) -> None:
    try:
        body = to_anthropic(chat(messages=messages, **options), model)
    except MuxError as error:
        assert error.message.startswith("messages: nobody says anything")
        spoken = [m for m in messages if m["role"] in {"user", "system"}]
        assert not any(_says(m) for m in spoken)
        return
    check_anthropic(body)


@settings(max_examples=150, deadline=None)
@given(conversations(), OPTIONS, st.sampled_from(["gpt-4o", "gpt-5.2", "o3"]))
def test_whatever_an_anthropic_caller_says_is_legal_at_openai(
    messages: list[Any], options: dict[str, Any], model: str
) -> None:
    try:
        theirs = to_anthropic(chat(messages=messages, **options), "claude-3-5-haiku-latest")
    except MuxError:
        return
    del theirs["model"]
    check_openai(to_openai(message(**theirs), model=model))


@settings(max_examples=100, deadline=None)
@given(conversations(), OPTIONS, st.sampled_from(sorted(BY_HOST)))
def test_no_provider_is_sent_what_it_refuses(
    messages: list[Any], options: dict[str, Any], host: str
) -> None:
    request = chat(messages=messages, **options, seed=1, logprobs=True, n=2, user="u")
    body = to_openai(request, host)
    refused = BY_HOST[host].refuses
    assert not refused & set(body)
    lost = {name for name in ("logprobs", "n", "seed") if name in refused}
    assert lost <= set(request.dropped)
    assert isinstance(request, n.Request)
