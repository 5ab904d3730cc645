"""What the marked text fields of `config.model` take, and the words for it.

Small questions about a field's type, for `config.reader` and `config.schema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import inspect as types

from muxproxy.config import units


def _egress(text: str) -> str:
    return text if text == "none" else units.url(text, ("http", "https", "socks5", "socks5h"))


def _state(text: str) -> str:
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme not in ("", "sqlite", "redis", "rediss", "postgresql", "postgres"):
        raise units.Expected("a file, or redis://... or postgresql://...", text)
    if not text:
        raise units.Expected("a file such as ./muxproxy.db", text)
    return text


def _hostport(text: str) -> str:
    found = units.address(text) if ":" in text else None
    if found is None or found.unix is not None or not found.host or not found.port:
        raise units.Expected("host:port, such as 10.0.0.5:443", text)
    return text


def _matching(pattern: str, expected: str) -> Callable[[str], object]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> object:
        if not compiled.fullmatch(text):
            raise units.Expected(expected, text)
        return text

    return check


KINDS: dict[str, Callable[[Any], object]] = {
    "duration": units.duration,
    "delay": units.delay,
    "size": units.size,
    "rate": units.rate,
    "window": units.window,
    "amount": units.amount,
    "share": units.share,
    "zone": units.zone,
    "url": units.url,
    "address": units.address,
    "glob": units.glob,
    "egress": _egress,
    "state": _state,
    "header": _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "a header name such as x-user"),
    "hostglob": _matching(
        r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:]+:[0-9A-Fa-f:.]*",
        "a host such as api.example.com, or *.example.com",
    ),
    "hostport": _hostport,
    "sha256": _matching(r"[0-9a-fA-F]{64}", "the SHA-256 of the key as 64 hex digits"),
}
# Fields of these kinds are never shown, and are kept as Secret.
HIDDEN = frozenset({"secret", "sha256"})
EXPECTED = {
    "duration": units.DURATION,
    "delay": units.DELAY,
    "size": units.SIZE,
    "rate": units.RATE,
    "window": units.WINDOW,
    "amount": units.AMOUNT,
    "share": units.SHARE,
    "url": units.URL,
    "address": units.ADDRESS,
}


def accept(
    value: object, text: str, flat: tuple[types.Type, ...], changed: bool
) -> tuple[bool, Any]:
    """(whether one of the types takes the scalar, the value as that type)."""
    for one in flat:
        if isinstance(one, types.LiteralType) and text in one.values:
            return True, text
    if value is None and not changed:
        return has(flat, types.NoneType), None
    if isinstance(value, bool):
        return has(flat, types.BoolType), value
    if isinstance(value, int):
        if has(flat, types.IntType):
            return True, value
        if has(flat, types.FloatType):
            return True, float(value)
    if isinstance(value, float) and has(flat, types.FloatType):
        return True, value
    # An expanded ${NAME} is text wherever text is wanted, also when it looks like a number.
    if isinstance(value, str) or changed:
        return has(flat, types.StrType), text
    return False, None


def has(flat: tuple[types.Type, ...], cls: type) -> bool:
    """Whether one of the types is of that class."""
    return any(isinstance(one, cls) for one in flat)


def mark_of(kind: types.Type) -> str:
    """The name of the parser that reads this field, or \"\"."""
    if isinstance(kind, types.Metadata):
        return str((kind.extra or {}).get("kind", ""))
    return ""


def container_type(kind: types.Type) -> bool:
    """Whether it may be a mapping or list."""
    options = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return any(isinstance(o, (types.StructType, types.DictType, types.ListType)) for o in options)


def internal(kind: types.Type) -> bool:
    """A field that the loader fills in, unknown to users."""
    options = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return any(mark_of(one) == "internal" for one in options)


def shorten(text: str) -> str:
    """A value of the file within a message."""
    line = text if len(text) <= 60 else f"{text[:57]}..."
    return line if line.isprintable() and line.strip() == line and line else repr(line)


def describe(options: tuple[types.Type, ...], mark: str = "") -> str:
    """What these types take, for a sentence after "expected"."""
    mark = mark or next((mark_of(o) for o in options if mark_of(o)), "")
    if mark in EXPECTED:
        return EXPECTED[mark]
    words: list[str] = []
    for one in options:
        if isinstance(one, types.LiteralType):
            words.extend(map(str, one.values))
        elif isinstance(one, types.UnionType):
            words.append(describe(one.types))
        elif not isinstance(one, types.NoneType):
            words.append(_WORDS.get(type(one), "text"))
    words = list(dict.fromkeys(words))
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


_WORDS: dict[type, str] = {
    types.StrType: "text",
    types.IntType: "a whole number",
    types.FloatType: "a number",
    types.BoolType: "true or false",
    types.ListType: "a list",
    types.DictType: "a mapping",
    types.StructType: "a mapping",
}


def placeholder(kind: types.Type) -> Any:
    """A harmless value of that type, so that reading can go on after a fault."""
    if isinstance(kind, types.Metadata):
        return placeholder(kind.type)
    if isinstance(kind, types.UnionType):
        return None if has(kind.types, types.NoneType) else placeholder(kind.types[0])
    if isinstance(kind, types.LiteralType):
        return kind.values[0]
    if isinstance(kind, types.StructType):
        required = {f.name: placeholder(f.type) for f in kind.fields if f.required}
        return kind.cls(**required)
    empty: dict[type, Callable[[], Any]] = {
        types.StrType: str,
        types.IntType: int,
        types.FloatType: float,
        types.BoolType: bool,
        types.ListType: list,
        types.DictType: dict,
    }
    return empty.get(type(kind), lambda: None)()
