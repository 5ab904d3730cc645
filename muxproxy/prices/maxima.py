"""The most tokens a model generates in one answer, where its maker says so.

From abilities.json; the families below are what it no longer has, and names that it has not yet.
The older ones are compared with the table of LiteLLM 1.60.0 (MIT, January 2025), the newer ones by
a test with abilities.json. A bound that is too low would break `hold: worst`, so a family has the
largest limit of its models; what is in neither falls back on its context window.
"""

from __future__ import annotations

from muxproxy.prices.abilities import ability

# Prefix of the model's name without its path -> tokens. The first that fits counts.
MAX_OUTPUT: tuple[tuple[str, int], ...] = (
    ("claude-3-opus", 4_096),
    ("claude-3-haiku", 4_096),
    ("claude-3-sonnet", 4_096),
    ("claude-3-5-", 8_192),
    ("claude-3-7-sonnet", 128_000),
    ("claude-sonnet-4-0", 64_000),
    ("claude-sonnet-4-2", 64_000),
    ("claude-sonnet-4-5", 64_000),
    ("claude-haiku-4-5", 64_000),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-5", 64_000),
    ("gpt-3.5-turbo", 4_096),
    ("gpt-4-turbo", 4_096),
    ("gpt-4o", 16_384),
    ("gpt-4.1", 32_768),
    ("gpt-5-pro", 272_000),
    ("gpt-5", 128_000),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4-mini", 100_000),
    ("gemini-1.5", 8_192),
    ("gemini-2.0-flash-thinking", 65_536),
    ("gemini-2.0", 8_192),
    ("gemini-2.5", 65_536),
    ("gemini-3", 65_536),
)


def max_output(model: str) -> int | None:
    """The limit of `model` (a path before the name is ignored), or None when not known."""
    if (known := ability(model)) is not None:
        return known.output
    name = model.rpartition("/")[2].lower()
    for prefix, limit in MAX_OUTPUT:
        if name.startswith(prefix):
            return limit
    return None
