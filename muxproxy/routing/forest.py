"""A forest of decision trees over small whole numbers, in three flat arrays.

Nodes stand in the order parent, left side, right side. At node n, `asks[n]` is the number looked
at; the way goes left (n + 1) where it is at most `limits[n]`, else right (n + `skips[n]`). At a
leaf `asks` is LEAF and `limits` its value. As bytes: the three arrays one after the other,
little-endian.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from muxproxy.routing.endian import little

LEAF = 255
NODE = 5  # bytes


class Forest:
    """Ready to ask. Immutable."""

    def __init__(
        self, roots: Sequence[int], asks: bytes, limits: array[int], skips: array[int]
    ) -> None:
        self.roots = tuple(roots)
        self.asks = asks
        self.limits = limits
        self.skips = skips

    def total(self, facts: Sequence[int]) -> int:
        """The sum of the leaves that `facts` come to. As many facts as the trees ask about."""
        asks, limits, skips, total = self.asks, self.limits, self.skips, 0
        for root in self.roots:
            at, fact = root, asks[root]
            while fact != LEAF:
                at += 1 if facts[fact] <= limits[at] else skips[at]
                fact = asks[at]
            total += limits[at]
        return total


def dump(forest: Forest) -> bytes:
    """The arrays as bytes."""
    return forest.asks + little(forest.limits).tobytes() + little(forest.skips).tobytes()


def load(raw: bytes, roots: Sequence[int], facts: int) -> Forest:
    """Raises ValueError where a tree would lead out of the arrays or ask for what there is not."""
    count = len(raw) // NODE
    asks, limits, skips = raw[:count], array("h"), array("H")
    limits.frombytes(raw[count : 3 * count])
    skips.frombytes(raw[3 * count :])
    forest = Forest(roots, asks, little(limits), little(skips))
    if any(not 0 <= root < count for root in roots) or (asks and asks[-1] != LEAF):
        raise ValueError("its trees lead nowhere")
    for at, (fact, skip) in enumerate(zip(asks, forest.skips, strict=True)):
        if fact != LEAF and (fact >= facts or not 0 < skip < count - at):
            raise ValueError("its trees lead nowhere")
    return forest
