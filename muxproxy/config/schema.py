"""The JSON Schema (draft 2020-12) of the YAML file, made from the structs.

Editors use it through the file's first line; descriptions are the strings under the fields of
`config.model`. What a schema cannot say (names that must exist, units) `check` does.
"""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import msgspec

from muxproxy.config import model, when
from muxproxy.config.kinds import internal
from muxproxy.config.reader import type_of

ID = "urn:muxproxy:configuration"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Any text with a variable in it is fine for an editor: what it stands for is not known there.
_VARIABLE = r"\$\{"

_WHAT = {
    "path": "The request's path (pattern): /v1/chat/*",
    "dialect": "The wire format that the caller speaks",
    "endpoint": "What is asked for within the dialect",
    "model": "The model that the caller named (pattern); null: none",
    "stream": "A streamed answer is asked for",
    "tools": "The request offers tools",
    "images": "The prompt has images",
    "json": "JSON mode or a JSON schema is asked for",
    "text": "The last user-authored text: a detector (code, complex, simple), words or /regex/",
    "all_text": "The whole conversation: a detector, words or /regex/",
    "prompt_chars": "Characters of the last user-authored text",
    "prompt_tokens": "Estimated tokens of the whole prompt",
    "messages": "Number of messages",
    "max_tokens": "The caller's bound on the answer; null: none",
    "n": "Number of answers asked for",
    "key": "The caller's muxproxy key, by name",
    "user": "The user",
    "team": "The team of the caller's key",
    "tag": "A tag of the caller's key or of an earlier rule",
    "run": "The run or session",
    "hour": 'Time of day: "8-18", "22-6", "8:30-17:00"; see tz',
    "weekday": 'Days: "mon-fri", [sat, sun]; see tz',
}


def schema() -> dict[str, Any]:
    """The whole schema."""
    made = msgspec.json.schema(model.Config)
    definitions: dict[str, Any] = made["$defs"]
    for name, definition in definitions.items():
        _struct(definition, getattr(model, name))
    definitions["When"] = _when()
    for name in ("Rule", "Budget"):
        described = definitions[name]["properties"]["when"]["description"]
        definitions[name]["properties"]["when"] = {
            "anyOf": [{"$ref": "#/$defs/When"}, {"type": "null"}],
            "default": None,
            "description": described,
        }
    config = definitions["Config"]
    # Room for anchors.
    config["patternProperties"] = {"^x-": {}}
    # An empty file is all defaults.
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "muxproxy configuration",
        "anyOf": [{"$ref": "#/$defs/Config"}, {"type": "null"}],
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The schema as it is checked in: indented JSON with a final newline."""
    packed = msgspec.json.encode(schema(), order="sorted")
    return msgspec.json.format(packed, indent=2).decode() + "\n"


def descriptions(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Field name -> the string under it in the source."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = re.sub(r"\s+", " ", str(below.value.value)).strip()
    return found


def _struct(definition: dict[str, Any], cls: type[msgspec.Struct]) -> None:
    described = descriptions(cls)
    properties = definition["properties"]
    for field in type_of(cls).fields:
        if internal(field.type):
            del properties[field.encode_name]
            continue
        entry = properties[field.encode_name]
        if field.name in described:
            entry["description"] = described[field.name]
        if "$ref" in entry:  # the defaults stand at the definition's own fields
            entry.pop("default", None)
        _loosen(entry)
    if not definition.get("required"):
        definition.pop("required", None)


def _loosen(entry: dict[str, Any]) -> None:
    """Numbers and switches may also come from the environment: "${PORT}"."""
    kinds = [one.get("type") for one in entry.get("anyOf", [entry])]
    wanted = {"integer", "number", "boolean"} & {k for k in kinds if isinstance(k, str)}
    if wanted and "string" not in kinds and "enum" not in entry:
        keep = {k: entry.pop(k) for k in ("default", "description") if k in entry}
        options = entry.pop("anyOf", None) or [dict(entry)]
        entry.clear()
        entry.update(anyOf=[*options, {"type": "string", "pattern": _VARIABLE}], **keep)


def _when() -> dict[str, Any]:
    """The language of conditions; what a value may be is told by `config.when`."""
    nested = {"$ref": "#/$defs/When"}
    properties: dict[str, Any] = {
        name: {"description": _WHAT[name], **_values(name, kind)}
        for name, kind in when.FIELDS.items()
    }
    properties["tz"] = {"type": "string", "description": "IANA zone of hour and weekday; UTC"}
    for name, meaning in (("all", "All of these hold"), ("any", "At least one of these holds")):
        properties[name] = {
            "type": "array",
            "items": nested,
            "minItems": 1,
            "description": meaning,
        }
    properties["not"] = {
        "anyOf": [nested, {"type": "array", "items": nested}],
        "description": "This does not hold; of a list: none of them holds",
    }
    return {
        "title": "When",
        "description": "Conditions, all of which must hold. Scalars equal, lists any-of, null "
        "absent; strings may start with a comparison.",
        "type": "object",
        "properties": properties,
        "patternProperties": {
            r"^header\..+": {
                "description": "A request header (pattern); null: absent",
                **_any_of({"type": ["string", "number", "null"]}),
            },
            r"^budget\..+": {
                "description": 'How much of a budget is used: "> 80%"',
                **_any_of({"type": "string", "pattern": r"^\s*(<|>|=|!=).*%\s*$"}),
            },
        },
        "additionalProperties": False,
    }


def _any_of(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _values(name: str, kind: str) -> dict[str, Any]:
    if kind == when.WORD:
        words = [*when.WORDS[name], *(f"!= {w}" for w in when.WORDS[name])]
        return _any_of({"type": "string", "enum": words})
    by_kind: dict[str, dict[str, Any]] = {
        when.FLAG: {"type": "boolean"},
        when.NUMBER: {"type": ["number", "string"]},
        when.TEXT: {"type": ["string", "number"], "examples": list(when.DETECTORS)},
        when.HOURS: {"type": ["string", "integer"]},
        when.WEEKDAYS: {"type": "string"},
        when.STRING: {"type": ["string", "number", "null"]},
    }
    one = dict(by_kind[kind])
    if name == "max_tokens":
        one["type"] = ["number", "string", "null"]
    return _any_of(one)
