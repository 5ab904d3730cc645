"""Names as header values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from muxproxy.headers import Headers


@lru_cache(maxsize=4096)
def header_value(text: str) -> bytes:
    """`text` as a header value: what a caller sent must not be able to add a header."""
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return text.encode("unicode_escape")


def attempts_header(attempts: int, told: Sequence[str]) -> Headers:
    """How many attempts there were and why all but the last failed."""
    value = f"{attempts} ({', '.join(told)})" if told else str(attempts)
    return [(b"x-muxproxy-attempts", header_value(value))]
