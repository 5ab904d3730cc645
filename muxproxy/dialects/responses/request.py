"""An OpenAI Responses request, read and written."""

from __future__ import annotations

from muxproxy.dialects.responses.request_read import read
from muxproxy.dialects.responses.request_write import write

__all__ = ["read", "write"]
