"""Inspection: a known endpoint's body -> Ask, by one partial decode. Plain functions, no I/O.

inspect(route, body, headers) -> Ask      raises MuxError invalid_json | invalid_request
all_text(ask) -> str                      the whole conversation, decoded when asked for
"""

from muxproxy.inspection.asking import inspect
from muxproxy.inspection.text import all_text

__all__ = ["all_text", "inspect"]
