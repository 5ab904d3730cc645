"""OpenAI chat's words and counts against the neutral ones, both ways."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects.neutral import Citation, Reason
from muxproxy.exchange import Usage

# Providers' own words come as they are; what is not here ended somehow and is "stop".
REASONS: dict[str, Reason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "stop_sequence": "stop_sequence",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tools",
    "function_call": "tools",
    "tool_use": "tools",
    "content_filter": "filter",
    "safety": "filter",
    "error": "error",  # Mistral, OpenRouter
}
FINISHES: dict[Reason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tools": "tool_calls",
    "filter": "content_filter",
    "pause": "stop",
    "error": "stop",
}
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def reason(native: str, called: bool) -> Reason:
    """Why a choice ended. A forced call ends with "stop", and so does any call at some
    providers: who called waits for the result."""
    known = REASONS.get(native.lower(), "stop")
    return "tools" if called and known == "stop" else known


def usage(counts: Usage) -> dict[str, Any]:
    """prompt_tokens includes what was cached, completion_tokens the reasoning."""
    prompt, output = counts.input_total, counts.output_total
    read: dict[str, Any] = {"cached_tokens": counts.cache_read or 0}
    if counts.audio_in is not None:
        read["audio_tokens"] = counts.audio_in
    if counts.cache_write_5m is not None or counts.cache_write_1h is not None:
        read["cache_write_tokens"] = (counts.cache_write_5m or 0) + (counts.cache_write_1h or 0)
        if counts.cache_write_1h:
            read["cache_write_tokens_details"] = {
                "ttl_30m_tokens": counts.cache_write_5m or 0,
                "ttl_12h_tokens": counts.cache_write_1h,
            }
    if counts.images is not None:
        read["image_tokens"] = counts.images
    wrote: dict[str, Any] = {"reasoning_tokens": counts.reasoning or 0}
    if counts.audio_out is not None:
        wrote["audio_tokens"] = counts.audio_out
    if counts.images_out is not None:
        wrote["image_tokens"] = counts.images_out
    out: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": read,
        "completion_tokens_details": wrote,
    }
    if counts.requests:
        out["server_tool_use"] = {"web_search_requests": counts.requests}
    return out


def tier(counts: Usage | None) -> str | None:
    """The service tier in OpenAI's words, where it has one for it."""
    word = None if counts is None else counts.tier
    if word == "standard":
        return "default"
    return word if word in _TIERS else None


def citations(message: dict[str, Any], choice: int = 0) -> list[Citation]:
    """url_citation annotations of a message or a delta."""
    found = []
    notes = message.get("annotations")
    for note in notes if isinstance(notes, list) else ():
        inner = note.get("url_citation") if isinstance(note, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
            continue
        found.append(
            Citation(
                choice=choice,
                url=inner["url"],
                title=_string(inner.get("title")),
                quoted=_string(inner.get("content")),
                start=_number(inner.get("start_index")),
                end=_number(inner.get("end_index")),
            )
        )
    return found


def searched(document: dict[str, Any], choice: int = 0) -> list[Citation]:
    """Perplexity's sources, which stand beside the choices."""
    results = document.get("search_results")
    if isinstance(results, list) and results:
        return [
            Citation(choice=choice, url=r["url"], title=_string(r.get("title")))
            for r in results
            if isinstance(r, dict) and isinstance(r.get("url"), str)
        ]
    links = document.get("citations")
    if not isinstance(links, list):
        return []
    return [Citation(choice=choice, url=link) for link in links if isinstance(link, str)]


def annotation(found: Citation) -> dict[str, Any]:
    """A citation with a URL as OpenAI's annotation."""
    return {
        "type": "url_citation",
        "url_citation": {
            "url": found.url or "",
            "title": found.title or "",
            "start_index": found.start or 0,
            "end_index": found.end or found.start or 0,
        },
    }


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if value.__class__ is int else None
