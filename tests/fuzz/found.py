"""Inputs that once broke a promise, by what was wrong: (target, input)."""

from __future__ import annotations

_END = b" HTTP/1.1\r\nHost: a\r\n\r\n"
_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

FOUND: dict[str, tuple[str, bytes]] = {
    # Accepted byte by byte, refused in one piece.
    "more empty lines than are let pass": ("door", _GET + b"\r\n" + b"\r\n" * 9 + _GET + b"\r\n"),
    # Refused byte by byte, accepted in one piece.
    "a target of just the length": (
        "door",
        b"GET /" + b"a" * 119 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "a head of just the length": ("door", _GET + b"A: " + b"a" * (700 - 28) + b"\r\n\r\n"),
    # Accepted, where h11 refuses.
    "NUL in a provider's reason": ("upstream", b"HTTP/1.1 200 \0OK\r\nContent-Length: 0\r\n\r\n"),
    # A name that no host has, and that would have stood in a log line.
    "NUL behind a tunnel's host": ("hello", b"GET / HTTP/1.1\r\nHost: a.example\0b\r\n\r\n"),
    "a control character in an interim reason": (
        "upstream",
        b"HTTP/1.1 100 \1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ),
}
