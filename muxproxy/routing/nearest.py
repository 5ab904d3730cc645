"""Routes by example: which of them a prompt's embedding is most like. Pure.

Vectors are of length one, so that the cosine is the sum of products.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from heapq import nlargest
from operator import mul
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    Vector = array[float]  # "f": 4 bytes a number
else:
    Vector = array  # not subscriptable before Python 3.12


class BadVectors(ValueError):
    """The answer holds no embeddings that could be used; says why."""


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Row]


_decode = msgspec.json.Decoder(_Answer).decode


class Route(msgspec.Struct, frozen=True):
    """`name` is where prompts like these go."""

    name: str
    vectors: tuple[Vector, ...]


class Likeness(msgspec.Struct, frozen=True):
    """The most similar route; `similarity` -1..1, `second` that of the next one."""

    name: str
    similarity: float
    second: float | None


def _products(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(mul, a, b)))


# Python 3.12 has it in C.
_cosine: Callable[[Sequence[float], Sequence[float]], float] = getattr(math, "sumprod", _products)


def nearest(prompt: Vector, routes: Sequence[Route], best: int) -> Likeness:
    """By the mean of each route's `best` most similar vectors. Raises BadVectors for vectors of
    another length than the prompt's."""
    given = prompt.tolist()
    scored = []
    for at, route in enumerate(routes):
        if any(len(one) != len(prompt) for one in route.vectors):
            raise BadVectors("other dimensions")
        top = nlargest(best, [_cosine(given, one) for one in route.vectors])
        scored.append((sum(top) / len(top), -at, route.name))
    scored.sort(reverse=True)
    second = scored[1][0] if len(scored) > 1 else None
    return Likeness(scored[0][2], scored[0][0], second)


def read_answer(body: bytes, count: int) -> list[Vector]:
    """The vectors of an OpenAI embeddings answer, in the order of its `count` inputs, made of
    length one. Raises BadVectors.

    Source: developers.openai.com/api/reference/resources/embeddings
    """
    try:
        rows = _decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadVectors("malformed embeddings") from None
    if len(rows) != count:
        raise BadVectors("malformed embeddings")
    if all(row.index is not None for row in rows):
        rows.sort(key=lambda row: row.index or 0)
        if [row.index for row in rows] != list(range(count)):
            raise BadVectors("malformed embeddings")
    if len({len(row.embedding) for row in rows}) != 1:
        raise BadVectors("other dimensions")
    return [_unit(row.embedding) for row in rows]


def _unit(values: list[float]) -> Vector:
    length = math.hypot(*values)
    if not values or not math.isfinite(length) or length == 0:
        raise BadVectors("malformed embeddings")
    return array("f", [value / length for value in values])
