"""OpenAI's Responses API: the JSON answer and the whole sequence of typed events."""

from typing import Any

from muxproxy.sim.answer import Answer, event, json_answer, stream_answer
from muxproxy.sim.ask import Ask
from muxproxy.sim.http import Headers
from muxproxy.sim.text import Call, Counts, Turn, digest


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.cache_write,
        },
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    }


def _reasoning(turn: Turn, done: bool) -> dict[str, Any]:
    text = "".join(turn.thinking)
    return {
        "id": f"rs_{turn.seed[:40]}",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if done else [],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(turn: Turn, done: bool) -> dict[str, Any]:
    return {
        "id": f"msg_{turn.seed[:40]}",
        "type": "message",
        "status": "completed" if done else "in_progress",
        "content": [_part(turn.text)] if done else [],
        "role": "assistant",
    }


def _function_call(call: Call, done: bool) -> dict[str, Any]:
    return {
        "id": f"fc_{digest(call.id)[:40]}",
        "type": "function_call",
        "status": "completed" if done else "in_progress",
        "arguments": call.arguments if done else "",
        "call_id": f"call_{call.id}",
        "name": call.name,
    }


def _output(turn: Turn) -> list[dict[str, Any]]:
    items = [_reasoning(turn, True)] if turn.thinking else []
    if turn.pieces or not turn.calls:
        items.append(_message(turn, True))
    return items + [_function_call(call, True) for call in turn.calls]


def response(ask: Ask, turn: Turn, done: bool) -> dict[str, Any]:
    """The response object: as it stands at the start, or at the end."""
    body = ask.body
    cut = turn.finish == "length"
    final = "incomplete" if cut else "completed"
    return {
        "id": f"resp_{turn.seed[:48]}",
        "object": "response",
        "created_at": turn.created,
        "status": final if done else "in_progress",
        "background": False,
        "completed_at": turn.created + 1 if done and not cut else None,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if done and cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": turn.model,
        "output": _output(turn) if done else [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default" if done else "auto",
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage(turn.usage) if done and turn.usage else None,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


class _Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        number = len(self.pieces)
        self.pieces.append(event(kind, {"type": kind} | fields | {"sequence_number": number}))


def _reasoning_events(events: _Events, turn: Turn, at: int) -> None:
    events.add("response.output_item.added", item=_reasoning(turn, False), output_index=at)
    item = {"item_id": f"rs_{turn.seed[:40]}", "output_index": at, "summary_index": 0}
    empty, text = {"type": "summary_text", "text": ""}, "".join(turn.thinking)
    events.add("response.reasoning_summary_part.added", **item, part=empty)
    for piece in turn.thinking:
        events.add("response.reasoning_summary_text.delta", **item, delta=piece)
    events.add("response.reasoning_summary_text.done", **item, text=text)
    events.add("response.reasoning_summary_part.done", **item, part=empty | {"text": text})
    events.add("response.output_item.done", item=_reasoning(turn, True), output_index=at)


def _message_events(events: _Events, turn: Turn, at: int) -> None:
    events.add("response.output_item.added", item=_message(turn, False), output_index=at)
    place = {"content_index": 0, "item_id": f"msg_{turn.seed[:40]}", "output_index": at}
    events.add("response.content_part.added", **place, part=_part(""))
    for piece in turn.pieces:
        events.add("response.output_text.delta", **place, delta=piece, logprobs=[])
    events.add("response.output_text.done", **place, logprobs=[], text=turn.text)
    events.add("response.content_part.done", **place, part=_part(turn.text))
    events.add("response.output_item.done", item=_message(turn, True), output_index=at)


def _call_events(events: _Events, call: Call, at: int) -> None:
    item = _function_call(call, False)
    events.add("response.output_item.added", item=item, output_index=at)
    place = {"item_id": item["id"], "output_index": at}
    for piece in call.pieces:
        events.add("response.function_call_arguments.delta", **place, delta=piece)
    done = {"arguments": call.arguments, "name": call.name}
    events.add("response.function_call_arguments.done", **place, **done)
    events.add("response.output_item.done", item=_function_call(call, True), output_index=at)


def responses(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    final = response(ask, turn, True)
    if not ask.stream:
        if turn.usage is None:
            del final["usage"]
        return json_answer(final, headers)
    events = _Events()
    started = response(ask, turn, False)
    events.add("response.created", response=started)
    events.add("response.in_progress", response=started)
    at = 0
    if turn.thinking:
        _reasoning_events(events, turn, at)
        at += 1
    if turn.pieces or not turn.calls:
        _message_events(events, turn, at)
        at += 1
    for call in turn.calls:
        _call_events(events, call, at)
        at += 1
    events.add(f"response.{final['status']}", response=final)
    return stream_answer(events.pieces, headers)
