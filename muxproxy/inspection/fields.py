"""Single members read leniently: a wrong type reads as "not sent", the provider refuses it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from muxproxy.inspection.shapes import ABSENT, Format, GenerationConfig

# Far beyond what any provider accepts; within them a hold in nano-dollars fits 63 bits.
_MOST_TOKENS = 10**9
_MOST_ANSWERS = 2**16

_FORMAT = msgspec.json.Decoder(Format)


def count(value: object) -> int | None:
    """A number of tokens or answers, None for what is none. Protobuf JSON takes 8.0 and "8" too."""
    if value is None or isinstance(value, bool):
        return None
    if value.__class__ is int and 0 <= value <= _MOST_TOKENS:
        return value
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    elif isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
    return min(value, _MOST_TOKENS) if isinstance(value, int) and value >= 0 else None


def answers(value: object, prompts: int = 1) -> int:
    """How many answers are asked for: `n` for each prompt."""
    if value is None and prompts <= 1:
        return 1
    each = 1 if value is None else count(value) or 1
    return min(each * max(prompts, 1), _MOST_ANSWERS)


def prompts(prompt: object) -> tuple[int, int]:
    """How many prompts a `prompt` or `input` holds, and their tokens where given as numbers."""
    if not isinstance(prompt, list):
        return (0 if prompt is None else 1), 0
    if prompt and isinstance(prompt[0], int):
        return 1, len(prompt)
    return len(prompt), sum(len(item) for item in prompt if isinstance(item, list))


def filled(raw: Raw) -> bool:
    """Whether a member holds a list (or object) with something in it."""
    if raw is ABSENT:
        return False
    head = bytes(memoryview(raw)[:16])
    return head[:1] in (b"[", b"{") and head[1:].strip()[:1] not in (b"]", b"}")


def is_json(raw: Raw) -> bool:
    """Whether a format asks for JSON, itself or in its own `format` member."""
    if len(raw) < 3:
        return False
    try:
        found = _FORMAT.decode(raw)
    except msgspec.ValidationError:
        return False
    inner = found.format.get("type") if isinstance(found.format, dict) else None
    return any(kind in ("json_object", "json_schema") for kind in (found.type, inner))


def is_gemini_json(config: GenerationConfig) -> bool:
    mime = config.responseMimeType or config.response_mime_type
    schemas = (
        config.responseSchema,
        config.response_schema,
        config.responseJsonSchema,
        config.response_json_schema,
    )
    return mime == "application/json" or any(len(raw) > 4 for raw in schemas)
