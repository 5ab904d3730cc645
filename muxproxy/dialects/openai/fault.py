"""Errors of OpenAI chat and its compatibles."""

from __future__ import annotations

from muxproxy.dialects.faults import read
from muxproxy.dialects.neutral import Failure

__all__ = ["read", "write"]

# Statuses that OpenAI's clients know, for those they do not.
_STATUSES = {529: 503}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}
# What OpenAI says itself in `code`, which programs branch on.
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def write(failure: Failure) -> tuple[int, dict[str, object]]:
    """(status, body) in OpenAI's shape, for an answer or for the data of a stream's event."""
    told = failure.status or 500
    status = _STATUSES.get(told, told)
    kind = _TYPES.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {
        "error": {
            "message": failure.message or "the provider failed",
            "type": kind,
            "param": failure.param,
            "code": failure.code or _CODES.get(status),
        }
    }
