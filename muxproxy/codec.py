"""Byte-exact edits of a JSON object's top-level members.

A caller's body goes upstream as the caller wrote it, so that prompt caches keep hitting: an edit
replaces the bytes of one value and nothing else. Owns no state. Never parses what it does not
have to (bodies are up to 64 MiB of base64), never recurses, never judges: the body is expected to
be one JSON object (`inspection` has refused everything else) and ValueError is raised where it
plainly is not.

Where a member occurs more than once the last one counts, as in every JSON parser we know of that
accepts duplicates (RFC 8259 section 4 leaves it open); the others stay as they are. Keys written
with escapes (`"mod\\u0065l"`) are the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\n\r"

_encode = msgspec.json.Encoder().encode
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")

_GAP = re.compile(rb"[ \t\n\r]*+")
_COLON = re.compile(rb"[ \t\n\r]*+:[ \t\n\r]*+")
_SCALAR = re.compile(rb"[^ \t\n\r,}\]\"\[{]++")
# The inside of a string; matched in windows so that long plain runs are left to bytes.find.
_CHARS = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)
_WINDOW = 4096
_FEW = 64  # backslashes looked at one by one (memchr) before searching for two bytes
# The inside of a container as far as one match can go: whole short strings without escapes and
# containers that hold nothing deeper (most messages, parts and schema leaves).
_FLAT = rb"(?:[^\"\[\]{}]++|\"[^\"\\]{0,1024}+\")*+"
_RUN = re.compile(
    rb"(?:[^\"\[\]{}]++|\"[^\"\\]{0,1024}+\"|\{" + _FLAT + rb"\}|\[" + _FLAT + rb"\])*+"
)
_OPENING = re.compile(rb"[\[{]++")


class _Model(msgspec.Struct, gc=False):
    model: msgspec.Raw = msgspec.Raw()


_MODEL = msgspec.json.Decoder(_Model)


class Member(NamedTuple):
    """Where one member stands in the body; `name` is decoded, the rest are byte offsets."""

    name: str
    start: int  # the key's opening quote
    value: int
    end: int


def set_model(body: bytes, old: str, new: str) -> bytes:
    """`body` with the value of its top-level model set to `new`: what set_members does, faster
    where the value is `old` in its plain spelling and nothing else is called "model"."""
    at = body.find(b'"model"')
    if at >= 0 and body.rfind(b'"model"') == at and not _may_escape_names(body):
        colon = _COLON.match(body, at + 7)
        if colon is not None:
            token = _encode(old)
            start = colon.end()
            # That it is a top-level member only a decoder knows: deeper down it is not ours.
            if body.startswith(token, start) and _has_model(body):
                return _splice(body, [(start, start + len(token), _encode(new))])
    return set_members(body, {"model": new})


def set_members(
    body: bytes,
    values: Mapping[str, object],
    *,
    remove: Collection[str] = (),
    nested: Mapping[str, Mapping[str, object]] | None = None,
) -> bytes:
    """`body` with top-level members set or removed; every other byte is kept.

    `values`: name -> new value (anything msgspec can encode, or `msgspec.Raw`). An absent member
    is inserted before the final brace.
    `remove`: names whose members go, all duplicates of them, each with one comma. A name that is
    also set is not removed.
    `nested`: name -> members to set inside that member when it is an object; when it is absent
    or null it becomes an object of these members; a value of any other type is left alone.

    Returns `body` itself when there is nothing to change. Raises ValueError for a body that is
    no JSON object.
    """
    source = _Source(body)
    edits: list[tuple[int, int, bytes]] = []
    inserts: list[bytes] = []
    for name, value in values.items():
        place = source.find(name)
        if place is None:
            inserts.append(_member(name, value))
        else:
            edits.append((*place, _encode(value)))
    for name, inner in (nested or {}).items():
        place = source.find(name)
        if place is None:
            inserts.append(_member(name, inner))
            continue
        merged = _merge(body[place[0] : place[1]], inner)
        if merged is not None:
            edits.append((*place, merged))
    kept = {*values, *(nested or ())}
    gone = {name for name in remove if name not in kept and source.find(name) is not None}
    empty = None
    if gone:
        members = source.members()
        edits += _removals(members, gone)
        empty = all(member.name in gone for member in members)
    if inserts:
        edits.append(_insertion(body, b",".join(inserts), empty))
    edits.sort(key=_start)
    return _splice(body, edits) if edits else body


def scan(body: bytes) -> list[Member]:
    """Every top-level member in order, duplicates included. Raises ValueError.

    One pass, no recursion: containers are skipped by counting brackets, strings by searching
    their closing quote.
    """
    at = _after_gap(body, 3 if body.startswith(_BOM) else 0)
    if body[at : at + 1] != b"{":
        raise ValueError("not a JSON object")
    at = _after_gap(body, at + 1)
    members: list[Member] = []
    if body[at : at + 1] == b"}":
        return members
    while body[at : at + 1] == b'"':
        key_end = _string_end(body, at)
        colon = _COLON.match(body, key_end)
        if colon is None:
            raise ValueError(f"no colon after the key at byte {at}")
        end = _value_end(body, colon.end())
        members.append(Member(_name(body[at:key_end]), at, colon.end(), end))
        at = _after_gap(body, end)
        mark = body[at : at + 1]
        if mark == b"}":
            return members
        if mark != b",":
            break
        at = _after_gap(body, at + 1)
    raise ValueError(f"not a JSON object: unexpected input at byte {at}")


# -- where things are ------------------------------------------------------------------------


class _Source:
    """A body being edited: what is known of it is found out once, and only when asked for."""

    __slots__ = ("_body", "_known", "_members", "_plain")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._plain: bool | None = None
        self._known: dict[str, msgspec.Raw] | None = None
        self._members: list[Member] | None = None

    def members(self) -> list[Member]:
        if self._members is None:
            self._members = scan(self._body)
        return self._members

    def find(self, name: str) -> tuple[int, int] | None:
        """Start and end of the value of the last top-level member `name`, None if absent."""
        body = self._body
        if self._members is None and _PLAIN_NAME.fullmatch(name) is not None:
            if self._plain is None:
                self._plain = not _may_escape_names(body)
            if self._plain:
                token = b'"%b"' % name.encode()
                at = body.find(token)
                if at < 0:
                    return None
                if body.rfind(token) == at and (known := self._decoded()) is not None:
                    # The one occurrence is the key, or deeper inside, or a string's value.
                    raw = known.get(name)
                    colon = _COLON.match(body, at + len(token))
                    if raw is None or colon is None:
                        return None
                    return colon.end(), colon.end() + len(raw)
        for member in reversed(self.members()):
            if member.name == name:
                return member.value, member.end
        return None

    def _decoded(self) -> dict[str, msgspec.Raw] | None:
        """The members by name, or None where msgspec cannot read the body (NaN, too deep ...):
        the scanner is more patient."""
        if self._known is None:
            body = self._body
            try:
                self._known = _MEMBERS.decode(
                    memoryview(body)[3:] if body.startswith(_BOM) else body
                )
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                return None
        return self._known


def _has_model(body: bytes) -> bool:
    try:
        return len(_MODEL.decode(body).model) > 0
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False


def _may_escape_names(body: bytes) -> bool:
    """Whether a plain ASCII name could be written with escapes somewhere in `body`."""
    at = body.find(b"\\")
    for _ in range(_FEW):
        if at < 0:
            return False
        if body.startswith(b"u00", at + 1):
            return True
        at = body.find(b"\\", at + 2)
    return at >= 0 and body.find(b"\\u00", at) >= 0


def _name(token: bytes) -> str:
    """A key's text. Escapes that are no text (lone surrogates) make a name nobody asks for."""
    if b"\\" not in token:
        return token[1:-1].decode("utf-8", "replace")
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return token.decode("utf-8", "replace")


def _after_gap(body: bytes, at: int) -> int:
    match = _GAP.match(body, at)
    return match.end() if match is not None else at


def _value_end(body: bytes, at: int) -> int:
    first = body[at : at + 1]
    if first == b'"':
        return _string_end(body, at)
    if first in (b"{", b"["):
        return _container_end(body, at)
    scalar = _SCALAR.match(body, at)
    if scalar is None:
        raise ValueError(f"no value at byte {at}")
    return scalar.end()


def _string_end(body: bytes, at: int) -> int:
    """The offset after the closing quote of the string that opens at `at`."""
    at += 1
    size = len(body)
    while at < size:
        match = _CHARS.match(body, at, at + _WINDOW)
        end = match.end() if match is not None else at
        if body[end : end + 1] == b'"':
            return end + 1
        if end - at < _WINDOW - 1:
            break  # a backslash at the very end of the body
        # A long string: the next quote ends it unless an odd run of backslashes is before it.
        quote = body.find(b'"', end)
        if quote < 0:
            break
        tail = body[max(end, quote - 64) : quote]
        run = len(tail) - len(tail.rstrip(b"\\"))
        if run == 0 or (run < len(tail) and run % 2 == 0):
            return quote + 1
        # Escaped, or too long a run to tell: go on from what is known to be between characters.
        at = quote + 1 if run < len(tail) else end
    raise ValueError("a string is not closed")


def _container_end(body: bytes, at: int) -> int:
    """The offset after the bracket that closes the one at `at`. Kinds of brackets are trusted."""
    depth = 1
    at += 1
    size = len(body)
    while at < size:
        match = _RUN.match(body, at)
        at = match.end() if match is not None else at
        mark = body[at : at + 1]
        if mark == b'"':
            at = _string_end(body, at)
        elif mark in (b"}", b"]"):
            depth -= 1
            at += 1
        else:
            opening = _OPENING.match(body, at)
            if opening is None:
                break
            depth += opening.end() - at
            at = opening.end()
        if depth == 0:
            return at
    raise ValueError("a container is not closed")


# -- edits -----------------------------------------------------------------------------------


def _merge(current: bytes, members: Mapping[str, object]) -> bytes | None:
    """`current` (a value's bytes) with `members` set inside it; None: leave it alone."""
    if current == b"null":
        return _encode(members)
    if not current.startswith(b"{"):
        return None
    return set_members(current, members)


def _removals(members: list[Member], gone: Collection[str]) -> list[tuple[int, int, bytes]]:
    """Deletions that leave the remaining members with exactly the commas they need."""
    last_kept = max((i for i, m in enumerate(members) if m.name not in gone), default=-1)
    edits = []
    for i, member in enumerate(members):
        if member.name not in gone:
            continue
        if i < last_kept:  # up to the next key, comma included
            edits.append((member.start, members[i + 1].start, b""))
        elif i:  # nothing follows: the comma before it
            edits.append((members[i - 1].end, member.end, b""))
        else:
            edits.append((member.start, member.end, b""))
    return edits


def _insertion(body: bytes, text: bytes, empty: bool | None) -> tuple[int, int, bytes]:
    """`text` before the final brace; `empty`: whether nothing will stand before it (None: see)."""
    end = _before_space(body, len(body))
    first = _after_gap(body, 3 if body.startswith(_BOM) else 0)
    if body[first : first + 1] != b"{" or body[end - 1 : end] != b"}" or end - 1 <= first:
        raise ValueError("not a JSON object")
    if empty is None:
        empty = _before_space(body, end - 1) == first + 1
    return end - 1, end - 1, text if empty else b"," + text


def _before_space(body: bytes, end: int) -> int:
    while end and body[end - 1] in _SPACE:
        end -= 1
    return end


def _member(name: str, value: object) -> bytes:
    return _encode(name) + b":" + _encode(value)


def _start(edit: tuple[int, int, bytes]) -> int:
    return edit[0]


def _splice(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """One new bytes object; what is kept is copied once, straight into it."""
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    at = 0
    for start, end, replacement in edits:
        pieces.append(view[at:start])
        pieces.append(replacement)
        at = end
    pieces.append(view[at:])
    return b"".join(pieces)
