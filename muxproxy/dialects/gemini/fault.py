"""google.rpc errors, read and written."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import faults
from muxproxy.dialects.neutral import Failure

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


def read(status: int, body: bytes) -> Failure:
    """An error answer of Google's. A bad key is a 400 there: its reason says what it is."""
    failure = faults.read(status, body)
    if failure.status == 400 and b"API_KEY_INVALID" in body:
        failure.status = 401
    return failure


def write(failure: Failure) -> tuple[int, dict[str, Any]]:
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
