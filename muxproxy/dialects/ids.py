"""Names of tools and of their calls, as each dialect accepts them.

A call and its result are rewritten by the same function, so that they keep pairing without a
table: nothing has to be remembered between requests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_ANTHROPIC = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")  # tool_use.id: ^[a-zA-Z0-9_-]+$
_MISTRAL = re.compile(r"[A-Za-z0-9]{9}\Z")
_TOOL = re.compile(r"[^A-Za-z0-9_-]")  # function names, at OpenAI and Anthropic
_OURS = "mx-"
_LONG = 90  # characters of an id that are still carried whole
OPENAI_LENGTH = 40  # "Expected a string with maximum length 40"
OPENAI_TOOL_LENGTH = 64
ANTHROPIC_TOOL_LENGTH = 128


def made_up(seed: str | None, choice: int, index: int) -> str:
    """An id for a call that has none: the same for the same answer, another for the next."""
    return "call_" + _digest(f"{seed}/{choice}/{index}")


def anthropic(call: str) -> str:
    """`call`, where Anthropic's pattern allows it; elsewhere a stand-in that `original` undoes
    (Kimi's models want their "functions.name:0" back)."""
    if _ANTHROPIC.match(call):
        return call
    raw = call.encode("utf-8", "replace")
    if not raw or len(raw) > _LONG:
        return "toolu_" + _digest(call)
    return _OURS + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def original(call: str) -> str:
    """The id that `anthropic` stood in for."""
    if not call.startswith(_OURS):
        return call
    text = call[len(_OURS) :]
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return call


def openai(call: str) -> str:
    """`call`, where it is short enough; a stand-in elsewhere."""
    return call if 0 < len(call) <= OPENAI_LENGTH else "call_" + _digest(call)


def mistral(call: str) -> str:
    """`call`, where it is nine letters or digits; a stand-in elsewhere."""
    return call if _MISTRAL.match(call) else _digest(call)[:9]


def tool(name: str, longest: int) -> str:
    """A tool's name, of the characters and the length that a provider takes."""
    fit = _TOOL.sub("_", name)
    if fit == name and len(name) <= longest:
        return name
    return f"{fit[: longest - 9]}_{_digest(name)[:8]}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
