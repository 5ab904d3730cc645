"""Error answers and mid-stream error events, as each provider writes them, and its other headers:
request id and rate limits."""

from typing import Any

from muxproxy.sim.answer import Answer, data, dumps, event
from muxproxy.sim.http import Headers
from muxproxy.sim.script import Options, ScriptError, duration

_OPENAI: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The simulated provider found this request invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-sim."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to do this."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    408: ("timeout_error", "request_timeout", "The request timed out."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", None, "Unprocessable request."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", "overloaded", "The engine is currently overloaded."),
    529: ("server_error", "overloaded", "The engine is currently overloaded."),
}
_ANTHROPIC: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "messages: the simulated provider found this invalid"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low"),
    403: ("permission_error", "Your API key does not have permission"),
    404: ("not_found_error", "model: not found"),
    408: ("timeout_error", "Request timed out"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    422: ("invalid_request_error", "Unprocessable request"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}
_GEMINI: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "The model is not found for API version v1beta."),
    408: ("DEADLINE_EXCEEDED", "The request timed out."),
    413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    422: ("INVALID_ARGUMENT", "Unprocessable request."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    529: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def _gemini_error(status: int, options: Options, message: str | None) -> dict[str, Any]:
    word, text = _GEMINI.get(status, ("UNKNOWN", f"simulated status {status}"))
    error: dict[str, Any] = {
        "code": status,
        "message": message or text,
        "status": options.code or word,
    }
    if options.retry_after is not None:
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{options.retry_after}s",
            }
        ]
    return {"error": error}


def error_body(dialect: str, options: Options, request_id: str, message: str | None = None) -> Any:
    """The JSON of an error answer; `message` replaces the usual text."""
    status = options.status
    if dialect == "anthropic":
        kind, text = _ANTHROPIC.get(status, ("api_error", f"simulated status {status}"))
        return {
            "type": "error",
            "error": {"type": options.code or kind, "message": message or text},
            "request_id": request_id,
        }
    if dialect == "gemini":
        return _gemini_error(status, options, message)
    if dialect == "cohere":
        return {"id": request_id, "message": message or f"simulated status {status}"}
    if dialect == "ollama":
        return {"error": message or f"simulated status {status}"}
    kind_, code, text = _OPENAI.get(status, ("server_error", None, f"simulated status {status}"))
    return {
        "error": {
            "message": message or text,
            "type": kind_,
            "param": "model" if code == "model_not_found" else None,
            "code": options.code or code,
        }
    }


def error_answer(
    dialect: str, options: Options, request_id: str, message: str | None = None
) -> Answer:
    headers: Headers = [(b"Content-Type", b"application/json")]
    headers += id_headers(dialect, request_id)
    if options.retry_after is not None and dialect != "gemini":
        headers.append((b"retry-after", options.retry_after.encode()))
    if dialect == "anthropic" and options.status < 500 and options.status not in (408, 429):
        headers.append((b"x-should-retry", b"false"))
    return Answer(
        options.status, headers, [dumps(error_body(dialect, options, request_id, message))]
    )


def error_events(dialect: str, sequence: int, response: dict[str, Any] | None) -> list[bytes]:
    """What the stream says when it fails after its 200. `sequence` and `response` (the response
    object so far) are for the Responses API."""
    overloaded = "Overloaded"
    if dialect == "anthropic":
        return [
            event(
                "error",
                {"type": "error", "error": {"type": "overloaded_error", "message": overloaded}},
            )
        ]
    if dialect == "gemini":
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return [b"data: " + dumps({"error": error}) + b"\r\n\r\n"]
    if dialect == "cohere":
        delta = {"finish_reason": "ERROR", "error": overloaded}
        return [event("message-end", {"type": "message-end", "delta": delta})]
    if dialect == "ollama":
        return [dumps({"error": overloaded}) + b"\n"]
    text = "The server had an error while processing your request."
    if dialect == "responses":
        error_ = {"type": "server_error", "code": "server_error", "message": text, "param": None}
        failed = dict(response or {})
        failed.update(status="failed", error={"code": "server_error", "message": text})
        return [
            event("error", {"type": "error", "sequence_number": sequence, "error": error_}),
            event(
                "response.failed",
                {
                    "type": "response.failed",
                    "response": failed,
                    "sequence_number": sequence + 1,
                },
            ),
        ]
    return [data({"error": {"message": text, "type": "server_error", "param": None, "code": None}})]


def id_headers(dialect: str, request_id: str) -> Headers:
    value = request_id.encode()
    if dialect == "anthropic":
        return [(b"request-id", value)]
    if dialect == "cohere":
        return [(b"x-debug-trace-id", value)]
    if dialect in ("openai", "responses", "models"):
        return [
            (b"x-request-id", value),
            (b"openai-version", b"2020-10-01"),
            (b"openai-processing-ms", b"7"),
        ]
    return []


_RATELIMIT_KEYS = ("remaining", "limit", "reset", "tokens-remaining", "tokens-limit")


def ratelimit_headers(dialect: str, text: str) -> Headers:
    """`remaining=9,limit=10,reset=30s[,tokens-remaining=..,tokens-limit=..]` in the provider's own
    header names. Raises ScriptError."""
    given = {"limit": "10000", "reset": "1s", "tokens-limit": "1000000"}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or key not in _RATELIMIT_KEYS:
            raise ScriptError(f"ratelimit: {part!r}; known: {', '.join(_RATELIMIT_KEYS)}")
        given[key] = value
    given.setdefault("remaining", given["limit"])
    given.setdefault("tokens-remaining", given["tokens-limit"])
    found: list[tuple[str, str]] = []
    if dialect == "anthropic":
        # An instant, not a span; fixed like every other time in these replies.
        seconds = int(duration(given["reset"]))
        reset = f"2026-01-01T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"
        for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
            prefix = "" if kind == "requests" else "tokens-"
            found += [
                (f"anthropic-ratelimit-{kind}-limit", given[prefix + "limit"]),
                (f"anthropic-ratelimit-{kind}-remaining", given[prefix + "remaining"]),
                (f"anthropic-ratelimit-{kind}-reset", reset),
            ]
    elif dialect != "gemini":  # Gemini has none
        for kind, prefix in (("requests", ""), ("tokens", "tokens-")):
            found += [
                (f"x-ratelimit-limit-{kind}", given[prefix + "limit"]),
                (f"x-ratelimit-remaining-{kind}", given[prefix + "remaining"]),
                (f"x-ratelimit-reset-{kind}", given["reset"]),
            ]
    return [(name.encode(), value.encode()) for name, value in found]
