"""What a body field is called in each dialect, and which models take it.

Sources: the providers' API references as collected in the SDKs (openai 3.54 rejects `max_tokens`
and `temperature` on reasoning models with a 400; anthropic-version 2026-10-21 refuses sampling
parameters).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.codec import set_members
from muxproxy.config.model import Defaults
from muxproxy.exchange import Ask, Target
from muxproxy.inspection import inspect

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

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


def put(body: bytes, values: Mapping[str, object], remove: Collection[str] = ()) -> bytes:
    """`body` with these members, under the names that `named_for` gives, and without others.

    Raises ValueError for a body that is no JSON object.
    """
    flat: dict[str, object] = {}
    nested: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(outer, {})[inner] = value
        else:
            flat[name] = value
    return set_members(body, flat, remove=remove, nested=nested)


def as_sent(x: Exchange, target: Target) -> Ask:
    """What goes upstream once a rule's `set` and the defaults are in it: more answers or a higher
    max_tokens than the caller asked for must be held for."""
    ask, plan, defaults = x.ask, x.plan, x.snapshot.config.defaults
    assert ask is not None and plan is not None
    if not plan.set and defaults.max_tokens is None:
        return ask
    if plan.set and x.body and ask.endpoint in words.INSPECTED:
        model = target.model if target.model is not None else ask.model
        sent = inspect(x.route, put(x.body, named_for(ask, model, plan.set)))
        sent.parts = None  # it lives as long as the hold
        if all(isinstance(value, int | float) for value in plan.set.values()):  # no prompt in it
            sent.prompt_tokens, sent.body_bytes = ask.prompt_tokens, ask.body_bytes
        ask = sent
    missing = defaults.max_tokens is not None and ask.max_tokens is None
    if missing and ask.endpoint in words.GENERATING:
        return msgspec.structs.replace(ask, max_tokens=defaults.max_tokens, parts=None)
    return ask
