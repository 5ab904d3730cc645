"""Recorded provider traffic, read where it lies: beside the repository, never inside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "wire"
WIRE: Path | None = _BESIDE if (_BESIDE / "INDEX.json").is_file() else None

needs_wire = pytest.mark.skipif(
    WIRE is None, reason="recorded traffic (../shared/wire) is not here; see tests/wire_corpus.py"
)

# (dialect of a recording, endpoint) in the product's words, for make_tap and the simulator
ENDPOINTS = {
    "openai.chat": ("openai", "chat"),
    "openai.completions": ("openai", "completions"),
    "openai.embeddings": ("openai", "embeddings"),
    "openai.responses": ("responses", "responses"),
    "openai.input_tokens": ("responses", "count_tokens"),
    "anthropic.messages": ("anthropic", "messages"),
    "anthropic.count_tokens": ("anthropic", "count_tokens"),
    "gemini.generateContent": ("gemini", "generate"),
    "gemini.streamGenerateContent": ("gemini", "generate"),
    "gemini.countTokens": ("gemini", "count_tokens"),
}


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange; `raw` is its file, `expected` an independent reader's view."""

    id: str
    raw: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        return self.raw["expected"]

    @property
    def tags(self) -> list[str]:
        return self.raw["tags"]

    @property
    def provider(self) -> str:
        return self.raw["provider"]

    @property
    def dialect(self) -> str:
        """As recorded, e.g. "openai.chat"."""
        return self.raw["dialect"]

    @property
    def endpoint(self) -> tuple[str, str]:
        """(dialect, endpoint) in the product's words."""
        return ENDPOINTS.get(self.dialect, ("openai", "other"))

    @property
    def stream(self) -> str | None:
        """None, "sse", "ndjson", "json-array" or "aws-eventstream"."""
        return self.raw["stream"]

    @property
    def status(self) -> int:
        return self.raw["response"]["status"]

    @property
    def content_type(self) -> bytes | None:
        kind = self.raw["response"]["content_type"]
        return kind.encode() if kind else None

    @property
    def ambiguous(self) -> bool:
        """No single right answer: skip."""
        return "ambiguous_expected" in self.tags

    @cached_property
    def body(self) -> bytes:
        """The response's bytes, content-encoding undone."""
        response = self.raw["response"]
        if response.get("body_base64") is not None:
            return base64.b64decode(response["body_base64"])
        return (response.get("body") or "").encode()

    @property
    def request(self) -> dict[str, Any]:
        return self.raw["request"]


@lru_cache(maxsize=1)
def exchanges() -> tuple[Exchange, ...]:
    """Every recorded exchange, in the order of their ids; empty without the recordings."""
    return tuple(_read())


def _read() -> Iterator[Exchange]:
    if WIRE is None:
        return
    for path in sorted((WIRE / "exchanges").glob("*.json")):
        raw = json.loads(path.read_bytes())
        yield Exchange(raw["id"], raw)


def streams() -> list[Exchange]:
    """The recorded exchanges that were streams."""
    return [exchange for exchange in exchanges() if exchange.stream]
