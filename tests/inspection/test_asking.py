"""OpenAI's endpoints: what is read from a body, and how prompts are counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.inspection.asks import CHAT, PNG, RESPONSES, TOOL, Case, ask, check, user

CASES: list[Case] = [
    (
        "nothing",
        CHAT,
        {},
        {
            "model": None,
            "model_present": False,
            "stream": False,
            "text": "",
            "messages": 0,
            "n": 1,
            "max_tokens": None,
            "tools": False,
            "prompt_tokens": 1,
        },
    ),
    ("model null", CHAT, {"model": None}, {"model": None, "model_present": True}),
    (
        "duplicates: the last",
        CHAT,
        b'{"model":"a","stream":true,"mod\\u0065l":"b","stream":false}',
        {"model": "b", "stream": False},
    ),
    ("bom", CHAT, b'\xef\xbb\xbf {"model":"a"}', {"model": "a"}),
    (
        "chat",
        CHAT,
        {
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, user("Hi \u00e9")],
            "stream": True,
            "max_tokens": 5,
            "n": 2,
            "user": "u",
            "tools": [TOOL],
            "stream_options": {"include_usage": False},
            "service_tier": "flex",
        },
        {
            "model": "m",
            "text": "Hi \u00e9",
            "prompt_chars": 4,
            "messages": 2,
            "stream": True,
            "max_tokens": 5,
            "n": 2,
            "user": "u",
            "tools": True,
            "include_usage": False,
            "stream_options": True,
            "images": False,
            "media": 0,
            "service_tier": "flex",
            "max_tokens_field": "max_tokens",
        },
    ),
    (
        "max_completion_tokens wins",
        CHAT,
        {"max_tokens": 1, "max_completion_tokens": 2},
        {"max_tokens": 2, "max_tokens_field": "max_completion_tokens"},
    ),
    (
        "stream_options null",
        CHAT,
        {"stream_options": None},
        {"stream_options": False, "include_usage": None},
    ),
    (
        "stream_options without usage",
        CHAT,
        {"stream_options": {}},
        {"stream_options": True, "include_usage": None},
    ),
    ("empty tools", CHAT, b'{"tools":[ ],"functions":[]}', {"tools": False}),
    ("functions", CHAT, {"functions": [{"name": "f"}]}, {"tools": True}),
    ("json mode", CHAT, {"response_format": {"type": "json_object"}}, {"json": True}),
    (
        "json schema",
        CHAT,
        {"response_format": {"json_schema": {}, "type": "json_schema"}},
        {"json": True},
    ),
    ("text format", CHAT, {"response_format": {"type": "text"}}, {"json": False}),
    (
        "tool results are not the user's",
        CHAT,
        {
            "messages": [
                user("mine"),
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "tool", "content": "theirs", "tool_call_id": "x"},
            ]
        },
        {"text": "mine"},
    ),
    (
        "parts",
        CHAT,
        {
            "messages": [
                user(
                    [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": PNG}},
                        {"type": "text", "text": "b"},
                    ]
                )
            ]
        },
        {"text": "a\nb", "images": True, "media": 1},
    ),
    (
        "audio and file",
        CHAT,
        {
            "messages": [
                user(
                    [
                        {"type": "input_audio", "input_audio": {}},
                        {"type": "file", "file": {"file_data": PNG}},
                    ]
                )
            ]
        },
        {"images": False, "media": 2, "text": ""},
    ),
    (
        "image in an older message",
        CHAT,
        {
            "messages": [
                user([{"type": "image_url", "image_url": {"url": "http://x"}}]),
                user("then"),
            ]
        },
        {"images": True, "text": "then"},
    ),
    (
        "the word image_url is no image",
        CHAT,
        {"messages": [user("image_url"), user('{"type":"image_url"}')]},
        {"images": False},
    ),
    (
        "own members",
        CHAT + "/enhanced",
        {"max_budget": 0.05, "cascade_config": {"x": 1}},
        {"max_budget": 0.05, "cascade_config": {"x": 1}, "endpoint": "chat"},
    ),
    ("safety identifier", CHAT, {"safety_identifier": "s"}, {"user": "s"}),
    ("azure", "/openai/deployments/d/chat/completions", {}, {"model": "d", "model_present": True}),
    (
        "azure with a model",
        "/openai/deployments/d/chat/completions",
        {"model": "m"},
        {"model": "m"},
    ),
    (
        "completions",
        "/v1/completions",
        {"model": "m", "prompt": "p", "n": 2, "max_tokens": 7},
        {"text": "p", "messages": 1, "n": 2, "max_tokens": 7},
    ),
    (
        "completions, prompts",
        "/v1/completions",
        {"prompt": ["a", "b"], "best_of": 3, "n": 1},
        {"text": "b", "messages": 2, "n": 6},
    ),
    (
        "completions, tokens",
        "/v1/completions",
        {"prompt": [1, 2, 3]},
        {"text": "", "messages": 1, "n": 1, "prompt_tokens": 3},
    ),
    ("embeddings", "/v1/embeddings", {"model": "e", "input": "x"}, {"text": "x", "messages": 1}),
    ("embeddings, list", "/v1/embeddings", {"input": ["x", "yy"]}, {"text": "yy", "messages": 2}),
    (
        "embeddings, tokens",
        "/v1/embeddings",
        {"input": [[1, 2], [3]]},
        {"messages": 2, "prompt_tokens": 3},
    ),
    (
        "responses",
        RESPONSES,
        {
            "model": "m",
            "input": "hello",
            "max_output_tokens": 9,
            "text": {"format": {"type": "json_schema"}},
            "stream": True,
        },
        {
            "text": "hello",
            "messages": 1,
            "max_tokens": 9,
            "json": True,
            "stream": True,
            "max_tokens_field": "max_output_tokens",
        },
    ),
    (
        "responses, items",
        RESPONSES,
        {
            "input": [
                user(
                    [{"type": "input_text", "text": "q"}, {"type": "input_image", "image_url": PNG}]
                ),
                {"type": "reasoning", "summary": []},
                {"type": "function_call_output", "output": "theirs"},
            ]
        },
        {"text": "q", "messages": 3, "images": True, "media": 1},
    ),
    (
        "responses, tool pictures",
        RESPONSES,
        {
            "input": [
                {
                    "type": "computer_call_output",
                    "output": {"type": "computer_screenshot", "image_url": PNG},
                },
                {
                    "type": "function_call_output",
                    "output": [{"type": "input_image", "image_url": PNG}],
                },
                {"type": "image_generation_call", "result": PNG},
            ]
        },
        {"text": "", "images": True, "media": 3},
    ),
    (
        "input_tokens",
        "/v1/responses/input_tokens",
        {"input": "x"},
        {"endpoint": "count_tokens", "dialect": "responses", "text": "x"},
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "want"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_ask(path: str, body: Any, want: dict[str, Any]) -> None:
    check(path, body, want)


def test_media_is_not_text() -> None:
    small = ask(CHAT, {"messages": [user([{"type": "text", "text": "hi"}])]})
    body = {
        "messages": [
            user([{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": PNG}}])
        ]
    }
    large = ask(CHAT, body)
    assert large.body_bytes == len(json.dumps(body))
    assert large.media_bytes > len(PNG)
    assert 1000 <= large.prompt_tokens - small.prompt_tokens < 1020


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("All that is gold does not glitter. " * 100, 700, 1000),
        ("全ての光るものが金とは限らない。" * 100, 1000, 1500),
    ],
    ids=["english", "japanese"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_estimate_is_fair_to_scripts_and_escapes(
    text: str, low: int, high: int, ascii_only: bool
) -> None:
    raw = json.dumps({"messages": [user(text)]}, ensure_ascii=ascii_only).encode()
    assert low <= ask(CHAT, raw).prompt_tokens <= high


def test_text_is_bounded_and_its_length_is_not() -> None:
    found = ask(CHAT, {"messages": [user("ab" * 100_000)]})
    assert (len(found.text), found.prompt_chars) == (65536, 200_000)
