"""Our errors in the caller's own wire format, so that its SDK raises its own exception class.

Before the first byte: `render` and `headers`, with the error's own status. After a 200 has begun:
`error_event`, the dialect's in-band error; it never ends a stream cleanly (no [DONE]).

In every dialect the stable `code` and the error's `details` can be read by a program: members of
the error object for OpenAI and Anthropic, google.rpc details (ErrorInfo.reason and .metadata) for
Gemini. Anthropic's and OpenAI's SDKs keep the whole body on the exception, so do google-genai
(`.details`) and mistralai (`.body`).
"""

from __future__ import annotations

import msgspec

from muxproxy import exchange as words
from muxproxy.errors import MuxError
from muxproxy.headers import Headers, get

Body = dict[str, object]

_encode = msgspec.json.encode

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    407: "authentication_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    407: "authentication_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# google.rpc.Code names by HTTP status, as Google's own gateways map them.
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    407: "UNAUTHENTICATED",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# What a dialect's own members are called: details never overwrite them.
_OWN = frozenset({"message", "type", "code", "request_id"})


def render(dialect: str, error: MuxError, request_id: str | None = None) -> bytes:
    """The JSON body of an answer with status `error.status`, in the caller's dialect."""
    return _encode(_body(dialect, error, request_id))


def headers(error: MuxError) -> Headers:
    """content-type, the error's own headers (retry-after ...) and x-should-retry: false where a
    retry of the same request cannot help (openai's and anthropic's SDKs obey it)."""
    fields: Headers = [(b"content-type", b"application/json")]
    if not error.retryable and get(error.headers, b"x-should-retry") is None:
        fields.append((b"x-should-retry", b"false"))
    return fields + error.headers


def error_event(
    dialect: str,
    endpoint: str,
    error: MuxError,
    request_id: str | None = None,
    sequence: int = 0,
) -> bytes:
    """The SSE event (or events) that tells of `error` in a stream that began with a 200.

    Append it only where the last event is complete: what follows half an event is read as part
    of it. After it the stream ends without any terminator. `sequence` is the next
    sequence_number of a Responses stream.
    """
    body = _body(dialect, error, request_id)
    if dialect == words.ANTHROPIC:
        return b"event: error\ndata: " + _encode(body) + b"\n\n"
    if dialect == words.GEMINI:
        return b"data: " + _encode(body) + b"\r\n\r\n"
    if dialect == words.RESPONSES or endpoint == words.RESPOND:
        return _responses_events(body, error, request_id, sequence)
    return b"data: " + _encode(body) + b"\n\n"


def _body(dialect: str, error: MuxError, request_id: str | None) -> Body:
    if dialect == words.GEMINI:
        return {"error": _google(error, request_id)}
    if dialect == words.ANTHROPIC:
        inner: Body = {"type": _type(_ANTHROPIC_TYPES, error), "message": error.message}
        inner["code"] = error.code
        inner.update(_details(error))
        return {"type": "error", "error": inner, "request_id": request_id}
    inner = {"message": error.message, "type": _type(_OPENAI_TYPES, error), "param": None}
    inner["code"] = error.code
    inner.update(_details(error))
    if request_id is not None:
        inner["request_id"] = request_id
    return {"error": inner}


def _responses_events(body: Body, error: MuxError, request_id: str | None, sequence: int) -> bytes:
    """`error` in both shapes seen in the wild (flat and nested), then response.failed: the SDKs
    raise on the first, Codex reads the second."""
    event = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": None,
        "sequence_number": sequence,
        **body,
    }
    failed = {
        "type": "response.failed",
        "sequence_number": sequence + 1,
        "response": {
            "id": f"resp_{request_id or error.code}",
            "object": "response",
            "status": "failed",
            "error": {"code": error.code, "message": error.message},
            "output": [],
            "usage": None,
        },
    }
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (
        _encode(event),
        _encode(failed),
    )


def _google(error: MuxError, request_id: str | None) -> Body:
    metadata = {name: _text(value) for name, value in error.details.items()}
    if request_id is not None:
        metadata["request_id"] = request_id
    details: list[Body] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": error.code,
            "domain": "muxproxy",
            "metadata": metadata,  # map<string, string> by its definition
        }
    ]
    wait = get(error.headers, b"retry-after")
    if wait is not None and wait.isdigit():
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": wait.decode("ascii") + "s",
            }
        )
    status = _GOOGLE_STATUS.get(error.status)
    if status is None:
        status = "FAILED_PRECONDITION" if error.status < 500 else "INTERNAL"
    return {"code": error.status, "message": error.message, "status": status, "details": details}


def _details(error: MuxError) -> Body:
    return {name: value for name, value in error.details.items() if name not in _OWN}


def _type(names: dict[int, str], error: MuxError) -> str:
    known = names.get(error.status)
    if known is not None:
        return known
    return "invalid_request_error" if error.status < 500 else "api_error"


def _text(value: object) -> str:
    return value if isinstance(value, str) else _encode(value).decode()
