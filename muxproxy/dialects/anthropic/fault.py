"""Errors of Anthropic Messages."""

from __future__ import annotations

from muxproxy.dialects.faults import read
from muxproxy.dialects.neutral import Failure

__all__ = ["read", "write"]

_STATUSES = {422: 400, 503: 529}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def write(failure: Failure) -> tuple[int, dict[str, object]]:
    """(status, body) in Anthropic's shape, for an answer or for the data of an error event."""
    told = failure.status or 500
    status = _STATUSES.get(told, told)
    kind = _TYPES.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "api_error"
    message = failure.message or "the provider failed"
    return status, {"type": "error", "error": {"type": kind, "message": message}}
