"""What a model can do: context, longest answer, tools, images, JSON schema.

From LiteLLM's model table (MIT), cut to the first-party providers by scripts/abilities.py. A model
that it does not know is not said to lack anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import msgspec

FILE = Path(__file__).with_name("abilities.json")
_TOOLS, _IMAGES, _SCHEMA = 1, 2, 4
# What makers append to a name for a dated or preferred version of the same model.
_VERSION = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3,4}|latest|preview)$")


class Ability(msgspec.Struct, frozen=True):
    """Limits in tokens."""

    context: int
    output: int
    tools: bool
    images: bool
    schema: bool


class _Document(msgspec.Struct):
    source: str
    models: dict[str, tuple[int, int, int]]


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[int, int, int]]:
    return msgspec.json.decode(FILE.read_bytes(), type=_Document).models


@lru_cache(maxsize=4096)
def ability(model: str) -> Ability | None:
    """What `model` can do (a path before its name is ignored), or None when it is not known."""
    table = _table()
    name = model.rpartition("/")[2].lower()
    while name not in table:
        shorter = _VERSION.sub("", name)
        if shorter == name:
            return None
        name = shorter
    context, output, flags = table[name]
    return Ability(
        context=context,
        output=output,
        tools=bool(flags & _TOOLS),
        images=bool(flags & _IMAGES),
        schema=bool(flags & _SCHEMA),
    )
