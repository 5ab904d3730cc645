"""A trained classifier as one small file: a header that tells its training, then the weights.

    b"MUXROUTE2\\n", one line of JSON (Header), then by zlib 2**bits weights as signed bytes and a
    forest of Header.nodes nodes

The score of a text is where its predicted gain (quality of the strong model minus that of the
cheap one) lies among those of the training texts: at 0.8, four of five would gain less.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from math import sqrt
from operator import itemgetter

import msgspec

from muxproxy.routing import features, forest, meanings
from muxproxy.routing.forest import Forest

MAGIC = b"MUXROUTE2\n"
_LARGEST = 22  # bits; a file that asks for more is not ours
_NODES = 1 << 18  # of a forest, likewise
SHAPE_NORM = 60.0  # about how many steps of shape a text has on


class BadWeights(ValueError):
    """The file cannot be used; the message says why."""


class Header(msgspec.Struct, kw_only=True):
    """What stands before the weights. `steps` are quantiles of the predicted gain."""

    features: int = features.VERSION
    bits: int
    scale: float
    bias: float
    shape: float
    need: float = 0.0  # what the last fact counts: the words' own say
    leaf: float = 0.0  # what the sum of the forest's leaves counts
    roots: tuple[int, ...] = ()
    nodes: int = 0
    steps: tuple[float, ...]
    threshold: float | None = None  # score from which on the strong model is worth it
    training: dict[str, object] = {}


class Weights:
    """A classifier, ready to score. Immutable."""

    def __init__(self, header: Header, values: array[int], trees: Forest | None = None) -> None:
        self.header = header
        self.values = values
        self.trees = trees

    def gain(self, read: features.Read) -> float:
        """The quality that the strong model is expected to add, about -1..1."""
        header = self.header
        gain = header.bias + header.scale * self._raw(read) + header.need * read.facts[-1]
        return gain + header.leaf * self.trees.total(read.facts) if self.trees else gain

    def _raw(self, read: features.Read) -> float:
        values, words = self.values, read.words
        shape = sum(_pick(read.shape, values))
        said = sum(_pick(words, values)) / sqrt(len(words)) if words else 0.0
        return said + shape * (self.header.shape / sqrt(SHAPE_NORM))

    def score(self, text: str) -> float:
        """How much the text needs the strong model, 0..1."""
        return self.place(self.gain(features.read(text, self.header.bits)))

    def place(self, gain: float) -> float:
        """Where `gain` lies among those of the training texts, 0..1."""
        steps = self.header.steps
        at = bisect_right(steps, gain)
        if at == 0:
            return 0.0
        if at == len(steps):
            return 1.0
        low, high = steps[at - 1], steps[at]
        return (at - 1 + (gain - low) / (high - low)) / (len(steps) - 1)


def _pick(indices: list[int], values: array[int]) -> tuple[int, ...] | list[int]:
    if len(indices) < 2:
        return [values[i] for i in indices]
    return itemgetter(*indices)(values)  # type: ignore[no-any-return]


def dump(weights: Weights) -> bytes:
    """The file."""
    head = msgspec.json.encode(weights.header)
    raw = weights.values.tobytes() + (forest.dump(weights.trees) if weights.trees else b"")
    return MAGIC + head + b"\n" + zlib.compress(raw, 9)


def load(data: bytes) -> Weights:
    """Raises BadWeights."""
    if data.startswith(MAGIC[:8]) and not data.startswith(MAGIC):
        raise BadWeights("it was made for another version of muxproxy: train it again")
    if not data.startswith(MAGIC):
        raise BadWeights("it is not a file of `muxproxy train`")
    line, newline, packed = data[len(MAGIC) :].partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError as error:
        raise BadWeights(f"its header cannot be read: {error}") from None
    if header.features != features.VERSION:
        raise BadWeights(
            f"it was trained on features {header.features}, this muxproxy reads "
            f"{features.VERSION}: train it again"
        )
    if (
        not newline
        or not 8 <= header.bits <= _LARGEST
        or len(header.steps) < 2
        or not 0 <= header.nodes <= _NODES
    ):
        raise BadWeights("its header makes no sense")
    words = 1 << header.bits
    size = words + header.nodes * forest.NODE
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise BadWeights(f"its weights cannot be unpacked: {error}") from None
    if len(raw) != size:
        raise BadWeights(f"it holds {len(raw)} bytes of weights, its header says {size}")
    values = array("b")
    values.frombytes(raw[:words])
    meanings.table()  # read now: the first prompt must not wait for it
    if not header.nodes:
        return Weights(header, values)
    try:
        trees = forest.load(raw[words:], header.roots, features.FACTS)
    except ValueError as error:
        raise BadWeights(str(error)) from None
    return Weights(header, values, trees)
