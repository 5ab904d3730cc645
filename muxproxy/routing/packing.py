"""A prompt's features as a few bytes, for the ledger: 500 for a line, 2.9 kB for 2,000
characters, and for no text more than `MOST`, for only its ends are read. Pure.

    version, bits, form (a byte each), then by zlib: two 32-bit counts (words, shape), the FACTS,
    the sorted indices of each as differences, 32 bits each, all little-endian
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from itertools import accumulate, pairwise

from muxproxy.routing import features
from muxproxy.routing.endian import little
from muxproxy.routing.features import Read

MOST = 8192  # bytes
BITS = 18  # as the shipped weights
_ALL = 0xFFFFFFFF  # facts may be negative: two's complement
_LARGEST = 1 << 18  # bytes unpacked; `features.read` finds far less in any text


class BadFeatures(ValueError):
    """These bytes cannot be used; the message says why."""


def pack(text: str) -> bytes:
    """What `features.read` finds in a text."""
    read = features.read(text, BITS)
    head = bytes((features.VERSION, BITS, read.form))
    facts = [fact & _ALL for fact in read.facts]
    numbers = [len(read.words), len(read.shape), *facts, *_steps(read.words), *_steps(read.shape)]
    return head + zlib.compress(little(array("I", numbers)).tobytes(), 1)


def unpack(data: bytes) -> Read:
    """As it was, but for the order. Raises BadFeatures."""
    if len(data) < 3 or data[1] != BITS or data[2] >= len(features.FORMS):
        raise BadFeatures("they are none of ours")
    if data[0] != features.VERSION:
        raise BadFeatures(f"they are of version {data[0]}, this muxproxy has {features.VERSION}")
    numbers = array("I")
    try:
        numbers.frombytes(zlib.decompressobj().decompress(data[3:], _LARGEST))
    except (zlib.error, ValueError):
        raise BadFeatures("they cannot be unpacked") from None
    if len(numbers) < 2:
        raise BadFeatures("they are empty")
    words, shape, *rest = little(numbers)
    steps = rest[features.FACTS :]
    if len(rest) != features.FACTS + words + shape:
        raise BadFeatures("they are cut off")
    facts = [fact - (_ALL + 1) * (fact > _ALL >> 1) for fact in rest[: features.FACTS]]
    found = Read(data[2], list(accumulate(steps[:words])), list(accumulate(steps[words:])), facts)
    if max(found.words[-1:] + found.shape[-1:], default=0) >= 1 << BITS:
        raise BadFeatures("they are none of ours")
    return found


def _steps(indices: Iterable[int]) -> list[int]:
    ranked = sorted(indices)
    return [*ranked[:1], *(b - a for a, b in pairwise(ranked))]
