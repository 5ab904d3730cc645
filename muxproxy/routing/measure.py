"""What a router is worth on labelled prompts. Pure.

RouteLLM's measures (arXiv 2406.18665): with c the share of prompts sent to the strong model and
r(c) the mean quality, PGR(c) = (r(c) - cheap) / (strong - cheap); APGR is its mean over c, CPT(x)
the least c at which it is x. Prompts of one score are one block, crossed in a straight line, so a
constant score is the router that throws dice: APGR 0.5, CPT(50) 50 %.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise

import msgspec

ENOUGH = 0.95  # of the strong model's quality
_BOOTS = 200


class Item(msgspec.Struct, frozen=True, gc=False):
    """One prompt. In a cascade `strong_cost` holds the cheap call as well. `weight`: how many
    prompts it stands for, where not all were equally likely to be seen."""

    score: float
    cheap: float
    strong: float
    cheap_cost: float
    strong_cost: float
    full_cost: float  # of sending it to the strong model alone
    weight: float = 1.0


class Worth(msgspec.Struct, frozen=True):
    """None where the pair has no gap to win."""

    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    saved: float | None  # of the cost of all strong, at 95 % of its quality
    low: float | None = None
    high: float | None = None


Points = list[tuple[float, float, float]]  # share strong, mean quality, part of all-strong's cost


def curve(items: Sequence[Item]) -> Points:
    """From all cheap to all strong, the highest scores first."""
    n = sum(i.weight for i in items)
    full = sum(i.weight * i.full_cost for i in items) or 1.0
    quality = sum(i.weight * i.cheap for i in items)
    cost = sum(i.weight * i.cheap_cost for i in items)
    points, sent = [(0.0, quality / n, cost / full)], 0.0
    ranked = sorted(items, key=lambda i: -i.score)
    for _, block in groupby(ranked, key=lambda i: i.score):
        for item in block:
            quality += item.weight * (item.strong - item.cheap)
            cost += item.weight * (item.strong_cost - item.cheap_cost)
            sent += item.weight
        points.append((sent / n, quality / n, cost / full))
    return points


def worth(items: Sequence[Item]) -> Worth:
    """The measures, without an interval."""
    points = curve(items)
    low = points[0][1]
    strong = best(items)
    gap = strong - low
    saved = crossing(points, ENOUGH * strong, 2)
    saved = None if saved is None else 1 - saved
    if gap <= 0:
        return Worth(None, None, None, saved)
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return Worth(
        (area - low) / gap,
        crossing(points, low + 0.5 * gap, 0),
        crossing(points, low + 0.8 * gap, 0),
        saved,
    )


def best(items: Sequence[Item]) -> float:
    """The strong model's mean quality."""
    return sum(i.weight * i.strong for i in items) / sum(i.weight for i in items)


def threshold(items: Sequence[Item]) -> float | None:
    """The score from which on the strong model brings ENOUGH of its quality."""
    share = crossing(curve(items), ENOUGH * best(items), 0)
    if share is None:
        return None
    ranked = sorted(items, key=lambda i: -i.score)
    left = share * sum(i.weight for i in items)
    for item in ranked:
        left -= item.weight
        if left < 0:
            return item.score
    return ranked[-1].score


def crossing(points: Points, quality: float, column: int) -> float | None:
    """The first place on the curve with that quality, straight between points."""
    if points[0][1] >= quality:
        return points[0][column]
    for a, b in pairwise(points):
        if b[1] >= quality:
            part = (quality - a[1]) / (b[1] - a[1])
            return a[column] + part * (b[column] - a[column])
    return None


def with_interval(items: Sequence[Item], seed: int = 0, boots: int = _BOOTS) -> Worth:
    """The measures, with the APGR's 95 % bootstrap interval."""
    drawn, dice = [], random.Random(seed)
    for _ in range(boots):
        apgr = worth([items[dice.randrange(len(items))] for _ in items]).apgr
        if apgr is not None:
            drawn.append(apgr)
    found = worth(items)
    if len(drawn) < 20:
        return found
    drawn.sort()
    low, high = drawn[int(0.025 * len(drawn))], drawn[int(0.975 * len(drawn))]
    return msgspec.structs.replace(found, low=low, high=high)


def rescored(items: Sequence[Item], score: Callable[[Item], float]) -> list[Item]:
    """The same prompts with other scores."""
    return [msgspec.structs.replace(item, score=score(item)) for item in items]


def dice(items: Sequence[Item]) -> list[Item]:
    """As a router that knows nothing."""
    return rescored(items, lambda _: 0.0)


def oracle(items: Sequence[Item]) -> list[Item]:
    """As a router that knows the outcome."""
    return rescored(items, lambda i: i.strong - i.cheap - 1e-6 * (i.strong_cost - i.cheap_cost))
