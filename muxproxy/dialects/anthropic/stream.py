"""An Anthropic Messages stream, read and written."""

from __future__ import annotations

from muxproxy.dialects.anthropic.stream_read import Reader
from muxproxy.dialects.anthropic.stream_write import Writer

__all__ = ["Reader", "Writer"]
