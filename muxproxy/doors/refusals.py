"""What a door answers by itself, before any dialect is known: small JSON, then it closes."""

from __future__ import annotations

import http
from collections.abc import Sequence

import orjson

_REASONS = {int(status): status.phrase for status in http.HTTPStatus}
# From 200 on, with the space that RFC 9112 section 4 wants even before an empty reason.
STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} {_REASONS.get(code, '')}".encode("ascii") for code in range(200, 1000)
}


class Refused(Exception):
    """A request the door will not hand to the app. `code` is stable, `message` public."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def bad(message: str) -> Refused:
    """400: the bytes are not a request that RFC 9112 lets a server accept."""
    return Refused(400, "invalid_request", message)


def error_body(code: str, message: str, kind: str = "invalid_request_error") -> bytes:
    """{"error": {"message", "type", "code"}} as JSON."""
    return orjson.dumps({"error": {"message": message, "type": kind, "code": code}})


def answer(refused: Refused, date: bytes) -> bytes:
    """A whole closing HTTP/1.1 response. `date` is the field line with its leading CRLF."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    body = error_body(refused.code, refused.message, kind)
    more = b"".join(b"\r\n%b: %b" % pair for pair in refused.headers)
    return (
        b"%b%b%b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%b" % (STATUS_LINES[refused.status], date, more, len(body), body)
    )
