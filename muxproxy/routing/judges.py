"""What is wrong with a cheap model's answer, cheapest look first. Pure; no answer is quoted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from math import exp
from typing import Any

import msgspec

# Mean probability of the answer's tokens below which the model was guessing, at a bar of 0.5.
SURE = 0.6
STRICT = 0.5  # the bar from which doubts count as refusals
_OPENING = 400  # characters in which a refusal or a doubt stands
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry,? (?:but|i)|i (?:can(?:no|')?t|am (?:unable|not able) to|won't) "
    r"(?:help|assist|answer|provide|do|comply|fulfil|access)|as an ai\b|i do(?:n't| not) have "
    r"(?:access|enough information))",
    re.I,
)
_HEDGING = re.compile(
    r"\b(?:i(?:'m| am) not (?:sure|certain)|i do(?:n't| not) know|hard to say|it is unclear|"
    r"i might be wrong|cannot be determined|not enough information)\b",
    re.I,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
# "The answer is (B)", "**B**", "C) because", a line that is but a letter; not "I am" or "A cat".
_CHOICE = re.compile(
    r"\b[Aa]nswer(?: is)?:?\s*\**\(?([A-J])\b(?!')|^\s*\**\(?([A-J])(?:[).:]|\**\s*$)", re.M
)
_FENCE = re.compile(r"^\s*```\w*\n(.*?)\n?```\s*$", re.S)
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
    "null": type(None),
}
_DEEPEST = 32


class Said(msgspec.Struct, kw_only=True):
    """An answer as the judges see it. `calls` are (tool, arguments as JSON text)."""

    text: str = ""
    calls: list[tuple[str, str]] = []
    finish: str = "stop"  # dialects.neutral.Reason
    logprobs: list[float] = []


class Wanted(msgspec.Struct, kw_only=True):
    """What the request asked of its answer. `strict`: doubts count as refusals; `sure`: the mean
    probability of its tokens, 0..1."""

    json: bool = False
    schema: dict[str, Any] | None = None
    tools: dict[str, dict[str, Any] | None] = {}
    strict: bool = True
    sure: float = SURE


def sure_at(bar: float) -> float:
    """The probability that a bar of 0..1 asks for: 0.2 at 0, SURE at 0.5, certainty at 1."""
    return SURE + (bar - STRICT) * (1 - SURE) / (1 - STRICT)


def fault(said: Said, wanted: Wanted, judges: Collection[str]) -> str | None:
    """The first fault that one of `judges` finds, in a few words; None: it may go out."""
    for name, look in _JUDGES.items():
        if name in judges and (found := look(said, wanted)) is not None:
            return found
    return None


def opening_fault(text: str, wanted: Wanted, judges: Collection[str]) -> str | None:
    """What can be told of the beginning of an answer alone."""
    return _refusal(Said(text=text), wanted) if "refusal" in judges else None


def _finish(said: Said, wanted: Wanted) -> str | None:
    del wanted
    if said.finish in ("length", "filter", "error"):
        return f"finish {said.finish}"
    return None


def _empty(said: Said, wanted: Wanted) -> str | None:
    del wanted
    return "empty" if not said.text.strip() and not said.calls else None


def _refusal(said: Said, wanted: Wanted) -> str | None:
    text = said.text[:_OPENING]
    if _REFUSAL.search(text):
        return "refusal"
    return "hedging" if wanted.strict and _HEDGING.search(text) else None


def _repetition(said: Said, wanted: Wanted) -> str | None:
    """The same line, or the same run of words, over and over."""
    del wanted
    lines = [line for line in said.text.splitlines() if len(line) > 20]
    if len(lines) >= 8 and Counter(lines).most_common(1)[0][1] > len(lines) / 2:
        return "repetitive"
    words = said.text.split()
    if len(words) >= 60:
        runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
        if runs.most_common(1)[0][1] > len(words) / 12:
            return "repetitive"
    return None


def _json(said: Said, wanted: Wanted) -> str | None:
    if not wanted.json or said.calls:
        return None
    try:
        value = json.loads(said.text)
    except (ValueError, RecursionError):
        return "invalid JSON"
    if wanted.schema is not None and not fits(value, wanted.schema):
        return "JSON that does not fit the schema"
    return None


def _tools(said: Said, wanted: Wanted) -> str | None:
    for name, arguments in said.calls:
        if name not in wanted.tools:
            return "a tool that was not offered"
        try:
            value = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return "a tool call that is no JSON"
        schema = wanted.tools[name]
        if schema is not None and not fits(value, schema):
            return "a tool call that does not fit its schema"
    return None


def _logprobs(said: Said, wanted: Wanted) -> str | None:
    if not said.logprobs:
        return None
    sure = exp(sum(said.logprobs) / len(said.logprobs))
    return f"unsure ({sure:.0%} a token)" if sure < wanted.sure else None


_JUDGES = {
    "finish": _finish,
    "empty": _empty,
    "refusal": _refusal,
    "repetition": _repetition,
    "json": _json,
    "tools": _tools,
    "logprobs": _logprobs,
}


def fits(value: object, schema: object, depth: int = 0) -> bool:
    """Whether `value` fits the parts of JSON Schema that requests use: type, enum, const,
    properties, required, additionalProperties: false, items, anyOf. Others are not looked at."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return True
    if "anyOf" in schema and not any(fits(value, s, depth + 1) for s in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if names and not any(_is(value, str(name).lower()) for name in names):
        return False
    if isinstance(value, dict):
        return _object_fits(value, schema, depth)
    if isinstance(value, list) and "items" in schema:
        return all(fits(item, schema["items"], depth + 1) for item in value)
    return True


def _object_fits(value: dict[str, Any], schema: dict[str, Any], depth: int) -> bool:
    if any(name not in value for name in schema.get("required") or ()):
        return False
    known = schema.get("properties") or {}
    if schema.get("additionalProperties") is False and not set(value) <= set(known):
        return False
    return all(fits(v, known[name], depth + 1) for name, v in value.items() if name in known)


def _is(value: object, name: str) -> bool:
    kind = _TYPES.get(name)
    if kind is None:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, kind)


def agree(one: Said, other: Said) -> bool:
    """Whether two answers say the same: the same calls, JSON, choice, last number, or words."""
    if one.calls or other.calls:
        return _calls(one) == _calls(other)
    return gist(one.text) == gist(other.text)


def _calls(said: Said) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, arguments in said.calls:
        try:
            found.append((name, json.loads(arguments or "{}")))
        except ValueError:
            found.append((name, arguments))
    return found


def gist(text: str) -> str:
    """What an answer comes down to, for comparing."""
    fenced = _FENCE.match(text)
    text = (fenced[1] if fenced else text).strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        for name in ("answer", "final_answer", "result"):
            if name in value:
                return gist(str(value[name]))
        return json.dumps(value, sort_keys=True)
    choices = _CHOICE.findall(text)
    if choices:
        return "".join(choices[-1])
    numbers = _NUMBER.findall(text)
    if numbers:
        return format(float(numbers[-1].replace(",", "")), "g")
    return " ".join(re.findall(r"\w+", text.lower()))
