"""Names as header values."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def header_value(text: str) -> bytes:
    """`text` as a header value: what a caller sent must not be able to add a header."""
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return text.encode("unicode_escape")
