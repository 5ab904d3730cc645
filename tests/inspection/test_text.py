"""The whole conversation as text."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.inspection import all_text
from tests.inspection.asks import CHAT, GEMINI, MESSAGES, RESPONSES, ask, user

ALL_TEXT = [
    (
        CHAT,
        {
            "messages": [
                {"role": "system", "content": "s"},
                user([{"type": "text", "text": "u"}]),
                {"role": "tool", "content": "t"},
            ]
        },
        "s\nu\nt",
    ),
    (
        RESPONSES,
        {
            "instructions": "s",
            "input": [user("u"), {"type": "function_call_output", "output": "t"}],
        },
        "s\nu\nt",
    ),
    (RESPONSES, {"instructions": [user("s")], "input": "u"}, "s\nu"),
    (
        MESSAGES,
        {
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                user(
                    [
                        {"type": "tool_result", "content": [{"type": "text", "text": "t"}]},
                        {"type": "text", "text": "u"},
                    ]
                )
            ],
        },
        "s\nt\nu",
    ),
    (
        GEMINI,
        {
            "system_instruction": {"parts": {"text": "s"}},
            "contents": [{"parts": [{"text": "u"}, {"text": "v"}]}],
        },
        "s\nu\nv",
    ),
    ("/v1/completions", {"prompt": ["a", "b"]}, "a\nb"),
    ("/v1/embeddings", {"input": "a"}, "a"),
    (GEMINI, {"systemInstruction": 3, "contents": 3}, ""),
]


@pytest.mark.parametrize(("path", "body", "want"), ALL_TEXT)
def test_all_text(path: str, body: Any, want: str) -> None:
    assert all_text(ask(path, body)) == want


def test_all_text_keeps_the_newest_and_stops() -> None:
    found = ask(CHAT, {"messages": [user("a" * 200_000), user("b" * 200_000), user("c")]})
    text = all_text(found)
    assert text.endswith("b\nc")
    assert 256 * 1024 - 2 <= len(text) <= 256 * 1024
    found.parts = None
    assert all_text(found) == ""
