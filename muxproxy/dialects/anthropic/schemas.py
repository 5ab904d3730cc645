"""JSON Schemas as Anthropic takes them.

Structured outputs (platform.claude.com/docs/en/build-with-claude/structured-outputs) want every
object closed and know no bounds of numbers, strings and arrays; Anthropic's own SDK rewrites
schemas the same way (anthropic/lib/_parse/_transform.py).
"""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.encode
_BOUNDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    }
)
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions"})


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with objects closed, and its bounds told in descriptions."""
    out: dict[str, Any] = {}
    bounds = []
    for key, value in schema.items():
        if key in _BOUNDS or (key == "minItems" and value not in {0, 1}):
            bounds.append(f"{key}: {text(value)}")
        elif key in _NAMED_SCHEMAS and isinstance(value, dict):
            out[key] = {
                name: closed(inner) if isinstance(inner, dict) else inner
                for name, inner in value.items()
            }
        elif isinstance(value, dict) and key not in {"default", "const", "example"}:
            out[key] = closed(value)
        elif isinstance(value, list) and key in {"anyOf", "allOf", "oneOf", "prefixItems"}:
            out[key] = [closed(inner) if isinstance(inner, dict) else inner for inner in value]
        else:
            out[key] = value
    if out.get("type") == "object":
        out["additionalProperties"] = False
    if bounds:
        told = "{" + ", ".join(bounds) + "}"
        before = out.get("description")
        out["description"] = f"{before} {told}" if isinstance(before, str) else told
    return out


def of_tool(schema: dict[str, Any] | None) -> dict[str, Any]:
    """A tool's input_schema, which must be of type object."""
    if not schema:
        return {"type": "object", "properties": {}}
    return schema if schema.get("type") == "object" else {**schema, "type": "object"}


def text(value: object) -> str:
    """Any JSON value as text."""
    return _encode(value).decode()
