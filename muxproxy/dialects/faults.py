"""An error body of any provider as one Failure.

Read by shape, as recorded (see each branch); statuses that a dialect leaves out are told by its
words for them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from muxproxy.dialects.neutral import Answer, Failure, Finish
from muxproxy.errors import MuxError

_decode = msgspec.json.Decoder().decode
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s\Z")

# Statuses by the words that providers use for them in bodies and events.
STATUSES: dict[str, int] = {
    # Anthropic: anthropic/_exceptions.py and types/shared
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # OpenAI
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "model_not_found": 404,
    "invalid_api_key": 401,
    "server_error": 500,
    "service_unavailable": 503,
    # Google
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def read(status: int, body: bytes) -> Failure:
    """The Failure of an answer with `status`; never raises."""
    try:
        document = _decode(body.strip())
    except (msgspec.DecodeError, RecursionError):
        return Failure(message=f"the provider answered with status {status}", status=status)
    if isinstance(document, list) and document:
        document = document[0]  # Gemini's stream without alt=sse
    failure = of(document)
    if 400 <= status < 600 or failure.status is None:
        failure.status = status
    if not failure.message:
        failure.message = f"the provider answered with status {status}"
    return failure


def ended(finish: Finish) -> Failure:
    """What to tell of a choice that its provider ended with an error: never a clean stop."""
    word = finish.native or "error"
    return Failure(message=f"the provider ended the answer with {word}", status=502, kind=word)


def refuse_empty(answer: Answer) -> None:
    """Raises MuxError upstream_protocol for an answer of nothing but an error's word."""
    for output in answer.outputs:
        if output.finish.reason == "error" and not output.parts:
            raise MuxError("upstream_protocol", ended(output.finish).message)


def of(document: object) -> Failure:
    """The Failure that a decoded body or stream event tells of."""
    if not isinstance(document, dict):
        return Failure(message=document if isinstance(document, str) else "")
    error = document.get("error")
    if isinstance(error, dict):
        failure = _object(error)
    elif isinstance(error, str):  # xAI {code, error}, Ollama {error}
        failure = Failure(message=error, kind=_word(document.get("code")))
    else:
        failure = _flat(document)
    if failure.status is None:
        for word in (failure.kind, failure.code):
            if word in STATUSES:
                failure.status = STATUSES[word]
                break
    return failure


def _object(error: dict[str, Any]) -> Failure:
    """OpenAI, Azure, Groq, DeepSeek, OpenRouter (code is a number), Anthropic, Gemini."""
    code = error.get("code")
    number = error.get("status_code", code)
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    details = error.get("details")
    return Failure(
        message=_word(error.get("message")) or "",
        status=number if number.__class__ is int and 400 <= number < 600 else None,
        kind=_word(error.get("type")) or _word(error.get("status")),
        code=code if isinstance(code, str) else None,
        param=_word(error.get("param")),
        retry_after=_delay(details) if isinstance(details, list) else None,
    )


def _flat(document: dict[str, Any]) -> Failure:
    """Mistral {object, message, type, code} and {detail}, Cohere {id, message}, Voyage {detail},
    Bedrock {message}."""
    detail = document.get("detail")
    message = _word(document.get("message")) or _word(document.get("detail")) or ""
    nested = document.get("message")
    if isinstance(nested, dict):  # Mistral's 422: {"message": {"detail": [...]}}
        detail = nested.get("detail")
    if not message and isinstance(detail, list):
        message = "; ".join(_complaint(entry) for entry in detail if isinstance(entry, dict))
    code = document.get("code")
    return Failure(
        message=message,
        kind=_word(document.get("type")),
        code=str(code) if isinstance(code, str | int) and code.__class__ is not bool else None,
        param=_word(document.get("param")),
    )


def _complaint(entry: dict[str, Any]) -> str:
    """One entry of a FastAPI 422: where, and what."""
    where = entry.get("loc")
    told = ".".join(str(step) for step in where) if isinstance(where, list) else ""
    message = _word(entry.get("msg")) or "not valid"
    return f"{told}: {message}" if told else message


def _delay(details: list[Any]) -> float | None:
    """google.rpc.RetryInfo.retryDelay, in seconds."""
    for entry in details:
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        match = _DELAY.match(delay) if isinstance(delay, str) else None
        if match is not None:
            return float(match[1])
    return None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
