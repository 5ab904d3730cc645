"""Anthropic messages: JSON and streams with thinking, text and tool_use blocks."""

from typing import Any

import orjson

from muxproxy.sim.answer import Answer, event, json_answer, stream_answer
from muxproxy.sim.ask import Ask
from muxproxy.sim.http import Headers
from muxproxy.sim.text import Counts, Turn

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}
_START_OUTPUT = 1  # message_start carries a stub; only message_delta's count is right


def usage(counts: Counts, output: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "input_tokens": counts.input - counts.cached - counts.cache_write,
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }
    if counts.reasoning and output == counts.output:
        found["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return found


def _signature(turn: Turn) -> str:
    return f"sim{turn.seed}"


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if turn.thinking:
        text = "".join(turn.thinking)
        blocks.append({"type": "thinking", "thinking": text, "signature": _signature(turn)})
    if turn.pieces or not turn.calls:
        blocks.append({"type": "text", "text": turn.text})
    for call in turn.calls:
        arguments = orjson.loads(call.arguments)
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": arguments}
        )
    return blocks


def _message(turn: Turn, blocks: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    return {
        "model": turn.model,
        "id": f"msg_{turn.seed[:24]}",
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": finish,
        "stop_sequence": None,
    }


def _deltas(turn: Turn, block: dict[str, Any], call_at: int) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind == "thinking":
        found = [{"type": "thinking_delta", "thinking": piece} for piece in turn.thinking]
        return [*found, {"type": "signature_delta", "signature": block["signature"]}]
    if kind == "text":
        return [{"type": "text_delta", "text": piece} for piece in turn.pieces]
    pieces = ["", *turn.calls[call_at].pieces]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


_EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def _stream(turn: Turn, headers: Headers) -> Answer:
    start = _message(turn, [], None)
    if turn.usage is not None:
        start["usage"] = usage(turn.usage, min(_START_OUTPUT, turn.usage.output))
    pieces = [event("message_start", {"type": "message_start", "message": start})]
    blocks = _blocks(turn)
    first_call = len(blocks) - len(turn.calls)
    for index, block in enumerate(blocks):
        opening = block | _EMPTY[block["type"]]
        pieces.append(
            event(
                "content_block_start",
                {"type": "content_block_start", "index": index, "content_block": opening},
            )
        )
        if index == 0:
            pieces.append(event("ping", {"type": "ping"}))
        pieces += [
            event(
                "content_block_delta",
                {"type": "content_block_delta", "index": index, "delta": delta},
            )
            for delta in _deltas(turn, block, index - first_call)
        ]
        stop = {"type": "content_block_stop", "index": index}
        pieces.append(event("content_block_stop", stop))
    delta_event: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _FINISH[turn.finish], "stop_sequence": None},
    }
    if turn.usage is not None:
        counted = usage(turn.usage, turn.usage.output)
        for key in ("cache_creation", "service_tier", "inference_geo"):
            del counted[key]
        delta_event["usage"] = counted
    pieces.append(event("message_delta", delta_event))
    pieces.append(event("message_stop", {"type": "message_stop"}))
    return stream_answer(pieces, headers)


def messages(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    if ask.stream:
        return _stream(turn, headers)
    body = _message(turn, _blocks(turn), _FINISH[turn.finish])
    if turn.usage is not None:
        body["usage"] = usage(turn.usage, turn.usage.output)
    return json_answer(body, headers)


def count_tokens(counts: Counts | None, headers: Headers) -> Answer:
    return json_answer({"input_tokens": counts.input if counts else 0}, headers)
