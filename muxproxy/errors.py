"""Every way an exchange can fail, as one flat table: code, status, and whether a retry may help.

MuxError
  status, code, message, retryable, details, headers
raised by any stage before the first byte went to the caller; `dialects.errors.render`
turns it into the caller's dialect. Messages are public: they never hold a prompt, a key
or a provider's body.
"""

from __future__ import annotations

# code -> (HTTP status, may a retry of the same request help?)
CODES: dict[str, tuple[int, bool]] = {
    "invalid_json": (400, False),
    "invalid_request": (400, False),
    "unsupported_translation": (400, False),
    "unauthorized": (401, False),
    "budget_exceeded": (402, False),
    "unknown_price": (402, False),
    "forbidden": (403, False),
    "denied_by_rule": (403, False),
    "origin_not_allowed": (403, False),
    "not_found": (404, False),
    "model_not_found": (404, False),
    "method_not_allowed": (405, False),
    "proxy_unauthorized": (407, False),
    "request_timeout": (408, True),
    "body_too_large": (413, False),
    "misdirected_request": (421, False),
    "upgrade_required": (426, False),
    "rate_limited": (429, True),
    "headers_too_large": (431, False),
    "internal_error": (500, False),
    "not_implemented": (501, False),
    "upstream_connect": (502, True),
    "upstream_protocol": (502, True),
    "upstream_died": (502, True),
    "ledger_unavailable": (503, True),
    "overloaded": (503, True),
    "shutting_down": (503, True),
    "provider_off": (503, False),
    "upstream_timeout": (504, True),
    "loop_detected": (508, False),
}


class MuxError(Exception):
    """A failure with a stable code. `details` are extra public members of the error body."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: dict[str, object] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retryable = CODES[code]
        self.code = code
        self.message = message
        self.details = details or {}
        self.headers = headers or []


def untraced(error: BaseException) -> None:
    """Drop the tracebacks of an error that is kept, and of what it came from. Their frames lead
    back to the exchange, and what goes in a circle is left to the garbage collector."""
    following: BaseException | None = error
    while following is not None and following.__traceback__ is not None:
        following.__traceback__ = None
        following = following.__cause__ or following.__context__
