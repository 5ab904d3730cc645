"""What a body field is called in each dialect, and which models take it.

Sources: the providers' API references as collected in the SDKs (openai 3.54 rejects `max_tokens`
and `temperature` on reasoning models with a 400; anthropic-version 2026-10-21 refuses sampling
parameters).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from muxproxy import exchange as words
from muxproxy.config.model import Defaults
from muxproxy.exchange import Ask

# OpenAI models that take max_completion_tokens and no temperature.
_REASONING = re.compile(r"(?:^|/)(?:o\d|gpt-[5-9])")
# Anthropic models after the 4.x line no longer use sampling parameters.
_ANTHROPIC_WITH_SAMPLING = re.compile(r"claude-(?:[123]|instant|(?:opus|sonnet|haiku)-[34])")


def named_for(ask: Ask, model: str | None, values: Mapping[str, object]) -> dict[str, object]:
    """`values` under the names that the Ask's dialect and model use.

    A dotted name is a member of an object, `generationConfig.maxOutputTokens`.
    """
    return {_name(ask, model, name): value for name, value in values.items()}


def _name(ask: Ask, model: str | None, name: str) -> str:
    if ask.dialect == words.GEMINI:
        if name == "max_tokens" and ask.max_tokens_field is not None:
            return ask.max_tokens_field  # as the caller spells it: both spellings are accepted
        return {
            "max_tokens": "generationConfig.maxOutputTokens",
            "temperature": "generationConfig.temperature",
            "top_p": "generationConfig.topP",
        }.get(name, name)
    if name == "max_tokens":
        if ask.dialect == words.RESPONSES:
            return "max_output_tokens"
        if ask.endpoint == words.CHAT and (
            ask.max_tokens_field == "max_completion_tokens"
            or (ask.max_tokens_field is None and _REASONING.search(model or ""))
        ):
            return "max_completion_tokens"
    return name


def takes_temperature(ask: Ask, model: str | None) -> bool:
    """Whether a default temperature may be added for this model."""
    if ask.dialect == words.ANTHROPIC:
        return bool(_ANTHROPIC_WITH_SAMPLING.search(model or ""))
    if ask.dialect in (words.OPENAI, words.RESPONSES):
        return not _REASONING.search(model or "")
    return True


class _Config(msgspec.Struct):
    temperature: msgspec.Raw = msgspec.Raw()


class _Sampling(msgspec.Struct):
    temperature: msgspec.Raw = msgspec.Raw()
    generation: _Config | None = msgspec.field(name="generationConfig", default=None)


_sampling = msgspec.json.Decoder(_Sampling)


def _gives_temperature(body: bytes) -> bool:
    """Whether the caller said something; a body that cannot be read so is left alone."""
    try:
        found = _sampling.decode(body)
    except msgspec.DecodeError:
        return True
    return bool(found.temperature or (found.generation and found.generation.temperature))


def fill_defaults(
    values: dict[str, object], ask: Ask, model: str | None, defaults: Defaults, body: bytes
) -> None:
    """Add the configured defaults that neither the caller nor a rule has given."""
    if ask.endpoint not in words.GENERATING:
        return
    if defaults.max_tokens is not None and ask.max_tokens is None:
        name = _name(ask, model, "max_tokens")
        values.setdefault(name, defaults.max_tokens)
    if (
        defaults.temperature is not None
        and takes_temperature(ask, model)
        and not _gives_temperature(body)
    ):
        values.setdefault(_name(ask, model, "temperature"), defaults.temperature)
