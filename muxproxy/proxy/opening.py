"""How a 200 begins: an overload told in its body, before any of it reached the caller.

Anthropic sends `overloaded_error` as the first event of a stream, OpenAI and its compatibles an
`error` event, OpenRouter a JSON body with nothing but `error`. Where another candidate may
answer, such a reply counts as 529. Sans I/O.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from muxproxy.sse import Framer

# Errors that another candidate would answer with as well: they go to the caller.
_CALLERS = frozenset(
    {
        "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND",
        "FAILED_PRECONDITION", "OUT_OF_RANGE", "invalid_request_error", "authentication_error",
        "permission_error", "not_found_error", "billing_error", "request_too_large",
        "invalid_api_key", "model_not_found", "insufficient_quota", "context_length_exceeded",
        "content_filter", "content_policy_violation", "invalid_prompt",
    }
)  # fmt: skip
_WAIT = frozenset({408, 409, 425, 429})
_ERROR_BODY = re.compile(rb'\s*\{\s*"(?:error"|type"\s*:\s*"error")')
_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SHORT = 24  # bytes of a JSON body that show whether it is an error
_decode = msgspec.json.decode


class Events:
    """Looks for the first event of a stream."""

    __slots__ = ("_seen", "found")

    def __init__(self) -> None:
        self.found: bytes | None = None
        self._seen = 0

    def enough(self, begun: bytes) -> bool:
        """Whether the first event is there; comments and Anthropic's pings are none."""
        if len(begun) == self._seen:
            return self.found is not None
        self._seen = len(begun)
        for name, payload in Framer().feed(begun):
            if name != b"ping":
                self.found = payload
                return True
        return False


def document(begun: bytes) -> bool:
    """Whether a JSON body shows that it is no error; an error is waited for to its end."""
    return len(begun.lstrip()) >= _SHORT and _ERROR_BODY.match(begun) is None


def overload(payload: bytes | None) -> str | None:
    """What an event or a body complains of, where another candidate may do better."""
    if payload is None or b'"error"' not in payload:
        return None
    try:
        told: Any = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(told, list):  # Gemini without alt=sse
        told = told[0] if told else None
    if not isinstance(told, dict):
        return None
    error = told.get("error")
    inner = told.get("response")
    if error is None and told.get("type") == "response.failed" and isinstance(inner, dict):
        error = inner.get("error")
    if error is None and told.get("type") == "error":
        error = told
    if isinstance(error, str) and error:
        return "error"
    if not isinstance(error, dict):
        return None
    return _judge(error)


def _judge(error: dict[str, Any]) -> str | None:
    words = [error.get(name) for name in ("type", "code", "status")]
    for word in words:
        if isinstance(word, str) and word in _CALLERS:
            return None
        number = _number(word)
        if 400 <= number < 500 and number not in _WAIT:
            return None
    texts = [word for word in words if isinstance(word, str) and word and word != "error"]
    return texts[0] if texts and _WORD.fullmatch(texts[0]) else "error"


def _number(word: object) -> int:
    """A status as a number or as digits; 0: it is none."""
    if isinstance(word, int):
        return word
    digits = isinstance(word, str) and word.isascii() and word.isdigit() and len(word) < 6
    return int(word) if isinstance(word, str) and digits else 0
