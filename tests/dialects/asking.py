"""Requests from one dialect to another, for the tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects import quirks
from muxproxy.dialects.anthropic import request as anthropic_request
from muxproxy.dialects.openai import request as openai_request

encode = msgspec.json.encode
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": TOOL}]


def chat(**fields: Any) -> n.Request:
    """An OpenAI caller's request, read."""
    return openai_request.read(encode({"model": "m", "messages": HELLO, **fields}))


def message(**fields: Any) -> n.Request:
    """An Anthropic caller's request, read."""
    body = {"model": "m", "max_tokens": 500, "messages": HELLO, **fields}
    return anthropic_request.read(encode(body))


def to_anthropic(request: n.Request, model: str = "claude-sonnet-4-5") -> dict[str, Any]:
    """What goes to `model` at Anthropic."""
    request.model = model
    body: dict[str, Any] = anthropic_request.write(request)
    encode(body)
    return body


def to_openai(
    request: n.Request, host: str = "api.openai.com", model: str = "gpt-4o", port: int | None = None
) -> dict[str, Any]:
    """What goes to `model` at an OpenAI-compatible host."""
    request.model = model
    body: dict[str, Any] = openai_request.write(request, quirks.find(host, port, model))
    encode(body)
    return body
