"""What belongs together: the session that a caller names, or else the conversation.

A conversation is known by its beginning, which every later turn repeats: the system prompt and the
first message of the user.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

_HEADERS = (b"x-session-id", b"session_id", b"x-conversation-id")
_FIRST = 8  # messages looked at for the first of the user


class _Role(msgspec.Struct, gc=False):
    role: Any = None


class _Begun(msgspec.Struct, gc=False):
    """What conversations begin with in every dialect."""

    messages: list[msgspec.Raw] | None = None
    contents: list[msgspec.Raw] | None = None
    input: msgspec.Raw = msgspec.Raw(b"")
    system: msgspec.Raw = msgspec.Raw(b"")
    instructions: msgspec.Raw = msgspec.Raw(b"")
    systemInstruction: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Begun).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_role = msgspec.json.Decoder(_Role).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def session_of(x: Exchange) -> bytes | None:
    """A short name of the session or conversation; None: the request is on its own."""
    caller = x.caller
    named = caller.run.encode() if caller.run is not None else None
    for name in _HEADERS:
        if named is None:
            named = x.fields.get(name)
    if named is None:
        named = _beginning(x.body)
    if named is None:
        return None
    return hashlib.blake2b(named, digest_size=16, key=caller.key.encode()[:64]).digest()


def conversation_of(x: Exchange) -> bytes | None:
    """The conversation alone, whatever session or run it belongs to; None: there is none."""
    begun = _beginning(x.body)
    if begun is None:
        return None
    return hashlib.blake2b(begun, digest_size=16, key=x.caller.key.encode()[:64]).digest()


def _beginning(body: bytes) -> bytes | None:
    try:
        begun = _decode(body)
        items = begun.messages if begun.messages is not None else begun.contents
        if items is None and bytes(begun.input)[:1] == b"[":
            items = _items(begun.input)
    except _UNREADABLE:
        return None
    parts = [bytes(begun.system), bytes(begun.instructions), bytes(begun.systemInstruction)]
    if items is None:
        parts.append(bytes(begun.input))
        return b"\0".join(parts) if begun.input else None
    for item in items[:_FIRST]:
        parts.append(bytes(item))
        try:
            if _role(item).role in ("user", None):
                break
        except _UNREADABLE:
            break
    return b"\0".join(parts)


def rank(session: bytes, name: str) -> int:
    """How well that name suits the session: the best of several stays the best when others go
    (rendezvous hashing)."""
    found = hashlib.blake2b(name.encode(), digest_size=8, key=session).digest()
    return int.from_bytes(found, "big")
