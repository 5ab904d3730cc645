"""What a simulated provider is told to do: one flat set of options, and the queue of scripts.

The same keys come from request headers (`x-sim-KEY`), script files, the in-process API and model
names (`sim-tokens=50,pace=10ms`). A key or value that is not understood is an error: a test that
asks for a fault must not pass because the fault was misspelt.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# Where a fault strikes: before any byte of the reply, after its head, or after n > 0 chunks.
BEFORE_HEAD = -1
AFTER_HEAD = 0

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|)")
GARBAGE = ("head", "body", "chunk", "json", "sse")


class ScriptError(Exception):
    """An option that is not known or has no such value; the text names both."""


@dataclass(slots=True, frozen=True)
class Options:
    """One reply's script. Durations in seconds; None = not set."""

    tokens: int | None = None
    ttft: float = 0.0
    pace: float = 0.0
    usage: str = "on"
    tools: int = 0
    text: str | None = None
    thinking: int = 0
    cached: int = 0
    cache_write: int = 0
    input: int | None = None
    status: int = 200
    code: str | None = None
    retry_after: str | None = None
    error_after: int | None = None
    drop_after: int | None = None
    reset_after: int | None = None
    hang_after: int | None = None
    garbage: str | None = None
    wrong_length: str | None = None
    slice: int | str | None = None
    chunked: bool | None = None
    gzip: bool = False
    lockstep: str | None = None
    close: bool = False
    early_hints: bool = False
    recording: str | None = None
    timestamp: bool = False
    ratelimit: str | None = None
    size: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


DEFAULT = Options()


def duration(text: str) -> float:
    """Seconds from "250ms", "2s", "1.5" (seconds) ... Raises ScriptError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ScriptError(f"{text!r} is no duration")
    return float(found[1]) * _UNITS[found[2]]


def _pace(text: str) -> float:
    number, slash, unit = text.partition("/")
    if not slash:
        return duration(text)
    if unit.strip() != "s" or not number.strip().replace(".", "", 1).isdigit():
        raise ScriptError(f"{text!r} is no pace: a duration or N/s")
    return 1.0 / float(number) if float(number) else math.inf


def _count(text: str) -> int:
    if not text.strip().isdigit():
        raise ScriptError(f"{text!r} is no count")
    return int(text)


def _where(text: str) -> int:
    if text.strip() == "head":
        return AFTER_HEAD
    return _count(text) or BEFORE_HEAD


def _flag(text: str) -> bool:
    if text.strip().lower() in ("on", "true", "1", "yes"):
        return True
    if text.strip().lower() in ("off", "false", "0", "no"):
        return False
    raise ScriptError(f"{text!r} is neither on nor off")


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ScriptError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def _status(text: str) -> int:
    status = _count(text)
    if not 200 <= status <= 599:
        raise ScriptError(f"{status} is no final status")
    return status


def _slice(text: str) -> int | str:
    if text == "random":
        return text
    size = _count(text)
    if not size:
        raise ScriptError("a slice has at least one byte")
    return size


def _text(text: str) -> str:
    """Literal, or `base64:...` for text that no header can carry."""
    if not text.startswith("base64:"):
        return text
    try:
        return base64.b64decode(text[7:], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ScriptError(f"text: {error}") from error


READERS: dict[str, Callable[[str], Any]] = {
    "tokens": _count,
    "ttft": duration,
    "pace": _pace,
    "usage": _one_of("on", "off", "zero"),
    "tools": _count,
    "text": _text,
    "thinking": _count,
    "cached": _count,
    "cache_write": _count,
    "input": _count,
    "status": _status,
    "code": str,
    "retry_after": str,
    "error_after": _count,
    "drop_after": _where,
    "reset_after": _where,
    "hang_after": _where,
    "garbage": _one_of(*GARBAGE),
    "wrong_length": _one_of("short", "long"),
    "slice": _slice,
    "chunked": _flag,
    "gzip": _flag,
    "lockstep": str,
    "close": _flag,
    "early_hints": _flag,
    "recording": str,
    "timestamp": _flag,
    "ratelimit": str,
    "size": _count,
}


def read_options(pairs: Iterable[tuple[str, str]], base: Options = DEFAULT) -> Options:
    """`base` with the textual `pairs` (names with - or _) put over it. Raises ScriptError."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        key = name.replace("-", "_")
        reader = READERS.get(key)
        if reader is None:
            raise ScriptError(f"unknown option {name!r}; known: {', '.join(sorted(READERS))}")
        try:
            values[key] = reader(text)
        except ScriptError as error:
            raise ScriptError(f"{name}: {error}") from None
    return replace(base, **values) if values else base


def options_from(values: Mapping[str, Any], base: Options = DEFAULT) -> Options:
    """Options from JSON or Python values: what a header says as text, true/false and numbers too.

    Three more keys than headers have: `headers` (a mapping or list of pairs, added to the reply),
    `body` (text, any JSON value or bytes: the literal body) and `body_base64`.
    """
    pairs: list[tuple[str, str]] = []
    extra: dict[str, Any] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key == "headers":
            items = value.items() if isinstance(value, Mapping) else value
            extra[key] = tuple((str(n), str(v)) for n, v in items)
        elif key == "body_base64":
            extra["body"] = base64.b64decode(value)
        elif key == "body":
            extra[key] = _body(value)
        elif isinstance(value, bool):
            pairs.append((name, "on" if value else "off"))
        elif key == "text":
            extra[key] = str(value)
        elif value is not None:
            pairs.append((name, str(value)))
    return replace(read_options(pairs, base), **extra)


def _body(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def options_in_model(model: str, base: Options = DEFAULT) -> Options:
    """A model named `sim-KEY=VALUE,KEY=VALUE` carries its own script; others carry none."""
    if not model.startswith("sim-") or "=" not in model:
        return base
    pairs = [part.partition("=") for part in model[4:].split(",")]
    return read_options([(name, value) for name, _, value in pairs], base)


@dataclass(slots=True)
class Entry:
    """A queued script: for which requests, how often, what to do, what the request must be."""

    options: Options
    path: str | None = None
    model: str | None = None
    times: int | None = 1
    expect: "Expectation | None" = None


@dataclass(slots=True, frozen=True)
class Expectation:
    """What a request must look like; None and empty ask nothing. `present` maps header names to
    values (None: any value), `absent` lists names that must not be there."""

    method: str | None = None
    path: str | None = None
    present: Mapping[str, str | None] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    body: bytes | None = None

    def differences(
        self, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> list[str]:
        found: list[str] = []
        if self.method is not None and method != self.method:
            found.append(f"method {method!r}, expected {self.method!r}")
        if self.path is not None and target.partition("?")[0] != self.path:
            found.append(f"path {target!r}, expected {self.path!r}")
        seen: dict[str, list[str]] = {}
        for raw_name, raw_value in headers:
            name = raw_name.decode("latin-1").lower()
            seen.setdefault(name, []).append(raw_value.decode("latin-1"))
        for name, value in self.present.items():
            values = seen.get(name.lower())
            if values is None:
                found.append(f"header {name} is missing")
            elif value is not None and value not in values:
                found.append(f"header {name} is {values!r}, expected {value!r}")
        found += [f"header {name} is present" for name in self.absent if name.lower() in seen]
        if self.body is not None and body != self.body:
            found.append(f"body {body[:200]!r}, expected {self.body[:200]!r}")
        return found


class Scripts:
    """The queue: the first entry whose path and model are found in the request is used."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def take(self, target: str, model: str) -> Entry | None:
        for entry in self.entries:
            if entry.path is not None and entry.path not in target:
                continue
            if entry.model is not None and entry.model not in model:
                continue
            if entry.times is not None:
                entry.times -= 1
                if entry.times <= 0:
                    self.entries.remove(entry)
            return entry
        return None


def entry_from(values: Mapping[str, Any]) -> Entry:
    """An entry from one object of a script file. `path`, `model` and `times` (0: for ever) select;
    everything else is an option. Raises ScriptError."""
    rest = dict(values)
    path = rest.pop("path", None)
    model = rest.pop("model", None)
    times = rest.pop("times", 1)
    return Entry(options_from(rest), path, model, times or None)


def load(file: Path) -> list[Entry]:
    """A script file: YAML (.yaml, .yml: a list), a JSON array, or one JSON object per line."""
    text = file.read_text()
    try:
        if file.suffix in (".yaml", ".yml"):
            import yaml  # noqa: PLC0415 -- only this kind of file needs it

            items = yaml.safe_load(text) or []
        elif text.lstrip().startswith("["):
            items = json.loads(text)
        else:
            items = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ScriptError("a list of objects is needed")
        return [entry_from(item) for item in items]
    except (ValueError, ScriptError) as error:
        raise ScriptError(f"{file}: {error}") from error


assert set(READERS) | {"headers", "body"} == {item.name for item in fields(Options)}
