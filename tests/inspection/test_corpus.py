"""Every recorded request: inspection agrees with an independent reading of the JSON."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

import pytest

from muxproxy import exchange as words
from muxproxy.codec import set_members, set_model
from muxproxy.dialects.paths import classify
from muxproxy.inspection import all_text, inspect
from tests.wire_corpus import ENDPOINTS, needs_wire
from tests.wire_corpus import exchanges as recorded

pytestmark = needs_wire


@pytest.fixture(scope="module")
def exchanges() -> list[dict[str, Any]]:
    return [e.raw for e in recorded() if isinstance(e.request["body"], dict)]


def spellings(body: dict[str, Any]) -> list[bytes]:
    return [
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        json.dumps(body, indent=2).encode(),
    ]


def test_paths_are_classified_as_recorded(exchanges: list[dict[str, Any]]) -> None:
    for exchange in exchanges:
        route = classify(exchange["method"], exchange["path"])
        want = ENDPOINTS.get(exchange["dialect"])
        if want is None or exchange["path"] == "/v1/chat":  # Writer's own path
            assert route.endpoint in (words.OTHER, words.MODELS), exchange["id"]
        elif "publishers/anthropic" in exchange["path"]:  # Vertex's rawPredict: passed through
            assert route.endpoint == words.OTHER
        else:
            assert (route.dialect, route.endpoint) == want, exchange["id"]


def test_asks_equal_an_independent_reading(exchanges: list[dict[str, Any]]) -> None:
    seen = 0
    for exchange in exchanges:
        route = classify(exchange["method"], exchange["path"])
        if route.endpoint not in words.INSPECTED:
            continue
        body = exchange["request"]["body"]
        gemini = route.dialect == words.GEMINI
        for raw in spellings(body):
            ask = inspect(route, raw)
            if gemini:
                model = exchange["path"].split("models/")[1].partition(":")[0]
                assert (ask.model, ask.stream) == (model, ":stream" in exchange["path"])
            else:
                assert ask.model == body.get("model"), exchange["id"]
                assert ask.stream == bool(body.get("stream")), exchange["id"]
            inner = body.get("generateContentRequest", body)
            assert ask.tools == bool(inner.get("tools")), exchange["id"]
            assert ask.body_bytes == len(raw)
            for name in ("messages", "contents"):
                if isinstance(body.get(name), list):
                    assert ask.messages == len(body[name]), exchange["id"]
            if ask.prompt_chars < 65536:
                assert ask.text in all_text(ask) or "\n" in ask.text, exchange["id"]
            seen += 1
    assert seen > 2000


def test_edits_change_what_they_should(exchanges: list[dict[str, Any]]) -> None:
    for exchange in exchanges:
        body = exchange["request"]["body"]
        for raw in spellings(body):
            model = body.get("model")
            if isinstance(model, str):
                edited = set_model(raw, model, "other")
                assert json.loads(edited) == {**body, "model": "other"}
                assert len(edited) - len(raw) == 5 - len(json.dumps(model, ensure_ascii=False)) + 2
            options = {**(body.get("stream_options") or {}), "include_usage": True}
            edited = set_members(raw, {}, nested={"stream_options": {"include_usage": True}})
            assert json.loads(edited) == {**body, "stream_options": options}
            gone = set(list(body)[::2])
            left = {k: v for k, v in body.items() if k not in gone}
            assert json.loads(set_members(raw, {}, remove=gone)) == left


def test_the_token_estimate_is_of_the_right_size(exchanges: list[dict[str, Any]]) -> None:
    """Text prompts large enough that fixed parts do not matter, against the provider's count."""
    ratios: dict[str, list[float]] = {}
    for exchange in exchanges:
        route = classify(exchange["method"], exchange["path"])
        total = (exchange.get("expected") or {}).get("input_total")
        if route.endpoint not in words.GENERATING or exchange["response"]["status"] != 200:
            continue
        ask = inspect(route, spellings(exchange["request"]["body"])[0])
        if not ask.media and total and ask.body_bytes > 2000:
            ratios.setdefault(route.dialect, []).append(ask.prompt_tokens / total)
    for dialect, found in ratios.items():
        assert 0.5 < median(found) < 2.0, (dialect, median(found), len(found))
