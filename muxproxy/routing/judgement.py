"""Text to a score: how much it needs the strong model. One function per strategy. Pure but for
`weights_at`, which reads the file that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files
from math import exp

import msgspec

from muxproxy.routing import features
from muxproxy.routing.weights import Weights, load

# What `heuristic` counts, and how much each counts. On public benchmarks such counts are hardly
# better than dice (docs/routing.md); they are there to be read and changed.
HEURISTIC: Mapping[str, float] = {
    "characters": 0.0002,
    "code marks": 0.25,
    "backslashes": 0.1,
    "operators": 0.03,
    "list items": 0.1,
    "constraints": 0.15,
    "hard verbs": 0.4,
    "numbers": 0.03,
    "questions": 0.1,
    "tools": 0.5,
    "turns": 0.05,
    "json": 0.2,
    "beyond ASCII": 0.01,
}
EVEN = 0.5  # the threshold where neither the configuration nor the weights name one
_BIAS = -1.0
_MOST = 20.0  # a count beyond it says no more
_NAMES = tuple(name for name, _ in features.SHAPE)
ASKED = frozenset({"tools", "turns", "json"})  # of the request, not of its text
COUNTS = frozenset(_NAMES) | ASKED


class Scored(msgspec.Struct, frozen=True):
    """`score` 0..1; `reason` is a line a person can read and holds nothing of the text."""

    score: float
    reason: str


Scorer = Callable[[str], Scored]


def semantic(weights: Weights, text: str) -> Scored:
    """By the trained classifier."""
    read = features.read(text, weights.header.bits)
    gain = weights.gain(read)
    score = weights.place(gain)
    form = features.FORMS[read.form]
    return Scored(round(score, 6), f"{form}, expected gain {gain:+.3f}")


def heuristic(
    counts: Mapping[str, float], text: str, asked: Mapping[str, float] | None = None
) -> Scored:
    """By what can be counted, with the weights of the YAML."""
    read = features.read(text, 8)
    total, told = _BIAS, []
    seen = dict(zip(_NAMES, read.values, strict=True)) | dict(asked or {})
    for name, weight in counts.items():
        value = float(seen.get(name, 0))
        bound = 5000.0 if "characters" in name else _MOST
        part = weight * min(value, bound)
        if part:
            total += part
            told.append((abs(part), f"{name} {value:g}"))
    told.sort(reverse=True)
    why = ", ".join(text for _, text in told[:3]) or "nothing to count"
    return Scored(round(1 / (1 + exp(-total)), 6), why)


def threshold_of(strategy: str, path: str | None) -> float:
    """From which score on the strong model is chosen, where nobody says. As `weights_at`."""
    learned = weights_at(path).header.threshold if strategy == "semantic" else None
    return EVEN if learned is None else learned


@cache
def default_weights() -> Weights:
    """Those that are shipped."""
    return load(files("muxproxy.routing").joinpath("default.mux").read_bytes())


def weights_at(path: str | None) -> Weights:
    """Of `path`, or those that are shipped. Raises OSError and BadWeights."""
    if path is None:
        return default_weights()
    with open(path, "rb") as file:
        return load(file.read())


def scorer(strategy: str, path: str | None) -> Scorer:
    """For a text alone, as `muxproxy route` has it."""
    if strategy == "semantic":
        return partial(semantic, weights_at(path))
    return partial(heuristic, HEURISTIC)
