"""How a stream that a budget stops is ended: as its dialect ends one at max_tokens.

`ending(endpoint, dialect, data, counts, ...)` is pure: from the last bytes that went to the caller
it learns what the closing events must repeat (ids, the open block), and says where to cut. None
where those bytes do not tell: then the stream goes on to its next read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy import exchange as words
from muxproxy.dialects.anthropic.words import usage as anthropic_usage
from muxproxy.dialects.gemini.words import usage_metadata
from muxproxy.dialects.openai.words import usage as openai_usage
from muxproxy.dialects.responses.words import usage as responses_usage
from muxproxy.exchange import Usage

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_BLANKS = (b"\r\n\r\n", b"\n\n")


def cut_at(data: bytes) -> int:
    """Where the last whole event of `data` ends; 0: no event ends in it."""
    return max((at + len(b) if (at := data.rfind(b)) >= 0 else 0) for b in _BLANKS)


def documents(data: bytes) -> list[dict[str, Any]]:
    """The JSON objects of the whole events in `data`."""
    found = []
    for line in data.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            try:
                value = _decode(line[5:])
            except (msgspec.DecodeError, UnicodeError):
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def ending(
    dialect: str, endpoint: str, data: bytes, counts: Usage, *, choices: int, with_usage: bool
) -> bytes | None:
    """The closing events behind `data`, which ends with a whole event."""
    seen = documents(data)
    if not seen:
        return None
    if dialect == words.ANTHROPIC:
        return _anthropic(seen, counts)
    if dialect == words.GEMINI:
        return _gemini(seen[-1], counts)
    if dialect == words.OPENAI:
        return _openai(seen[-1], endpoint, counts, choices, with_usage)
    return None


def _openai(
    last: dict[str, Any], endpoint: str, counts: Usage, choices: int, with_usage: bool
) -> bytes | None:
    if "choices" not in last:
        return None
    chunk = {k: last[k] for k in ("id", "object", "created", "model") if k in last}
    done = []
    for index in range(choices):
        choice: dict[str, Any] = {"index": index, "finish_reason": "length"}
        choice["text" if endpoint == words.COMPLETIONS else "delta"] = (
            "" if endpoint == words.COMPLETIONS else {}
        )
        done.append(choice)
    more = {"usage": None} if with_usage else {}
    out = b"data: " + _encode(chunk | {"choices": done} | more) + b"\n\n"
    if with_usage:
        totals = {"choices": [], "usage": openai_usage(counts)}
        out += b"data: " + _encode(chunk | totals) + b"\n\n"
    return out + b"data: [DONE]\n\n"


def _anthropic(seen: list[dict[str, Any]], counts: Usage) -> bytes | None:
    """The open block is closed first: its index is the last one that was opened or added to."""
    for document in reversed(seen):
        kind = document.get("type")
        if kind in ("content_block_start", "content_block_delta"):
            stop = {"type": "content_block_stop", "index": document.get("index", 0)}
            out = _event("content_block_stop", stop)
            break
        if kind in ("content_block_stop", "message_start"):
            out = b""
            break
    else:
        return None
    usage = anthropic_usage(counts)
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    out += _event("message_delta", delta)
    return out + _event("message_stop", {"type": "message_stop"})


def _event(name: str, document: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encode(document) + b"\n\n"


def _gemini(last: dict[str, Any], counts: Usage) -> bytes:
    candidate = {
        "content": {"parts": [{"text": ""}], "role": "model"},
        "finishReason": "MAX_TOKENS",
        "index": 0,
    }
    chunk: dict[str, Any] = {"candidates": [candidate], "usageMetadata": usage_metadata(counts)}
    chunk |= {k: last[k] for k in ("modelVersion", "responseId") if k in last}
    return b"data: " + _encode(chunk) + b"\r\n\r\n"


# -- Responses: the whole stream tells what is open ------------------------------------------------


def responses_ending(data: bytes, counts: Usage) -> bytes | None:
    """The closing events of a Responses stream of which `data` is all that went out: the open
    items are ended as far as they came, then response.incomplete."""
    seen = documents(data)
    response = next((d["response"] for d in seen if isinstance(d.get("response"), dict)), None)
    if response is None:
        return None
    items = _items(seen)
    sequence = max((d["sequence_number"] for d in seen if "sequence_number" in d), default=-1)
    out = b""

    def send(kind: str, **fields: Any) -> None:
        nonlocal out, sequence
        sequence += 1
        out += _event(kind, {"type": kind, "sequence_number": sequence, **fields})

    for index, (item, open_) in sorted(items.items()):
        if open_:
            _close_item(send, index, item)
    whole = response | {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [item for _, (item, _) in sorted(items.items())],
        "usage": responses_usage(counts),
    }
    send("response.incomplete", response=whole)
    return out


def _items(seen: list[dict[str, Any]]) -> dict[int, tuple[dict[str, Any], bool]]:
    """Output index -> the item as far as it came, and whether it is still open."""
    items: dict[int, tuple[dict[str, Any], bool]] = {}
    for event in seen:
        kind, index = event.get("type"), event.get("output_index")
        if not isinstance(index, int):
            continue
        if kind == "response.output_item.added":
            items[index] = (dict(event["item"]), True)
        elif kind == "response.output_item.done":
            items[index] = (event["item"], False)
        elif index in items:
            item = items[index][0]
            if kind == "response.content_part.added":
                item["content"] = [*item.get("content", []), dict(event["part"])]
            elif kind == "response.output_text.delta" and item.get("content"):
                item["content"][-1]["text"] = item["content"][-1].get("text", "") + event["delta"]
            elif kind == "response.refusal.delta" and item.get("content"):
                part = item["content"][-1]
                part["refusal"] = part.get("refusal", "") + event["delta"]
            elif kind == "response.function_call_arguments.delta":
                item["arguments"] = item.get("arguments", "") + event["delta"]
    return items


def _close_item(send: Any, index: int, item: dict[str, Any]) -> None:
    item["status"] = "incomplete"
    where = {"item_id": item.get("id", ""), "output_index": index}
    for at, part in enumerate(item.get("content") or ()):
        if part.get("type") == "output_text":
            text = part.get("text", "")
            send("response.output_text.done", **where, content_index=at, text=text, logprobs=[])
        send("response.content_part.done", **where, content_index=at, part=part)
    if item.get("type") == "function_call":
        given = item.get("arguments", "")
        name = item.get("name", "")
        send("response.function_call_arguments.done", **where, arguments=given, name=name)
    send("response.output_item.done", output_index=index, item=item)
