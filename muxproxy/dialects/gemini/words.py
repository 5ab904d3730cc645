"""Gemini's words and counts against the neutral ones, both ways."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from muxproxy.dialects.neutral import Citation, Finish, Reason, Thinking
from muxproxy.dialects.reading import listed, text_of
from muxproxy.dialects.seals import tag, untag
from muxproxy.exchange import Usage

MAKER = "gemini"
# Google's documented stand-in for a signature that is not at hand
# (ai.google.dev/gemini-api/docs/thought-signatures).
STAND_IN = "skip_thought_signature_validator"

REASONS: dict[str, Reason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "filter",
    "RECITATION": "filter",
    "BLOCKLIST": "filter",
    "PROHIBITED_CONTENT": "filter",
    "SPII": "filter",
    "IMAGE_SAFETY": "filter",
    "IMAGE_PROHIBITED_CONTENT": "filter",
    "IMAGE_RECITATION": "filter",
    "MODEL_ARMOR": "filter",
    "ESCALATION": "filter",
    "PUP_LIMITED_DISABLED": "filter",
    "CONTINUATION": "length",  # the limit of one request; its token to go on with is not carried
    "LANGUAGE": "error",
    "MALFORMED_RESPONSE": "error",
    "IMAGE_OTHER": "error",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "NO_IMAGE": "error",
    "OTHER": "error",
}
FINISHES: dict[Reason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tools": "STOP",
    "filter": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
}
# Vertex's protobuf JSON may number its reasons (google.cloud.aiplatform.v1 FinishReason).
_NUMBERED = (
    "OTHER",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
)
_CAMEL = re.compile(r"_([a-z])")


def finish_of(word: object, called: bool, choice: int) -> Finish | None:
    """Why a candidate ended: with calls it says STOP too. None: it has not."""
    native = word if isinstance(word, str) else None
    if isinstance(word, int) and 0 < word < len(_NUMBERED):
        native = _NUMBERED[word]
    if not native or native == "FINISH_REASON_UNSPECIFIED":
        return None
    reason = REASONS.get(native.upper(), "stop")
    if called and reason == "stop":
        reason = "tools"
    return Finish(choice=choice, reason=reason, native=str(word))


def camel(fields: dict[str, Any]) -> dict[str, Any]:
    """Both spellings are accepted by the API: max_output_tokens as maxOutputTokens."""
    if not any("_" in name for name in fields):
        return fields
    return {_CAMEL.sub(lambda m: m[1].upper(), name): value for name, value in fields.items()}


def usage_metadata(usage: Usage) -> dict[str, Any]:
    """promptTokenCount includes what was cached; thoughts stand beside the candidates."""
    out: dict[str, Any] = {
        "promptTokenCount": usage.input_total,
        "candidatesTokenCount": usage.output_total - (usage.reasoning or 0),
        "totalTokenCount": usage.input_total + usage.output_total,
    }
    if usage.cache_read is not None:
        out["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning is not None:
        out["thoughtsTokenCount"] = usage.reasoning
    return out


def seal_of(thinking: Thinking) -> str | None:
    """thoughtSignature for a thought: bytes in base64, so another maker's proof is wrapped."""
    if thinking.maker == MAKER:
        return thinking.signature
    text = tag(thinking)
    return base64.b64encode(text.encode()).decode() if text else None


def unseal(thinking: Thinking, signature: str) -> None:
    """Puts a thoughtSignature into `thinking`, whoever made it. google-genai writes bytes in the
    URL-safe alphabet."""
    try:
        plain = base64.b64decode(signature.replace("-", "+").replace("_", "/")).decode()
    except (binascii.Error, ValueError):
        plain = ""
    if not untag(thinking, plain):
        thinking.signature, thinking.maker = signature, MAKER


def citations(candidate: dict[str, Any], choice: int) -> list[Citation]:
    """The web pages of groundingMetadata, with the passages that rest on them."""
    grounding = candidate.get("groundingMetadata")
    if not isinstance(grounding, dict):
        return []
    pages = []
    for chunk in listed(grounding.get("groundingChunks")):
        web = chunk.get("web") if isinstance(chunk, dict) else None
        pages.append(web if isinstance(web, dict) else {})
    found = []
    used = set()
    for support in listed(grounding.get("groundingSupports")):
        if not isinstance(support, dict):
            continue
        segment = support.get("segment")
        segment = segment if isinstance(segment, dict) else {}
        for number in listed(support.get("groundingChunkIndices")):
            if number.__class__ is int and 0 <= number < len(pages):
                used.add(number)
                found.append(_citation(pages[number], choice, segment.get("text")))
    found += [_citation(page, choice, None) for n, page in enumerate(pages) if n not in used]
    return [one for one in found if one.url]


def _citation(page: dict[str, Any], choice: int, quoted: object) -> Citation:
    # Segments count bytes, not characters: their places are left out, their text is kept.
    return Citation(
        choice=choice,
        url=text_of(page.get("uri")) or None,
        title=text_of(page.get("title")) or None,
        quoted=quoted if isinstance(quoted, str) else None,
    )
