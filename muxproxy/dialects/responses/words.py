"""The Responses API's words and counts against the neutral ones, both ways."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import text_of
from muxproxy.dialects.seals import tag, untag
from muxproxy.exchange import Usage

MAKER = "responses"
_INCOMPLETE: dict[str, n.Reason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "filter",
    "max_messages": "length",
    "steered": "stop",
}


def finish_of(document: dict[str, Any], called: bool) -> n.Finish:
    """status, incomplete_details and whether a call waits for its result."""
    status = text_of(document.get("status")) or "completed"
    if status == "incomplete":
        details = document.get("incomplete_details")
        why = text_of(details.get("reason")) if isinstance(details, dict) else ""
        native = f"{status}:{why}" if why else status
        return n.Finish(reason=_INCOMPLETE.get(why, "length"), native=native)
    if status in ("failed", "cancelled"):
        return n.Finish(reason="error", native=status)
    return n.Finish(reason="tools" if called else "stop", native=status)


def usage(counts: Usage) -> dict[str, Any]:
    """input_tokens includes what was cached, output_tokens the reasoning."""
    read: dict[str, Any] = {"cached_tokens": counts.cache_read or 0}
    written = (counts.cache_write_5m or 0) + (counts.cache_write_1h or 0)
    read["cache_write_tokens"] = written
    return {
        "input_tokens": counts.input_total,
        "input_tokens_details": read,
        "output_tokens": counts.output_total,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
        "total_tokens": counts.input_total + counts.output_total,
    }


def thinking_of(item: dict[str, Any]) -> n.Thinking:
    """A reasoning item: its summary, or its text where a provider shows that, and its seal."""
    pieces = []
    for name in ("summary", "content"):
        parts = item.get(name)
        pieces += [
            text_of(part.get("text"))
            for part in (parts if isinstance(parts, list) else ())
            if isinstance(part, dict)
        ]
    text = "\n\n".join(piece for piece in pieces if piece)
    thinking = n.Thinking(text=text, id=text_of(item.get("id")) or None)
    seal = text_of(item.get("encrypted_content"))
    if seal and not untag(thinking, seal):
        thinking.sealed, thinking.maker = seal, MAKER
    return thinking


def reasoning_item(thinking: n.Thinking, id: str) -> dict[str, Any]:
    """A thinking block as an item; another maker's proof is wrapped as encrypted_content."""
    own = thinking.maker == MAKER
    summary = [{"type": "summary_text", "text": thinking.text}] if thinking.text else []
    item: dict[str, Any] = {
        "id": (thinking.id if own and thinking.id else id),
        "type": "reasoning",
        "summary": summary,
    }
    seal = thinking.sealed if own else tag(thinking)
    if seal:
        item["encrypted_content"] = seal
    return item


def annotation(found: n.Citation) -> dict[str, Any]:
    """A citation with a URL."""
    return {
        "type": "url_citation",
        "url": found.url or "",
        "title": found.title or "",
        "start_index": found.start or 0,
        "end_index": found.end or found.start or 0,
    }


def citation_of(note: object) -> n.Citation | None:
    """A url_citation annotation."""
    if not isinstance(note, dict) or note.get("type") != "url_citation":
        return None
    start, end = note.get("start_index"), note.get("end_index")
    return n.Citation(
        url=text_of(note.get("url")) or None,
        title=text_of(note.get("title")) or None,
        start=start if start.__class__ is int else None,
        end=end if end.__class__ is int else None,
    )


def call_item(
    call: n.Call, customs: frozenset[str], spaces: dict[str, str], id: str, status: str
) -> dict[str, Any]:
    """A call as function_call, or as custom_tool_call where the caller's tool is one."""
    item = _call_item(call, customs, id, status)
    space = spaces.get(call.name)
    if space is not None:
        item["name"] = call.name.removeprefix(f"{space}__")
        item["namespace"] = space
    return item


def _call_item(call: n.Call, customs: frozenset[str], id: str, status: str) -> dict[str, Any]:
    if call.custom or call.name in customs:
        given = call.arguments if call.custom else free_text(call.arguments)
        return {
            "id": f"ctc_{id}",
            "type": "custom_tool_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "input": given,
        }
    return {
        "id": f"fc_{id}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def free_text(arguments: str) -> str:
    """The input of a custom tool out of the object a function was called with."""
    try:
        value = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    found = value.get("input") if isinstance(value, dict) else None
    return found if isinstance(found, str) else arguments


def spaces_of(request: n.Request) -> dict[str, str]:
    """Namespaces of the caller's tools, by the names that providers know."""
    return {tool.name: tool.namespace for tool in request.tools if tool.namespace is not None}


def customs_of(request: n.Request) -> frozenset[str]:
    """Names of the caller's custom tools."""
    return frozenset(tool.name for tool in request.tools if tool.custom)
