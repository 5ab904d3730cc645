"""Errors of OpenAI Responses: chat's shape."""

from __future__ import annotations

from muxproxy.dialects.faults import read
from muxproxy.dialects.openai.fault import write

__all__ = ["read", "write"]
