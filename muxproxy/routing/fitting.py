"""Fitting the classifier to labelled prompts, in plain Python: ridge regression of the gain by
conjugate gradients, starting from weights that are already good: their prediction counts as far as
it holds for these prompts, and what is fitted is what it leaves. The trees stay as they are.
Nothing in it is random."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import sqrt

from muxproxy.routing import features
from muxproxy.routing.weights import SHAPE_NORM, Header, Weights

RIDGE = 40.0  # chosen with the shipped weights, on development data
BELIEVED = 40.0
ROUNDS = 25
_STEPS = 100
_MOST = 127

Row = list[tuple[int, float]]


def fit(
    base: Weights,
    reads: Sequence[features.Read],
    gains: Sequence[float],
    training: dict[str, object],
    weights: Sequence[float] | None = None,
    ridge: float = RIDGE,
) -> Weights:
    """Weights for prompts like these. `gains`: the strong model's quality minus the cheap one's;
    `weights`: how many prompts each stands for."""
    head = base.header
    places: dict[int, int] = {}
    rows: list[Row] = []
    before: list[float] = []
    for read in reads:
        before.append(base.gain(read) - head.bias)
        rows.append(_row(read, head, places))
    counts = weights or [1.0] * len(gains)
    total = sum(counts)
    mean = sum(c * g for c, g in zip(counts, gains, strict=True)) / total
    centre = sum(c * b for c, b in zip(counts, before, strict=True)) / total
    trust = _trust([b - centre for b in before], [g - mean for g in gains], counts)
    rest = [g - mean - trust * (b - centre) for g, b in zip(gains, before, strict=True)]
    if weights is not None:  # each row and what is wanted of it, times the root of its weight
        roots = [sqrt(c * len(counts) / total) for c in counts]
        rows = [[(at, w * r) for at, w in row] for row, r in zip(rows, roots, strict=True)]
        rest = [value * r for value, r in zip(rest, roots, strict=True)]
    change = _solve(rows, rest, len(places), ridge)
    values = [trust * head.scale * value for value in base.values]
    for place, at in places.items():
        values[place] += change[at]
    scale = _scale(values)
    whole = array("b", (max(-_MOST, min(_MOST, round(v / scale))) for v in values))
    header = Header(
        bits=head.bits, scale=scale, bias=mean - trust * centre, shape=head.shape, steps=(0.0, 1.0),
        need=trust * head.need, leaf=trust * head.leaf, roots=head.roots, nodes=head.nodes,
        training=training,
    )  # fmt: skip
    found = Weights(header, whole, base.trees)
    seen = sorted(found.gain(read) for read in reads)
    header.steps = _steps(seen)
    return found


def _trust(before: Sequence[float], gains: Sequence[float], counts: Sequence[float]) -> float:
    """0..1: how much of a difference foreseen by the weights there were is one here as well. Both
    are about their means; as if `BELIEVED` rows had said that all of it is."""
    both = sum(c * b * g for c, b, g in zip(counts, before, gains, strict=True))
    alone = sum(c * b * b for c, b in zip(counts, before, strict=True))
    if not alone:
        return 1.0
    slope = (both / alone * len(counts) + BELIEVED) / (len(counts) + BELIEVED)
    return min(1.0, max(0.0, slope))


def _row(read: features.Read, head: Header, places: dict[int, int]) -> Row:
    row: dict[int, float] = {}
    word = 1 / sqrt(len(read.words)) if read.words else 0.0
    shape = head.shape / sqrt(SHAPE_NORM)
    for indices, weight in ((read.words, word), (read.shape, shape)):
        for index in indices:
            at = places.setdefault(index, len(places))
            row[at] = row.get(at, 0.0) + weight
    return list(row.items())


def _solve(rows: Sequence[Row], wanted: Sequence[float], size: int, ridge: float) -> list[float]:
    """The x that makes |Ax - wanted|^2 + ridge |x|^2 least."""

    def back(values: Sequence[float]) -> list[float]:
        out = [0.0] * size
        for row, value in zip(rows, values, strict=True):
            for at, weight in row:
                out[at] += weight * value
        return out

    x = [0.0] * size
    residue = back(wanted)
    step = residue[:]
    norm = sum(r * r for r in residue)
    first = norm
    for _ in range(ROUNDS):
        if norm <= 1e-8 * first:
            break
        seen = [sum(weight * step[at] for at, weight in row) for row in rows]
        turned = back(seen)
        for at, value in enumerate(step):
            turned[at] += ridge * value
        length = norm / sum(s * t for s, t in zip(step, turned, strict=True))
        for at, value in enumerate(step):
            x[at] += length * value
            residue[at] -= length * turned[at]
        following = sum(r * r for r in residue)
        part, norm = following / norm, following
        step = [r + part * s for r, s in zip(residue, step, strict=True)]
    return x


def _scale(values: Sequence[float]) -> float:
    """So that all but the largest thousandth fit into a byte."""
    sizes = sorted(abs(v) for v in values if v)
    return sizes[int(0.999 * (len(sizes) - 1))] / _MOST if sizes else 1.0


def _steps(seen: Sequence[float]) -> tuple[float, ...]:
    """Quantiles, with room at both ends, each above the one before."""
    last = len(seen) - 1
    steps = [seen[round(last * at / _STEPS)] + 1e-6 * at for at in range(_STEPS + 1)]
    span = max(steps[-1] - steps[0], 1e-3)
    steps[0] -= span / 10
    steps[-1] += span / 10
    return tuple(round(step, 7) for step in steps)
