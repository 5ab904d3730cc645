"""What Claude models accept, by the version in their name.

Sources: platform.claude.com/docs/en/models/* (output limits, thinking), OpenRouter's migration
guides for 4.6, 4.7 and 5.5 (adaptive thinking, sampling parameters and prefill removed), recorded
exchanges (output_config.format on claude-sonnet-4-5 and claude-haiku-4-5; effort "xhigh" refused
by claude-opus-4-6). A model without a version in its name is taken for one of the last that take
everything: other makers' models behind this dialect are such.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

DEFAULT_MAX_TOKENS = 4096  # max_tokens is required; this much every model can

_VERSION = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2})(?!\d))?"
    r"(?:-(?P<after>opus|sonnet|haiku))?"
)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What one model accepts. `thinking`: how it can be told to think."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    schema: bool = False  # output_config.format and strict tools
    sampling: bool = True  # temperature, top_p, top_k
    both_sampling: bool = True  # temperature and top_p in one request
    prefill: bool = True
    thinking: bool = True  # knows thinking at all
    budgets: bool = True  # thinking: {type: enabled, budget_tokens}
    adaptive: bool = False
    efforts: frozenset[str] = frozenset()
    off: str | None = None  # thinking.type that turns it off; None: leave thinking out
    always: bool = False  # cannot be turned off
    system_turns: bool = False  # role "system" inside messages


@lru_cache(maxsize=1024)
def find(name: str | None) -> Model:
    """What the model called `name` accepts."""
    match = _VERSION.search(name or "")
    if match is None:
        return Model()
    version = (int(match["major"]), int(match["minor"] or 0))
    family = match["family"] or match["after"] or ""
    return Model(
        max_tokens=_max_tokens(version, family),
        schema=version >= (4, 5),
        sampling=version < (4, 7),
        both_sampling=version < (4, 1),
        prefill=version < (4, 6),
        thinking=version >= (3, 7),
        budgets=(3, 7) <= version < (4, 7),
        adaptive=version >= (4, 6),
        efforts=_efforts(version, family),
        off=_off(version, family),
        always=(version >= (5, 0) and (family in {"fable", "mythos"}))
        or (family == "opus" and version >= (5, 5)),
        system_turns=version >= (5, 5),
    )


def _max_tokens(version: tuple[int, int], family: str) -> int:
    if version >= (4, 6):
        return 128_000
    if version >= (4, 5) or version == (3, 7):
        return 64_000
    if version >= (4, 0):
        return 32_000 if family == "opus" else 64_000
    return 8192 if version == (3, 5) else DEFAULT_MAX_TOKENS


def _efforts(version: tuple[int, int], family: str) -> frozenset[str]:
    if version >= (4, 7):
        return frozenset({"low", "medium", "high", "xhigh", "max"})
    if version >= (4, 6):
        return frozenset({"low", "medium", "high", "max"})
    if version == (4, 5) and family == "opus":
        return frozenset({"low", "medium", "high"})
    return frozenset()


def _off(version: tuple[int, int], family: str) -> str | None:
    """From 5 on models think unless they are told not to."""
    if version < (5, 0):
        return None
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"
