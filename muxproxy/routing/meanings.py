"""What the words of a text are about, as a few small numbers. Pure but for reading its table once.

The table `words.bin` has a row for each of 2**16 places that words hash to: `COLUMNS` signed bytes,
column by column (zlib). All but the last are the main directions of the word's embedding by
all-MiniLM-L6-v2 (Apache-2.0), so words that mean alike have rows alike; the last is what the word
says about the need of the strong model, as fitted by `scripts/train_router.py`. Words that were in
fewer than two training texts have no row but by chance: two of three places hold zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

COLUMNS = 9
PLACES = 1 << 16
_LANE = 3  # bytes: the sum of as many words as a text has that is looked at stays below 2**24
_ABOVE = 128  # added to each, so that none is negative
_RAISED = bytes((byte + _ABOVE) % 256 for byte in range(256))  # of signed bytes


def of(words: Iterable[int]) -> list[int]:
    """A thousand times the mean row of different words, given by their CRC-32; rounded down."""
    places = [word & (PLACES - 1) for word in set(words)]
    if not places:
        return [0] * COLUMNS
    count = len(places)
    total = sum(map(table().__getitem__, places)).to_bytes(_LANE * COLUMNS, "little")
    sums = [int.from_bytes(total[at : at + _LANE], "little") for at in range(0, len(total), _LANE)]
    return [1000 * (each - _ABOVE * count) // count for each in sums]


@cache
def table() -> list[int]:
    """The rows of `words.bin`, each as one number: a column every `_LANE` bytes, so that one
    addition adds whole rows."""
    packed = files("muxproxy.routing").joinpath("words.bin").read_bytes()
    raw = zlib.decompress(packed).translate(_RAISED)
    rows = bytearray(_LANE * COLUMNS * PLACES)
    for column in range(COLUMNS):
        rows[column * _LANE :: _LANE * COLUMNS] = raw[column * PLACES : (column + 1) * PLACES]
    size = _LANE * COLUMNS
    return [int.from_bytes(rows[at : at + size], "little") for at in range(0, len(rows), size)]
