"""What the words of a text are about, as a few small numbers. Pure but for reading its table once.

The table `words.bin` has a row for each of 2**16 places that words hash to: `COLUMNS` signed bytes,
column by column (zlib). All but the last are the main directions of the word's embedding by
all-MiniLM-L6-v2 (Apache-2.0), so words that mean alike have rows alike; the last is what the word
says about the need of the strong model, as fitted by `scripts/train_router.py`. Words that were in
fewer than two training texts have no row but by chance: two of three places hold zeros.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from operator import itemgetter

COLUMNS = 9
PLACES = 1 << 16


def of(words: Iterable[int]) -> list[int]:
    """A thousand times the mean row of different words, given by their CRC-32; rounded down."""
    places = [word & (PLACES - 1) for word in set(words)]
    if not places:
        return [0] * COLUMNS
    count = len(places)
    pick = itemgetter(*places, 0)  # one more, so that it is a tuple always
    return [1000 * (sum(pick(column)) - column[0]) // count for column in table()]


@cache
def table() -> tuple[array[int], ...]:
    """The columns of `words.bin`."""
    packed = files("muxproxy.routing").joinpath("words.bin").read_bytes()
    raw = zlib.decompress(packed)
    return tuple(array("b", raw[at : at + PLACES]) for at in range(0, len(raw), PLACES))
