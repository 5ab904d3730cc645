"""HTTP header fields as lists of (lower-case name, value) byte pairs.

Hop-by-hop rules of RFC 9110 section 7.6.1; order and duplicates of everything else are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]


class Shared(Headers):
    """Fields that many requests have in common, never changed; `rendered` remembers their bytes."""

    __slots__ = ("rendered",)

    def __init__(self, fields: Headers) -> None:
        super().__init__(fields)
        self.rendered: dict[tuple[object, bytes, bytes], bytes] = {}


# Connection-level fields: meaningful for one hop only, never forwarded (RFC 9110 7.6.1).
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Where the dialects' SDKs put a credential.
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})
SECRET = CREDENTIALS | {b"proxy-authorization", b"cookie", b"set-cookie"}


# This process's name in Via (RFC 9110 section 7.6.3): what comes back with it has gone in a circle.
VIA = b"1.1 muxproxy-" + os.urandom(4).hex().encode("ascii")


def went_in_circles(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the message has been through this process already."""
    return any(key == b"via" and VIA[4:] in value for key, value in headers)


def get(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of `name` (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def connection_options(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Field names that the message's own Connection fields declare hop-by-hop, lower case."""
    named: set[bytes] = set()
    for key, value in headers:
        if key == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
    return frozenset(named)


def end_to_end(headers: Headers) -> Headers:
    """`headers` without the hop-by-hop fields and those that Connection names."""
    named = connection_options(headers)
    drop = HOP_BY_HOP | named if named else HOP_BY_HOP
    return [pair for pair in headers if pair[0] not in drop]


def redact(headers: Headers) -> list[tuple[str, str]]:
    """A copy for people to read, with every secret masked."""
    return [
        (k.decode("latin-1"), "***" if k in SECRET else v.decode("latin-1")) for k, v in headers
    ]
