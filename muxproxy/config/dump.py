"""The configuration in force, for people to read: secrets masked, defaults filled in."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.config.kinds import HIDDEN, internal, mark_of
from muxproxy.config.marks import Secret
from muxproxy.config.model import Config
from muxproxy.config.reader import type_of

MASK = "***"
# Within free-form values, members of these names are masked whatever they hold.
_SECRET_WORDS = ("key", "secret", "password", "authorization", "credential")


def dump(config: Config) -> dict[str, Any]:
    """Plain values, as the YAML would name them."""
    shown = _struct(config)
    assert isinstance(shown, dict)
    return shown


def _struct(value: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in type_of(type(value)).fields:
        if internal(field.type):
            continue
        inner = getattr(value, field.name)
        options = getattr(field.type, "types", (field.type,))
        hidden = any(mark_of(one) in HIDDEN for one in options)
        shown[field.encode_name] = MASK if hidden and inner is not None else _value(inner)
    return shown


def _value(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {k: MASK if _secret(k, v) else _value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    return value


def _secret(name: object, value: object) -> bool:
    folded = str(name).lower()
    return isinstance(value, str) and any(word in folded for word in _SECRET_WORDS)
