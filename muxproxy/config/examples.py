"""What `examples:` of a semantic alias may say."""

from __future__ import annotations

from collections.abc import Mapping

from muxproxy.config.faults import suggestion
from muxproxy.config.model import Provider
from muxproxy.config.notes import Notes, Path
from muxproxy.config.strategies import Examples, Strategy

_EMBEDS = ("openai", "gemini")
_MANY = 200  # utterances; comparing them all takes some milliseconds of every new prompt


def examine(spec: Strategy, path: Path, providers: Mapping[str, Provider], notes: Notes) -> None:
    """Faults and doubts of one alias."""
    examples, path = spec.examples, (*path, "examples")
    assert examples is not None
    if spec.strategy != "semantic" or spec.cheap is None or spec.strong is None:
        notes.fault(
            path,
            "these are for strategy: semantic with cheap and strong to fall back on",
        )
    _embeddings(examples.embeddings, (*path, "embeddings"), providers, notes)
    if not -1 <= examples.threshold <= 1:
        notes.fault((*path, "threshold"), "expected a cosine from -1 to 1")
    for field, value, least in (
        ("nearest", examples.nearest, 1),
        ("dimensions", examples.dimensions, 1),
        ("prompts", examples.prompts, 0),
    ):
        if value is not None and value < least:
            notes.fault((*path, field), f"expected a number of {least} or more")
    _routes(examples, [n for n in (spec.cheap, spec.strong, *spec.models) if n], path, notes)


def _embeddings(name: str, path: Path, providers: Mapping[str, Provider], notes: Notes) -> None:
    provider, _, model = name.partition("/")
    if provider not in providers or not model:
        told = suggestion(provider, providers)
        notes.fault(path, f"{name} is no provider/model of this file", told or "openai/MODEL")
    elif providers[provider].dialect not in _EMBEDS:
        notes.fault(
            path,
            f"{provider} speaks {providers[provider].dialect}, which has no embeddings",
            f"name a provider with dialect {' or '.join(_EMBEDS)}",
        )


def _routes(examples: Examples, names: list[str], path: Path, notes: Notes) -> None:
    if not examples.routes:
        notes.fault((*path, "routes"), "an empty list routes nothing")
    seen: dict[str, int] = {}
    for at, route in enumerate(examples.routes):
        here: Path = (*path, "routes", at)
        if route.to not in names:
            notes.fault(
                (*here, "to"),
                f"{route.to} is not among the models of this alias",
                f"expected one of {', '.join(names)}; list more under models",
            )
        if not route.utterances:
            notes.fault((*here, "utterances"), "an empty list is like nothing")
        for number, utterance in enumerate(route.utterances):
            where: Path = (*here, "utterances", number)
            text = utterance.strip()
            if not text:
                notes.fault(where, "an empty utterance is like nothing")
            elif seen.setdefault(text, at) != at:
                notes.fault(where, f"is in routes[{seen[text]}] as well", "leave it in one")
    if len(seen) > _MANY:
        notes.warn(
            (*path, "routes"),
            f"{len(seen)} utterances: comparing them holds every new prompt up",
            "some fifty a route are plenty; dimensions: 256 helps",
        )
