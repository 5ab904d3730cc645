"""Anthropic's and Gemini's shapes, and members of wrong types in all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects.paths import classify
from muxproxy.errors import MuxError
from muxproxy.inspection import all_text, inspect
from tests.inspection.asks import (
    BATCH,
    CHAT,
    COUNT,
    EMBED,
    GEMINI,
    MESSAGES,
    PNG,
    RESPONSES,
    STREAM,
    Case,
    check,
    user,
)

CASES: list[Case] = [
    (
        "anthropic",
        MESSAGES,
        {
            "model": "c",
            "max_tokens": 3,
            "system": [{"type": "text", "text": "s"}],
            "messages": [user("q")],
            "metadata": {"user_id": "u"},
            "tools": [{"name": "t"}],
        },
        {
            "text": "q",
            "messages": 1,
            "max_tokens": 3,
            "user": "u",
            "tools": True,
            "dialect": "anthropic",
        },
    ),
    (
        "anthropic tool results are left out, text beside them counts",
        MESSAGES,
        {
            "messages": [
                user("first"),
                user(
                    [
                        {"type": "tool_result", "tool_use_id": "x", "content": "theirs"},
                        {"type": "text", "text": "and this"},
                    ]
                ),
            ]
        },
        {"text": "and this"},
    ),
    (
        "anthropic, tool results only",
        MESSAGES,
        {
            "messages": [
                user("first"),
                user(
                    [
                        {
                            "type": "tool_result",
                            "tool_use_id": "x",
                            "content": [
                                {"type": "text", "text": "theirs"},
                                {"type": "image", "source": {"type": "base64", "data": PNG}},
                            ],
                        }
                    ]
                ),
            ]
        },
        {"text": "first", "images": True, "media": 1},
    ),
    (
        "anthropic documents",
        MESSAGES,
        {
            "messages": [
                user(
                    [
                        {"type": "document", "source": {"type": "base64", "data": PNG}},
                        {"type": "document", "source": {"type": "text", "data": "plain"}},
                    ]
                )
            ]
        },
        {"images": False, "media": 1},
    ),
    (
        "anthropic json",
        MESSAGES,
        {"output_config": {"format": {"type": "json_schema"}}},
        {"json": True},
    ),
    (
        "anthropic effort is no json",
        MESSAGES,
        {"output_config": {"effort": "low"}},
        {"json": False},
    ),
    (
        "anthropic count",
        MESSAGES + "/count_tokens",
        {"messages": [user("q")]},
        {"endpoint": "count_tokens", "text": "q"},
    ),
    (
        "gemini",
        GEMINI,
        {
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
                {"role": "model", "parts": [{"functionCall": {}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            ],
            "generationConfig": {
                "maxOutputTokens": 4,
                "candidateCount": 2,
                "responseMimeType": "application/json",
            },
            "tools": [{"functionDeclarations": []}],
            "model": "ignored",
            "stream": True,
        },
        {
            "model": "gem",
            "model_present": True,
            "text": "a\nb",
            "messages": 3,
            "max_tokens": 4,
            "n": 2,
            "json": True,
            "tools": True,
            "stream": False,
            "max_tokens_field": "generationConfig.maxOutputTokens",
        },
    ),
    (
        "gemini, snake case",
        STREAM,
        {
            "contents": [
                {"parts": [{"text": "a"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}]}
            ],
            "generation_config": {
                "max_output_tokens": "4",
                "candidate_count": 2.0,
                "response_json_schema": {},
                "response_schema": {"type": "OBJECT"},
            },
        },
        {
            "text": "a",
            "images": True,
            "media": 1,
            "max_tokens": 4,
            "n": 2,
            "stream": True,
            "json": True,
            "max_tokens_field": "generation_config.max_output_tokens",
        },
    ),
    (
        "gemini, single objects and thoughts",
        GEMINI,
        {"contents": {"parts": {"text": "one"}}},
        {"text": "one", "messages": 1},
    ),
    (
        "gemini, thoughts are no text",
        GEMINI,
        {
            "contents": [
                {"role": "user", "parts": [{"text": "hm", "thought": True}, {"text": "one"}]}
            ]
        },
        {"text": "one"},
    ),
    (
        "gemini files and tool pictures",
        GEMINI,
        {
            "contents": [
                {
                    "parts": [
                        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://x"}},
                        {
                            "functionResponse": {
                                "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
                            }
                        },
                    ]
                }
            ]
        },
        {"images": True, "media": 2},
    ),
    (
        "gemini count",
        COUNT,
        {"generateContentRequest": {"contents": [{"parts": [{"text": "w"}]}]}},
        {"text": "w", "endpoint": "count_tokens"},
    ),
    (
        "gemini embed",
        EMBED,
        {"content": {"parts": [{"text": "w"}]}},
        {"text": "w", "endpoint": "embeddings", "messages": 1},
    ),
    (
        "gemini embed batch",
        BATCH,
        {
            "requests": [
                {"content": {"parts": [{"text": "v"}]}},
                {"content": {"parts": [{"text": "w"}]}},
            ]
        },
        {"text": "w", "messages": 2},
    ),
    (
        "odd scalars",
        CHAT,
        {
            "stream": "yes",
            "max_tokens": True,
            "n": [],
            "user": {},
            "tools": "x",
            "stream_options": 3,
            "response_format": {"type": {}},
            "service_tier": 1,
        },
        {"stream": False, "max_tokens": None, "n": 1, "user": None, "tools": False, "json": False},
    ),
    (
        "numbers out of range",
        CHAT,
        {"max_tokens": -1, "n": 10**30},
        {"max_tokens": None, "n": 65536},
    ),
    ("a huge limit", CHAT, {"max_tokens": 10**30}, {"max_tokens": 10**9}),
    (
        "messages of a wrong type",
        CHAT,
        {"model": "m", "messages": "x"},
        {"model": "m", "messages": 0},
    ),
    (
        "one message of a wrong type",
        CHAT,
        {"messages": [user("a"), 3, user(7), user(["b"])]},
        {"text": "a", "messages": 4},
    ),
    (
        "odd parts",
        CHAT,
        {"messages": [user([{"type": ["text"], "text": 3}, {"text": "t"}])]},
        {"text": "t", "messages": 1},
    ),
    (
        "anthropic odd",
        MESSAGES,
        {"messages": [3], "metadata": [], "output_config": 1},
        {"messages": 1, "user": None, "json": False},
    ),
    (
        "responses odd",
        RESPONSES,
        {"input": [3, user("x")], "text": []},
        {"text": "x", "messages": 2},
    ),
    ("responses number", RESPONSES, {"input": 3}, {"text": "", "messages": 0}),
    (
        "gemini odd",
        GEMINI,
        {
            "contents": ["x", {"parts": [{"text": "a"}]}, {"parts": 3}],
            "generationConfig": 3,
            "requests": {},
            "content": 3,
        },
        {"text": "a", "messages": 3, "max_tokens": None},
    ),
    ("gemini odd count", COUNT, {"generateContentRequest": 12345}, {"messages": 0}),
]


@pytest.mark.parametrize(
    ("path", "body", "want"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_ask(path: str, body: Any, want: dict[str, Any]) -> None:
    check(path, body, want)


words = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "parts",
        "input",
        "contents",
        "tools",
        "user",
        "image_url",
        "source",
        "generationConfig",
        "output",
    ]
)
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(words, trees, max_size=6),
    st.sampled_from(
        [CHAT, RESPONSES, MESSAGES, GEMINI, "/v1/completions", "/v1/embeddings", BATCH]
    ),
)
def test_any_object_is_an_ask_or_a_wrong_model(body: dict[str, Any], path: str) -> None:
    raw = json.dumps(body, allow_nan=False).encode()
    try:
        found = inspect(classify("POST", path), raw)
    except MuxError as error:
        if error.code == "invalid_request":
            assert not isinstance(body["model"], str | None)
        else:  # json.dumps of a lone surrogate
            assert b"\\ud" in raw
        return
    assert isinstance(all_text(found), str)
