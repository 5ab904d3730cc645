"""The `when` language, parsed: a mapping of conditions becomes a tree of tests.

Scalars equal, lists any-of, null matches absent, strings may start with a comparison; `all`,
`any` and `not` nest. `rules` compiles the tree to closures; here only its meaning is fixed and
checked, so that a bad condition is found by `check` and not by a request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from muxproxy import exchange
from muxproxy.config import patterns, units
from muxproxy.config.faults import nearest, suggestion

Path = tuple[str | int, ...]
Problem = Callable[[Path, str, str], None]  # path below `when`, message, hint

DETECTORS = ("code", "complex", "simple")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ENDPOINTS = tuple(sorted({*exchange.INSPECTED, exchange.MODELS, exchange.REALTIME, exchange.OTHER}))

# What each field is compared as.
STRING, WORD, FLAG, NUMBER, TEXT, HOURS, WEEKDAYS, SHARE = (
    "string",
    "word",
    "flag",
    "number",
    "text",
    "hours",
    "weekdays",
    "share",
)
FIELDS: dict[str, str] = {
    "path": STRING,
    "dialect": WORD,
    "endpoint": WORD,
    "model": STRING,
    "stream": FLAG,
    "tools": FLAG,
    "images": FLAG,
    "json": FLAG,
    "text": TEXT,
    "all_text": TEXT,
    "prompt_chars": NUMBER,
    "prompt_tokens": NUMBER,
    "messages": NUMBER,
    "max_tokens": NUMBER,
    "n": NUMBER,
    "key": STRING,
    "user": STRING,
    "team": STRING,
    "tag": STRING,
    "run": STRING,
    "hour": HOURS,
    "weekday": WEEKDAYS,
}
WORDS = {"dialect": exchange.DIALECTS, "endpoint": ENDPOINTS}
NESTING = ("all", "any", "not")
# Known only when the body was read; on other paths (files, audio) these never match.
BODY = frozenset(
    {"model", "stream", "tools", "images", "json", "text", "all_text", "prompt_chars"}
    | {"prompt_tokens", "messages", "max_tokens", "n"}
)
# Members of `set` that decide where a request goes or what it says.
NOT_SETTABLE = frozenset({"model", "messages", "input", "contents", "stream", "tools"})

_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>|=)\s*(.*)", re.DOTALL)
_CLOCK = r"(\d{1,2})(?::([0-5]\d))?"
_HOURS = re.compile(rf"{_CLOCK}\s*-\s*{_CLOCK}", re.ASCII)
_DAYS = re.compile(r"([a-z]+)(?:\s*-\s*([a-z]+))?", re.ASCII)
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


class Option(msgspec.Struct, frozen=True):
    """One alternative of a test. op: one of == != < <= > >=, null, glob, word, regex, detector,
    hours (value: (start, end) in minutes of the day) or days (value: set of 0=Monday..6)."""

    op: str
    value: Any = None


class Test(msgspec.Struct, frozen=True):
    """`field` (arg: the header's or budget's name) meets one of the options."""

    field: str
    options: tuple[Option, ...]
    arg: str = ""
    tz: str = "UTC"


class Every(msgspec.Struct, frozen=True):
    """All of them hold."""

    parts: tuple[Condition, ...]


class Some(msgspec.Struct, frozen=True):
    """At least one holds."""

    parts: tuple[Condition, ...]


class Without(msgspec.Struct, frozen=True):
    """It does not hold."""

    part: Condition


Condition = Test | Every | Some | Without


def parse(when: Mapping[str, Any] | None, problem: Problem) -> Every:
    """The condition of a `when` mapping; null or {} always hold. Faults go to `problem` and the
    part they concern is left out."""
    if when is None:
        return Every(())
    return _mapping(when, (), problem)


def tests(condition: Condition) -> list[Test]:
    """Every test in it, in the order written."""
    if isinstance(condition, Test):
        return [condition]
    if isinstance(condition, Without):
        return tests(condition.part)
    return [one for part in condition.parts for one in tests(part)]


def models(condition: Every) -> frozenset[str | None] | None:
    """The models that it names one by one, None for a request without one; None: any may fit."""
    for part in condition.parts:
        if (
            isinstance(part, Test)
            and part.field == "model"
            and all(option.op in ("==", "null") for option in part.options)
        ):
            return frozenset(o.value if o.op == "==" else None for o in part.options)
    return None


def _mapping(when: object, path: Path, problem: Problem) -> Every:
    if not isinstance(when, Mapping):
        problem(path, "expected conditions such as {model: auto}", "")
        return Every(())
    zone = "UTC"
    if "tz" in when:
        try:
            zone = units.zone(str(when["tz"])).key
        except units.Expected as error:
            problem((*path, "tz"), str(error), "")
        if not {"hour", "weekday"} & set(when):
            problem((*path, "tz"), "tz says where hour and weekday are read; neither is here", "")
    parts = [
        found
        for name, value in when.items()
        if name != "tz"
        and (found := _entry(str(name), value, (*path, str(name)), (zone, problem))) is not None
    ]
    return Every(tuple(parts))


def _entry(name: str, value: object, path: Path, rest: tuple[str, Problem]) -> Condition | None:
    zone, problem = rest
    if name in ("all", "any"):
        if not isinstance(value, list) or not value:
            problem(path, f"expected a list of conditions: {name}: [{{model: auto}}, ...]", "")
            return None
        parts = tuple(_mapping(one, (*path, at), problem) for at, one in enumerate(value))
        return Every(parts) if name == "all" else Some(parts)
    if name == "not":
        if isinstance(value, list):
            parts = tuple(_mapping(one, (*path, at), problem) for at, one in enumerate(value))
            return Without(Some(parts))
        return Without(_mapping(value, path, problem))
    family, dot, arg = name.partition(".")
    if family == "header" and dot:
        if not _HEADER.fullmatch(arg.lower()):
            problem(path, f"{arg!r} is not a header name", "write header.x-team")
            return None
        return _test("header", STRING, value, path, problem, arg=arg.lower())
    if family == "budget" and dot and arg:
        return _test("budget", SHARE, value, path, problem, arg=arg)
    kind = FIELDS.get(name)
    if kind is None:
        problem(path, f"unknown condition {name}", _hint(name))
        return None
    return _test(name, kind, value, path, problem, tz=zone)


def _hint(name: str) -> str:
    if name.partition(".")[0] in ("header", "headers"):
        return "write header.NAME"
    if name.startswith("budget"):
        return "write budget.NAME"
    return suggestion(name, (*FIELDS, *NESTING, "tz"))


def _test(
    field: str,
    kind: str,
    value: object,
    path: Path,
    problem: Problem,
    *,
    arg: str = "",
    tz: str = "UTC",
) -> Test | None:
    values = value if isinstance(value, list) else [value]
    if not values:
        problem(path, "an empty list matches nothing", "remove the condition or name a value")
        return None
    options: list[Option] = []
    for at, one in enumerate(values):
        where = (*path, at) if isinstance(value, list) else path
        try:
            options.append(READERS[kind](field, one))
        except ValueError as error:
            problem(where, str(error), getattr(error, "hint", ""))
    if len(values) > 1 and any(o.op == "!=" for o in options):
        problem(path, "!= in a list is always true", "write not: {...} with the list")
    return Test(field, tuple(options), arg, tz) if options else None


class _Wrong(ValueError):
    """A value that the field cannot be compared with."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def _comparison(value: object) -> tuple[str, str] | None:
    found = _COMPARISON.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    return ("==" if found[1] == "=" else found[1]), found[2].strip()


def _string(field: str, value: object) -> Option:
    if value is None:
        return Option("null")
    if isinstance(value, (dict, list, bool)):
        raise _Wrong("expected text, a list of texts or null")
    compared = _comparison(value)
    if compared is not None:
        op, text = compared
        if op in ("==", "!="):
            return Option(op, text)
        if field != "header":
            raise _Wrong(f"{field} is text: expected a value, a pattern or != value, got {value!r}")
        return Option(op, _decimal(text))
    text = str(value)
    try:
        units.glob(text)
    except units.Expected as error:
        raise _Wrong(str(error)) from None
    return Option("glob" if any(c in text for c in "*?[") else "==", text)


def _word(field: str, value: object) -> Option:
    allowed = WORDS[field]
    op, text = _comparison(value) or ("==", str(value))
    if text not in allowed or op not in ("==", "!="):
        close = nearest(text, allowed)
        hint = f"did you mean {close}?" if close else ""
        raise _Wrong(f"expected one of {', '.join(allowed)}, got {text}", hint)
    return Option(op, text)


def _flag(field: str, value: object) -> Option:
    if not isinstance(value, bool):
        raise _Wrong(f"expected true or false, got {value!r}")
    return Option("==", value)


def _decimal(text: str) -> float:
    try:
        return units.count(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not math.isfinite(number):
        raise _Wrong(f"expected a number after the comparison, got {text!r}")
    return number


def _number(field: str, value: object) -> Option:
    if value is None:
        if field == "max_tokens":
            return Option("null")
        raise _Wrong(f"{field} always has a value: expected a number or a comparison")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Option("==", value)
    op, text = _comparison(value) or ("==", str(value))
    try:
        return Option(op, units.count(text))
    except ValueError:
        raise _Wrong(f'expected a number or a comparison such as "< 100", got {value!r}') from None


def _text(field: str, value: object) -> Option:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        words = ", ".join(DETECTORS)
        raise _Wrong(f"expected a detector ({words}), words or /regex/flags")
    if value.startswith("!="):
        raise _Wrong(f"{field} takes no comparison", f"write not: {{{field}: ...}}")
    if patterns.is_regex(value):
        try:
            return Option("regex", patterns.read(value))
        except ValueError as error:
            raise _Wrong(str(error)) from None
    if value in DETECTORS:
        return Option("detector", value)
    return Option("word", value.strip())


def _hours(field: str, value: object) -> Option:
    text = str(value).strip()
    found = _HOURS.fullmatch(text)
    if found is None and re.fullmatch(r"\d{1,2}", text, re.ASCII):
        found = _HOURS.fullmatch(f"{text}-{int(text) + 1}")
    if found is not None and not isinstance(value, bool):
        start = int(found[1]) * 60 + int(found[2] or 0)
        end = int(found[3]) * 60 + int(found[4] or 0)
        if start < 24 * 60 and end <= 24 * 60 and start != end:
            return Option("hours", (start, end))
    raise _Wrong(f'expected hours such as "8-18", "22-6" or "8:30-17:00", got {value!r}')


def _days(field: str, value: object) -> Option:
    found = _DAYS.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    days = frozenset[int]()
    if found is not None and found[1][:3] in DAYS and (found[2] or found[1])[:3] in DAYS:
        first, last = DAYS.index(found[1][:3]), DAYS.index((found[2] or found[1])[:3])
        days = frozenset((first + at) % 7 for at in range((last - first) % 7 + 1))
    if not days:
        raise _Wrong(f'expected days such as "mon-fri" or [sat, sun], got {value!r}')
    return Option("days", days)


def _share(field: str, value: object) -> Option:
    compared = _comparison(value)
    expected = f'expected a comparison in per cent such as "> 80%", got {value!r}'
    if compared is None or not compared[1].endswith("%"):
        raise _Wrong(expected)
    try:
        return Option(compared[0], _decimal(compared[1][:-1].strip()) / 100)
    except ValueError:
        raise _Wrong(expected) from None


READERS: dict[str, Callable[[str, object], Option]] = {
    STRING: _string,
    WORD: _word,
    FLAG: _flag,
    NUMBER: _number,
    TEXT: _text,
    HOURS: _hours,
    WEEKDAYS: _days,
    SHARE: _share,
}
