"""The fault matrix: each fault of the provider, in every dialect, as JSON and as a stream.

Once with one candidate and once through an alias whose second candidate is sound. The caller gets
the right answer or a right error in its dialect, never a clean end of a broken body; the books
balance; no task, connection or descriptor is left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muxproxy.exchange import Receipt
from tests.http_client import Answer
from tests.stack import Stack, stack
from tests.wire.balance import balanced, fetch, nothing_left

# `bad` and `good` are the models; x-sim-for strikes the bad one only.
PROVIDERS = """
  ofirst:  {dialect: openai,    base_url: "SIM/v1", api_key: k1, timeouts: {TIMES}}
  osecond: {dialect: openai,    base_url: "SIM/v1", api_key: k2}
  afirst:  {dialect: anthropic, base_url: "SIM",    api_key: k1, timeouts: {TIMES}}
  asecond: {dialect: anthropic, base_url: "SIM",    api_key: k2}
  gfirst:  {dialect: gemini,    base_url: "SIM",    api_key: k1, timeouts: {TIMES}}
  gsecond: {dialect: gemini,    base_url: "SIM",    api_key: k2}
"""
PATIENT = "idle: 20s, first_byte: 20s"
BRIEF = "idle: 250ms, first_byte: 250ms"
YAML = """
models:
  pair: [ofirst/bad, osecond/good, afirst/bad, asecond/good, gfirst/bad, gsecond/good]
prices:
  "*": {input: 1, output: 2}
budgets:
  - {name: worst, limit: $1000, hold: worst, window: month}
  - {name: expected, per: model, limit: $1000, window: month}
  - {name: tokens, per: provider, limit: 900M tokens, window: month}
"""
INPUT, OUTPUT = 1000, 2000  # nano-dollars per token at those prices
USER = {"role": "user", "content": "Tell me a story"}
TOKENS = 12

# Answers that another candidate may better (DESIGN section 4, issue 5 point 1).
ELSEWHERE = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass(frozen=True)
class Shape:
    """One way to ask."""

    dialect: str
    stream: bool
    path: str
    body: dict[str, Any]
    terminal: bytes = b""  # the stream's own end marker

    def asking(self, model: str) -> tuple[str, dict[str, Any]]:
        """(path, body) for that model."""
        if self.dialect == "gemini":
            return self.path.replace("MODEL", model), self.body
        return self.path, {**self.body, "model": model}


def _shapes() -> dict[str, Shape]:
    chat = {"messages": [USER], "max_tokens": TOKENS}
    streamed = {**chat, "stream": True, "stream_options": {"include_usage": True}}
    answer = {"input": "Tell me a story", "max_output_tokens": TOKENS}
    contents = {"contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}]}
    contents["generationConfig"] = {"maxOutputTokens": TOKENS}  # type: ignore[assignment]
    base = "/v1beta/models/MODEL:"
    chats, responses, messages = "/v1/chat/completions", "/v1/responses", "/v1/messages"
    found = [
        Shape("chat", False, chats, chat),
        Shape("chat", True, chats, streamed, b"[DONE]"),
        Shape("responses", False, responses, answer),
        Shape("responses", True, responses, {**answer, "stream": True}, b"response.completed"),
        Shape("anthropic", False, messages, chat),
        Shape("anthropic", True, messages, {**chat, "stream": True}, b"message_stop"),
        Shape("gemini", False, base + "generateContent", contents),
        Shape("gemini", True, base + "streamGenerateContent?alt=sse", contents, b'"STOP"'),
    ]
    return {f"{s.dialect} {'stream' if s.stream else 'JSON'}": s for s in found}


SHAPES = _shapes()
# What becomes of an answer: as the provider sent it | cut after some of it | nothing to relay.
SAME, CUT, NONE = "same", "cut", "none"
