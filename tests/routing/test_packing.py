"""Features as bytes: they come back, are small, and what is none of ours is told so."""

from __future__ import annotations

import random
import zlib
from array import array

import pytest

from muxproxy.routing import features, judgement, packing

TEXTS = [
    "",
    "hi",
    "Which of these is a prime?\nA. 4\nB. 6\nC. 7\nD. 8\nAnswer:",
    "日本語の質問",
    "word " * 5000,
    " ".join(f"{n:x}q" for n in range(4000)),
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_they_come_back_and_score_the_same(text: str) -> None:
    read, again = features.read(text, packing.BITS), packing.unpack(packing.pack(text))
    assert (sorted(read.words), sorted(read.shape)) == (again.words, again.shape)
    assert (read.form, read.facts) == (again.form, again.facts)
    weights = judgement.default_weights()
    assert weights.gain(read) == pytest.approx(weights.gain(again))
    assert packing.pack(text) == packing.pack(text)


def test_they_are_small_whatever_the_text() -> None:
    dice = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choices(letters, k=dice.randint(2, 9))) for _ in range(400)]
    assert len(packing.pack(" ".join(words[:20]))) < 800
    assert len(packing.pack(" ".join(words)[:2000])) < 4_000
    worst = [" ".join(dice.choices(letters + "0!?;:é", k=2000)), "".join(map(chr, range(33, 9000)))]
    worst.append(" ".join("".join(dice.choices(letters, k=2)) for _ in range(40_000)))
    assert max(len(packing.pack(text)) for text in worst) < packing.MOST


def blob(*numbers: int, head: bytes = bytes((features.VERSION, packing.BITS, 0))) -> bytes:
    return head + zlib.compress(array("I", numbers).tobytes())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "none of ours"),
        (b"xyz", "none of ours"),
        (blob(0, 0, head=bytes((features.VERSION, packing.BITS, 99))), "none of ours"),
        (blob(0, 0, head=bytes((features.VERSION + 1, packing.BITS, 0))), "of version"),
        (blob()[:3] + b"nonsense", "unpacked"),
        (blob(5), "empty"),
        (blob(5, 5, 1), "cut off"),
        (blob(1, 0, *[0] * features.FACTS), "cut off"),
        (blob(1, 0, *[0] * features.FACTS, 1 << packing.BITS), "none of ours"),
    ],
)
def test_what_is_none_of_ours_says_so(data: bytes, why: str) -> None:
    with pytest.raises(packing.BadFeatures, match=why):
        packing.unpack(data)
