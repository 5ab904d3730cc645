"""A Responses stream, read and written."""

from __future__ import annotations

from muxproxy.dialects.responses.stream_read import Reader
from muxproxy.dialects.responses.stream_write import Writer

__all__ = ["Reader", "Writer"]
