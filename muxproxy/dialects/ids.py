"""Tool-call ids as each dialect accepts them.

The call and its result are rewritten by the same function, so that they keep pairing without a
table: nothing has to be remembered between requests.
"""

from __future__ import annotations

import hashlib
import re

_ANTHROPIC = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")  # tool_use.id: ^[a-zA-Z0-9_-]+$
_MISTRAL = re.compile(r"[A-Za-z0-9]{9}\Z")
OPENAI_LENGTH = 40  # "Expected a string with maximum length 40"


def made_up(seed: str | None, choice: int, index: int) -> str:
    """An id for a call that has none: the same for the same answer, another for the next."""
    return "call_" + _digest(f"{seed}/{choice}/{index}")


def anthropic(call: str) -> str:
    """`call`, where Anthropic's pattern allows it; a stand-in elsewhere."""
    return call if _ANTHROPIC.match(call) else "toolu_" + _digest(call)


def openai(call: str) -> str:
    """`call`, where it is short enough; a stand-in elsewhere."""
    return call if 0 < len(call) <= OPENAI_LENGTH else "call_" + _digest(call)


def mistral(call: str) -> str:
    """`call`, where it is nine letters or digits; a stand-in elsewhere."""
    return call if _MISTRAL.match(call) else _digest(call)[:9]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
