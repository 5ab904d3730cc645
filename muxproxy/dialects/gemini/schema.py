"""Gemini's schema (an OpenAPI 3.0 subset with upper-case types) as JSON Schema.

ai.google.dev/api/caching#Schema. What is JSON Schema already (parametersJsonSchema,
responseJsonSchema) passes as it is.
"""

from __future__ import annotations

from typing import Any

_NUMBERS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties"})
_RENAMED = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
}
# Hints of Google's own that JSON Schema has no word for.
_OWN = frozenset({"propertyOrdering", "property_ordering", "nullable", "example"})
_DEEP = 64


def json_schema(native: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """`native` in JSON Schema's words."""
    if depth > _DEEP:
        return {}
    out: dict[str, Any] = {}
    for key, value in native.items():
        name = _RENAMED.get(key, key)
        if name in _OWN:
            continue
        if name == "type" and isinstance(value, str):
            out["type"] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            out["properties"] = {
                one: json_schema(inner, depth + 1) if isinstance(inner, dict) else inner
                for one, inner in value.items()
            }
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            out[name] = json_schema(value, depth + 1)
        elif name == "anyOf" and isinstance(value, list):
            out["anyOf"] = [json_schema(v, depth + 1) if isinstance(v, dict) else v for v in value]
        elif name in _NUMBERS and isinstance(value, str) and value.isdigit():
            out[name] = int(value)  # int64 is a string in Google's JSON
        else:
            out[name] = value
    if native.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out
