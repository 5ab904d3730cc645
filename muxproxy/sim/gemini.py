"""Gemini: generateContent, streamGenerateContent (SSE with CRLF, or one JSON array), countTokens
and embedContent."""

from typing import Any

import orjson

from muxproxy.sim.answer import Answer, json_answer, stream_answer
from muxproxy.sim.ask import Ask
from muxproxy.sim.http import Headers
from muxproxy.sim.openai import vector
from muxproxy.sim.text import Counts, Turn, digest

JSON = b"application/json; charset=UTF-8"
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}
_DIMENSIONS = 32


def usage(counts: Counts, answer: int, thoughts: int) -> dict[str, Any]:
    """`usageMetadata` after `answer` and `thoughts` tokens: the answer's exclude the thoughts."""
    found: dict[str, Any] = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": answer,
        "totalTokenCount": counts.input + answer + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counts.input}],
    }
    if counts.cached:
        found["cachedContentTokenCount"] = counts.cached
    if thoughts:
        found["thoughtsTokenCount"] = thoughts
    return found


def _function_calls(turn: Turn) -> list[dict[str, Any]]:
    return [
        {"functionCall": {"name": call.name, "args": orjson.loads(call.arguments)}}
        for call in turn.calls
    ]


def _chunk(turn: Turn, candidates: list[dict[str, Any]], spent: tuple[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"candidates": candidates}
    if turn.usage is not None:
        found["usageMetadata"] = usage(turn.usage, *spent)
    return found | {"modelVersion": turn.model, "responseId": turn.seed[:22]}


def _candidate(parts: list[dict[str, Any]], index: int, finish: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish:
        found["finishReason"] = finish
    return found | {"index": index}


def _whole(turn: Turn) -> dict[str, Any]:
    candidates = []
    for index, pieces in enumerate(turn.choices):
        parts: list[dict[str, Any]] = []
        if turn.thinking:
            parts.append({"text": "".join(turn.thinking), "thought": True})
        if pieces or not turn.calls:
            parts.append({"text": "".join(pieces)})
        parts += _function_calls(turn)
        candidates.append(_candidate(parts, index, _FINISH[turn.finish]))
    counts = turn.usage
    spent = (counts.output - counts.reasoning, counts.reasoning) if counts else (0, 0)
    return _chunk(turn, candidates, spent)


def _chunks(turn: Turn) -> list[dict[str, Any]]:
    """One chunk per thought, word (of every candidate) and, at the end, for the calls."""
    counts = turn.usage
    whole = (counts.output - counts.reasoning, counts.reasoning) if counts else (0, 0)
    chunks: list[dict[str, Any]] = []
    for done, piece in enumerate(turn.thinking, 1):
        part = {"text": piece, "thought": True}
        spent = (0, min(done, whole[1]))
        chunks.append(_chunk(turn, [_candidate([part], 0, None)], spent))
    for step in range(len(turn.pieces)):
        rows = [
            _candidate([{"text": column[step]}], index, None)
            for index, column in enumerate(turn.choices)
            if step < len(column)
        ]
        spent = (min((step + 1) * len(turn.choices), whole[0]), whole[1])
        chunks.append(_chunk(turn, rows, spent))
    finish = _FINISH[turn.finish]
    last = _function_calls(turn) or [{"text": ""}]
    rows = [_candidate(last, index, finish) for index in range(len(turn.choices))]
    chunks.append(_chunk(turn, rows, whole))
    return chunks


def generate(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    if not ask.stream:
        return json_answer(_whole(turn), headers, JSON)
    chunks = _chunks(turn)
    if ask.sse:
        pieces = [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in chunks]
        return stream_answer(pieces, headers, b"text/event-stream")
    bodies = [orjson.dumps(chunk, option=orjson.OPT_INDENT_2) for chunk in chunks]
    pieces = [(b"\n,\r\n" if i else b"[") + body for i, body in enumerate(bodies)]
    pieces[-1] += b"\n]"
    return stream_answer(pieces, headers, JSON)


def count_tokens(counts: Counts | None, headers: Headers) -> Answer:
    total = counts.input if counts else 0
    details = [{"modality": "TEXT", "tokenCount": total}]
    return json_answer({"totalTokens": total, "promptTokensDetails": details}, headers, JSON)


def _embedding(model: str, content: Any) -> dict[str, Any]:
    return {"values": vector(digest(model, str(content)), _DIMENSIONS)}


def embed(ask: Ask, headers: Headers) -> Answer:
    if ask.endpoint == "embed_batch":
        requests = ask.body.get("requests") or []
        found = [_embedding(ask.model, r.get("content")) for r in requests if isinstance(r, dict)]
        return json_answer({"embeddings": found}, headers, JSON)
    body = {"embedding": _embedding(ask.model, ask.body.get("content"))}
    return json_answer(body, headers, JSON)
