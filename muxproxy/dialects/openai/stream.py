"""An OpenAI chat stream, read and written."""

from __future__ import annotations

from muxproxy.dialects.openai.stream_read import Reader
from muxproxy.dialects.openai.stream_write import Writer

__all__ = ["Reader", "Writer"]
