"""Cohere v2 chat and Ollama's native chat: small, for proxies that pass any path through."""

from typing import Any

import orjson

from muxproxy.sim.answer import Answer, event, json_answer, stream_answer
from muxproxy.sim.ask import Ask
from muxproxy.sim.http import Headers
from muxproxy.sim.text import Counts, Turn

_COHERE_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool": "TOOL_CALL"}
_OLLAMA_FINISH = {"stop": "stop", "length": "length", "tool": "stop"}
_WHEN = "2025-10-09T08:53:20.000000Z"


def _cohere_usage(counts: Counts) -> dict[str, Any]:
    tokens = {"input_tokens": counts.input, "output_tokens": counts.output}
    return {"billed_units": tokens, "tokens": tokens, "cached_tokens": counts.cached}


def cohere(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in turn.calls
    ]
    finish = _COHERE_FINISH[turn.finish]
    counted = {"usage": _cohere_usage(turn.usage)} if turn.usage else {}
    if not ask.stream:
        message: dict[str, Any] = {"role": "assistant"}
        if turn.pieces:
            message["content"] = [{"type": "text", "text": turn.text}]
        if calls:
            message["tool_calls"] = calls
        body = {"id": turn.seed[:32], "message": message, "finish_reason": finish}
        return json_answer(body | counted, headers)
    pieces: list[bytes] = []

    def add(kind: str, **fields: Any) -> None:
        pieces.append(event(kind, {"type": kind} | fields))

    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    add("message-start", id=turn.seed[:32], delta={"message": empty})
    if turn.pieces:
        opening = {"message": {"content": {"type": "text", "text": ""}}}
        add("content-start", index=0, delta=opening)
        for piece in turn.pieces:
            add("content-delta", index=0, delta={"message": {"content": {"text": piece}}})
        add("content-end", index=0)
    for index, (call, whole) in enumerate(zip(turn.calls, calls, strict=True)):
        start = whole | {"function": {"name": call.name, "arguments": ""}}
        add("tool-call-start", index=index, delta={"message": {"tool_calls": start}})
        for piece in call.pieces:
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            add("tool-call-delta", index=index, delta=delta)
        add("tool-call-end", index=index)
    add("message-end", delta={"finish_reason": finish} | counted)
    return stream_answer([*pieces, b"data: [DONE]\n\n"], headers, b"text/event-stream")


def ollama(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    base: dict[str, Any] = {"model": turn.model, "created_at": _WHEN}
    calls = [
        {"function": {"name": call.name, "arguments": orjson.loads(call.arguments)}}
        for call in turn.calls
    ]
    end: dict[str, Any] = {"done": True, "done_reason": _OLLAMA_FINISH[turn.finish]}
    if turn.usage is not None:
        end |= {"prompt_eval_count": turn.usage.input, "eval_count": turn.usage.output}
    tools = {"tool_calls": calls} if calls else {}
    if not ask.stream:
        message = {"role": "assistant", "content": turn.text} | tools
        return json_answer(base | {"message": message} | end, headers)
    rows = [
        base | {"message": {"role": "assistant", "content": piece}, "done": False}
        for piece in turn.pieces
    ]
    rows.append(base | {"message": {"role": "assistant", "content": ""} | tools} | end)
    pieces = [orjson.dumps(row) + b"\n" for row in rows]
    return stream_answer(pieces, headers, b"application/x-ndjson")
