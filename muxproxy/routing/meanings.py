"""What the words of a text are about, as a few small numbers. Pure but for reading its table once.

The table `words.bin` (zlib) knows words by their CRC-32: a count and so many rising hashes as
differences, 32 bits each, little-endian; then `COLUMNS` columns of signed bytes. All but the last
are the main directions of the word's embedding by all-MiniLM-L6-v2 (Apache-2.0), so words that mean
alike have rows alike; the last is what the word says about the need of the strong model, as fitted
by `scripts/train_router.py`. Words that were in fewer than two training texts are not in it, and
count as zeros. Weights are made with it: another table needs another `features.VERSION`.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from itertools import accumulate

from muxproxy.routing.endian import little

COLUMNS = 9
_LANE = 3  # bytes: the sum of as many words as a text has that is looked at stays below 2**24
_ABOVE = 128  # added to each, so that none is negative
_RAISED = bytes((byte + _ABOVE) % 256 for byte in range(256))  # of signed bytes


def of(words: Iterable[int]) -> list[int]:
    """A thousand times the mean row of different words, given by their CRC-32; rounded down."""
    different = set(words)
    known = list(filter(None, map(table().get, different)))  # no row is 0: see _ABOVE
    if not known:
        return [0] * COLUMNS
    total, count, above = sum(known), len(different), _ABOVE * len(known)
    raw = total.to_bytes(_LANE * COLUMNS, "little")
    sums = [int.from_bytes(raw[at : at + _LANE], "little") for at in range(0, len(raw), _LANE)]
    return [1000 * (each - above) // count for each in sums]


@cache
def table() -> dict[int, int]:
    """The rows of `words.bin` by hash, each as one number: a column every `_LANE` bytes, so that
    one addition adds whole rows."""
    return load(files("muxproxy.routing").joinpath("words.bin").read_bytes())


def load(data: bytes) -> dict[int, int]:
    """As `table`, from the file's bytes."""
    raw = zlib.decompress(data)
    count = int.from_bytes(raw[:4], "little")
    first = 4 * (count + 1)
    steps = little(array("I", raw[4:first]))
    columns = raw[first:].translate(_RAISED)
    size = _LANE * COLUMNS
    rows = bytearray(size * count)
    for column in range(COLUMNS):
        rows[column * _LANE :: size] = columns[column * count : (column + 1) * count]
    numbers = (int.from_bytes(rows[at : at + size], "little") for at in range(0, len(rows), size))
    return dict(zip(accumulate(steps), numbers, strict=True))


def dump(words: Sequence[int], columns: Sequence[bytes]) -> bytes:
    """The file of rising hashes and, for each column, a signed byte a word."""
    steps = array("I", (b - a for a, b in zip([0, *words], words, strict=False)))
    head = len(words).to_bytes(4, "little") + little(steps).tobytes()
    return zlib.compress(head + b"".join(columns), 9)
