"""An OpenAI chat request, read and written."""

from __future__ import annotations

from muxproxy.dialects.openai.request_read import read
from muxproxy.dialects.openai.request_write import write

__all__ = ["read", "write"]
