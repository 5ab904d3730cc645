"""A Gemini request, read and written."""

from __future__ import annotations

from muxproxy.dialects.gemini.request_read import read
from muxproxy.dialects.gemini.request_write import write

__all__ = ["read", "write"]
