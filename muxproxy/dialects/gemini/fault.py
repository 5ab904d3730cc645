"""google.rpc errors, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import text_of

# google.rpc.Code names by HTTP status.
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}


def read(status: int, body: bytes) -> n.Failure:
    """An error answer of Google's; an array around it (a stream's) is taken off."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return n.Failure(message=f"the provider answered {status}", status=status)
    if isinstance(value, list) and value:
        value = value[0]
    return failure_of(value if isinstance(value, dict) else {}, status)


def failure_of(document: dict[str, Any], status: int | None) -> n.Failure:
    """The error of one document. A bad key is a 400 here: its reason says what it is."""
    error = document.get("error")
    if not isinstance(error, dict):
        text = text_of(error) or f"the provider answered {status or 'an error'}"
        return n.Failure(message=text, status=status)
    code = error.get("code")
    if status is None and code.__class__ is int and 400 <= code <= 599:
        status = code
    failure = n.Failure(
        message=text_of(error.get("message")) or f"the provider answered {status}",
        status=status,
        kind=text_of(error.get("status")) or None,
    )
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        kind = text_of(detail.get("@type"))
        if kind.endswith("RetryInfo"):
            failure.retry_after = _seconds(text_of(detail.get("retryDelay")))
        elif kind.endswith("ErrorInfo"):
            failure.code = text_of(detail.get("reason")) or None
    if failure.code == "API_KEY_INVALID" and failure.status == 400:
        failure.status = 401
    return failure


def _seconds(text: str) -> float | None:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return None


def write(failure: n.Failure) -> tuple[int, dict[str, Any]]:
    """(status, body) for a caller of Gemini."""
    status = failure.status or 500
    word = _WORDS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    details: list[dict[str, Any]] = []
    if failure.code:
        info = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": info, "reason": failure.code, "domain": "muxproxy"})
    if failure.retry_after is not None:
        info = "type.googleapis.com/google.rpc.RetryInfo"
        details.append({"@type": info, "retryDelay": f"{failure.retry_after:g}s"})
    error: dict[str, Any] = {"code": status, "message": failure.message, "status": word}
    if details:
        error["details"] = details
    return status, {"error": error}
