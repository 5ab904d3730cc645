"""Asks, configurations and budgets for the rules' tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from muxproxy import exchange
from muxproxy.config.check import check
from muxproxy.config.model import Config
from muxproxy.exchange import Ask, Caller

# A Wednesday.
NOON = datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("UTC")).timestamp()

PROVIDERS = """
providers:
  openai: {dialect: openai, base_url: http://o}
  mistral: {dialect: openai, base_url: http://m}
  anthropic: {dialect: anthropic, base_url: http://a}
  google: {dialect: gemini, base_url: http://g}
models:
  small: [mistral/tiny-1, anthropic/haiku-1]
  large: [openai/big-1, anthropic/sonnet-1]
  bare: big-1
  nested: [small, large, openai/big-1]
"""


def config(text: str = "", base: str = PROVIDERS) -> Config:
    """A checked configuration of the base and more YAML."""
    report = check(base + text, "test.yaml", {})
    assert report.config is not None, str(report)
    return report.config


def ask(**given: object) -> Ask:
    """An OpenAI chat request, with these fields."""
    fields: dict[str, object] = {
        "dialect": exchange.OPENAI,
        "endpoint": exchange.CHAT,
        "path": "/v1/chat/completions",
    }
    fields.update(given)
    fields.setdefault("prompt_chars", len(str(fields.get("text", ""))))
    return Ask(**fields)  # type: ignore[arg-type]


class Shares:
    """Budgets that are so far used."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares

    def share(self, name: str, caller: Caller, ask: Ask) -> float | None:
        return self._shares.get(name)
