"""OpenAI chat completions, legacy completions, embeddings and model lists."""

import base64
import re
import struct
from random import Random
from typing import Any

from muxproxy.sim.answer import Answer, data, json_answer, stream_answer
from muxproxy.sim.ask import Ask
from muxproxy.sim.http import Headers
from muxproxy.sim.text import EPOCH, Call, Counts, Turn, digest

MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "claude-sonnet-4-5",
    "claude-3-5-haiku-latest",
    "gemini-2.5-flash",
    "mistral-small-latest",
    "text-embedding-3-small",
)
_FINISH = {"stop": "stop", "length": "length", "tool": "tool_calls"}
_DIMENSIONS = 32
_WORD = re.compile(r"\w+")
_PADDING = "abcdefghijklmnopqrstuvwxyz012345"


def usage(counts: Counts) -> dict[str, Any]:
    prompt = {"cached_tokens": counts.cached, "audio_tokens": 0}
    if counts.cache_write:
        prompt["cache_write_tokens"] = counts.cache_write
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_call(call: Call) -> dict[str, Any]:
    return {
        "id": f"call_{call.id}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _message(turn: Turn, pieces: list[str]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(pieces) if pieces or not turn.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if turn.thinking:
        message["reasoning_content"] = "".join(turn.thinking)
    if turn.calls:
        message["tool_calls"] = [_tool_call(call) for call in turn.calls]
    return message


def _chat_json(turn: Turn, headers: Headers) -> Answer:
    body: dict[str, Any] = {
        "id": f"chatcmpl-{turn.seed[:29]}",
        "object": "chat.completion",
        "created": turn.created,
        "model": turn.model,
        "choices": [
            {
                "index": index,
                "message": _message(turn, pieces),
                "logprobs": None,
                "finish_reason": _FINISH[turn.finish],
            }
            for index, pieces in enumerate(turn.choices)
        ],
        "usage": usage(turn.usage) if turn.usage else None,
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }
    if turn.usage is None:
        del body["usage"]
    return json_answer(body, headers)


def _deltas(turn: Turn, pieces: list[str]) -> list[dict[str, Any]]:
    first: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    if turn.calls and not pieces:
        first["content"] = None
    deltas = [first]
    deltas += [{"reasoning_content": piece} for piece in turn.thinking]
    deltas += [{"content": piece} for piece in pieces]
    for index, call in enumerate(turn.calls):
        opening = {
            "index": index,
            "id": f"call_{call.id}",
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        deltas.append({"tool_calls": [opening]})
        for piece in call.pieces:
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _interleaved(turn: Turn) -> list[tuple[int, dict[str, Any]]]:
    """The choices' deltas in turn, as a provider with n > 1 sends them."""
    columns = [_deltas(turn, pieces) for pieces in turn.choices]
    rows: list[tuple[int, dict[str, Any]]] = []
    for step in range(max(map(len, columns))):
        rows += [(i, column[step]) for i, column in enumerate(columns) if step < len(column)]
    return rows


def _chat_stream(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    wishes = ask.body.get("stream_options") or {}
    with_usage = bool(wishes.get("include_usage"))
    padded = wishes.get("include_obfuscation", True)
    base: dict[str, Any] = {
        "id": f"chatcmpl-{turn.seed[:29]}",
        "object": "chat.completion.chunk",
        "created": turn.created,
        "model": turn.model,
        "service_tier": "default",
        "system_fingerprint": "fp_sim",
    }
    last: dict[str, Any] = {"usage": None} if with_usage else {}
    pieces: list[bytes] = []

    def add(choices: list[dict[str, Any]], closing: dict[str, Any]) -> None:
        pad = {"obfuscation": _PADDING[: 5 + len(pieces) * 7 % 27]} if padded else {}
        pieces.append(data(base | {"choices": choices} | closing | pad))

    for index, delta in _interleaved(turn):
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        add([choice], last)
    for index in range(len(turn.choices)):
        finish = _FINISH[turn.finish]
        add([{"index": index, "delta": {}, "logprobs": None, "finish_reason": finish}], last)
    glued: frozenset[int] = frozenset()
    if with_usage and turn.usage is not None:
        glued = frozenset([len(pieces)])
        add([], {"usage": usage(turn.usage)})
    pieces.append(b"data: [DONE]\n\n")
    answer = stream_answer(pieces, headers)
    answer.glued = glued
    return answer


def chat(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    return _chat_stream(ask, turn, headers) if ask.stream else _chat_json(turn, headers)


def completions(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    base: dict[str, Any] = {
        "id": f"cmpl-{turn.seed[:29]}",
        "object": "text_completion",
        "created": turn.created,
        "model": turn.model,
    }
    finish = _FINISH[turn.finish]
    if not ask.stream:
        choices = [
            {"text": "".join(pieces), "index": i, "logprobs": None, "finish_reason": finish}
            for i, pieces in enumerate(turn.choices)
        ]
        counted = {"usage": usage(turn.usage)} if turn.usage else {}
        return json_answer(base | {"choices": choices} | counted, headers)
    with_usage = bool((ask.body.get("stream_options") or {}).get("include_usage"))
    last: dict[str, Any] = {"usage": None} if with_usage else {}
    rows = [
        (i, piece, finish if step == len(turn.pieces) - 1 else None)
        for step in range(len(turn.pieces))
        for i, column in enumerate(turn.choices)
        for piece in column[step : step + 1]
    ]
    pieces = [
        data(
            base
            | {"choices": [{"text": text, "index": i, "logprobs": None, "finish_reason": end}]}
            | last
        )
        for i, text, end in rows
    ]
    glued: frozenset[int] = frozenset()
    if with_usage and turn.usage is not None:
        glued = frozenset([len(pieces)])
        pieces.append(data(base | {"choices": [], "usage": usage(turn.usage)}))
    answer = stream_answer([*pieces, b"data: [DONE]\n\n"], headers)
    answer.glued = glued
    return answer


def vector(seed: str, dimensions: int) -> list[float]:
    """A unit vector that depends on `seed` only; values are exact in 32-bit floats."""
    random = Random(seed)
    raw = [random.uniform(-1, 1) for _ in range(dimensions)]
    norm = sum(value * value for value in raw) ** 0.5
    packed = struct.pack(f"<{dimensions}f", *(value / norm for value in raw))
    return list(struct.unpack(f"<{dimensions}f", packed))


def likeness(model: str, text: str, dimensions: int) -> list[float]:
    """A unit vector that is near to those of texts with the same words, in whatever order."""
    total = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        for at, value in enumerate(vector(digest(model, word), dimensions)):
            total[at] += value
    norm = sum(value * value for value in total) ** 0.5 or 1.0
    packed = struct.pack(f"<{dimensions}f", *(value / norm for value in total))
    return list(struct.unpack(f"<{dimensions}f", packed))


def embeddings(ask: Ask, counts: Counts | None, headers: Headers) -> Answer:
    given = ask.body.get("input", "")
    items = given if isinstance(given, list) else [given]
    if items and all(isinstance(item, int) for item in items):
        items = [items]  # one input, already tokens
    asked = ask.body.get("dimensions")
    dimensions = asked if isinstance(asked, int) and 0 < asked <= 8192 else _DIMENSIONS
    rows: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        found: list[float] | str = likeness(ask.model, str(item), dimensions)
        if ask.body.get("encoding_format") == "base64":
            found = base64.b64encode(struct.pack(f"<{dimensions}f", *found)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": found})
    body: dict[str, Any] = {"object": "list", "data": rows, "model": ask.model}
    if counts is not None:
        body["usage"] = {"prompt_tokens": counts.input, "total_tokens": counts.input}
    return json_answer(body, headers)


def _model(dialect: str, name: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2025-10-09T08:53:20Z",
        }
    if dialect == "gemini":
        return {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
    return {"id": name, "object": "model", "created": EPOCH, "owned_by": "muxproxy-sim"}


def models(ask: Ask, dialect: str, headers: Headers) -> Answer:
    """The list, or one model where the path names it, in the caller's dialect."""
    if ask.endpoint == "get":
        return json_answer(_model(dialect, ask.model), headers)
    rows = [_model(dialect, name) for name in MODELS]
    if dialect == "gemini":
        return json_answer({"models": rows}, headers)
    if dialect == "anthropic":
        ends = {"has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return json_answer({"data": rows} | ends, headers)
    return json_answer({"object": "list", "data": rows}, headers)
