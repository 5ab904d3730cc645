"""Anthropic's words and counts against the neutral ones, both ways."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects.neutral import Cache, Citation, Reason
from muxproxy.exchange import Usage

# The tool that stands in for output_config.format on models without it: its input is the answer.
FORMAT_TOOL = "muxproxy_json_answer"

REASONS: dict[str, Reason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "pause_turn": "pause",
    "refusal": "filter",
}
STOPS: dict[Reason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "pause": "pause_turn",
    "filter": "refusal",
    "error": "end_turn",
}
_TIERS = {"priority": "priority", "batch": "batch", "standard": "standard", "default": "standard"}


def cache_control(cache: Cache) -> dict[str, str]:
    """The break-point object of a block."""
    return {"type": "ephemeral", "ttl": "1h"} if cache == "1h" else {"type": "ephemeral"}


def usage(counts: Usage | None) -> dict[str, Any]:
    """The whole usage object: input_tokens leaves out what was cached, output_tokens includes
    thinking."""
    if counts is None:
        return {"input_tokens": 0, "output_tokens": 0}
    short, long = counts.cache_write_5m, counts.cache_write_1h
    out: dict[str, Any] = {
        "input_tokens": counts.input,
        "cache_creation_input_tokens": (short or 0) + (long or 0),
        "cache_read_input_tokens": counts.cache_read or 0,
    }
    if long is not None:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": short or 0,
            "ephemeral_1h_input_tokens": long or 0,
        }
    out["output_tokens"] = counts.output_total
    if counts.reasoning is not None:
        out["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    if counts.requests:
        out["server_tool_use"] = {
            "web_search_requests": counts.requests,
            "web_fetch_requests": 0,
        }
    if counts.tier in _TIERS:
        out["service_tier"] = _TIERS[counts.tier or ""]
    return out


def citation(native: dict[str, Any], start: int, end: int, choice: int = 0) -> Citation:
    """Any of Anthropic's five kinds of citation; `start` and `end` are those of the text."""
    return Citation(
        choice=choice,
        url=_string(native.get("url")) or _string(native.get("source")),
        title=_string(native.get("title")) or _string(native.get("document_title")),
        quoted=_string(native.get("cited_text")),
        start=start,
        end=end,
    )


def notes(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The citations of a text block."""
    found = block.get("citations")
    return [note for note in found if isinstance(note, dict)] if isinstance(found, list) else []


def located(found: Citation) -> dict[str, Any]:
    """The one kind of citation that a source elsewhere can become."""
    return {
        "type": "web_search_result_location",
        "url": found.url or "",
        "title": found.title or "",
        "cited_text": found.quoted or "",
        "encrypted_index": "",
    }


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
