"""What the inspection tests share: paths, parts, and one body read as an Ask."""

from __future__ import annotations

import json
from typing import Any

from muxproxy.dialects.paths import classify
from muxproxy.exchange import Ask
from muxproxy.inspection import all_text, inspect

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/gem:generateContent"
STREAM = "/v1beta/models/gem:streamGenerateContent"
COUNT = "/v1beta/models/gem:countTokens"
EMBED = "/v1beta/models/gem:embedContent"
BATCH = "/v1beta/models/gem:batchEmbedContents"

PNG = "data:image/png;base64," + "iVBORw0KGgo" * 1000
TOOL = {"type": "function", "function": {"name": "f"}}

Case = tuple[str, str, Any, dict[str, Any]]


def ask(path: str, body: Any) -> Ask:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return inspect(classify("POST", path), raw)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def check(path: str, body: Any, want: dict[str, Any]) -> None:
    found = ask(path, body)
    assert {name: getattr(found, name) for name in want} == want
    assert found.prompt_tokens >= 1
    all_text(found)
