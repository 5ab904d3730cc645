"""An Anthropic Messages request, read and written."""

from __future__ import annotations

from muxproxy.dialects.anthropic.request_read import read
from muxproxy.dialects.anthropic.request_write import write

__all__ = ["read", "write"]
