"""Lessons of the ledger as examples: whose word counts, what a row weighs, what it costs."""

from __future__ import annotations

from array import array

import pytest

from muxproxy.cli import lessons
from muxproxy.cli.lessons import Example
from muxproxy.ledger.lessons import Lesson
from muxproxy.routing import features, packing
from muxproxy.routing.fitting import fit
from muxproxy.routing.weights import Header, Weights

CASES = [
    # side, enough, share, feedback -> cheap, strong, weight
    ("cheap", True, None, None, (1.0, 1.0, 1.0)),
    ("strong", False, None, None, (0.0, 1.0, 1.0)),
    ("cheap", False, None, None, (0.0, 1.0, 1.0)),  # the strong one failed
    ("cheap", True, 0.02, None, (1.0, 1.0, 50.0)),
    ("strong", False, 0.001, None, (0.0, 1.0, 100.0)),
    ("cheap", None, None, 0.25, (0.25, 1.0, 1.0)),
    ("cheap", None, 0.02, 0.25, (0.25, 1.0, 1.0)),  # drawn, but the judge said nothing
    ("cheap", True, 0.5, 0.0, (0.0, 1.0, 2.0)),
    ("cheap", False, None, 1.0, (1.0, 1.0, 1.0)),
    ("strong", False, None, 0.3, (0.0, 0.3, 1.0)),
]


def test_where_the_strong_answer_was_no_better_there_is_nothing_to_gain() -> None:
    for better, told, want in (
        (True, None, (0.0, 1.0)),
        (False, None, (0.0, 0.0)),
        (False, 0.4, (0.0, 0.4)),  # the caller's word counts more
    ):
        one = lesson("strong", enough=False, better=better, feedback=told)
        found = lessons._example(one)
        assert (found.cheap, found.strong) == want
    kept = lessons._example(lesson("cheap", enough=False, better=False, feedback=0.3))
    assert (kept.cheap, kept.strong) == (0.3, 0.3)


def lesson(side: str = "cheap", text: str = "hi", **more: object) -> Lesson:
    return Lesson(id=1, alias="a", side=side, features=packing.pack(text), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("side", "enough", "share", "feedback", "want"), CASES)
def test_what_a_lesson_says(
    side: str, enough: bool | None, share: float | None, feedback: float | None, want: object
) -> None:
    found = lessons._example(lesson(side, enough=enough, share=share, feedback=feedback))
    assert (found.cheap, found.strong, found.weight) == want


def test_text_is_read_anew_and_old_features_without_it_are_told_of() -> None:
    old = b"\x00" + packing.pack("hi")[1:]
    kept = Lesson(id=1, alias="a", side="cheap", features=old, text="hi")
    assert lessons._example(kept).read.words == features.read("hi", packing.BITS).words
    with pytest.raises(packing.BadFeatures, match="version 0"):
        lessons._example(Lesson(id=1, alias="a", side="cheap", features=old))


def test_a_prompt_that_comes_again_is_one_row_of_its_weight() -> None:
    told = [(True, None), (True, None), (False, 0.5), (True, 0.5)]
    rows = [lessons._example(lesson(enough=e, share=s)) for e, s in told]
    rows.append(lessons._example(lesson(text="another", enough=True)))
    one, other = lessons._joined(rows)
    assert (one.cheap, one.strong, one.weight) == (pytest.approx(4 / 6), 1.0, 6.0)
    assert (other.cheap, other.weight) == (1.0, 1.0)


def test_who_was_not_asked_costs_what_it_costs_on_average() -> None:
    nano = [(1_000, None), (3_000, 50_000), (None, 70_000)]
    rows = [lessons._example(lesson(enough=True, cheap_nano=c, strong_nano=s)) for c, s in nano]
    lessons._priced(rows)
    assert [row.cheap_cost for row in rows] == pytest.approx([1e-6, 3e-6, 2e-6])
    assert [row.strong_cost for row in rows] == pytest.approx([6e-5, 5e-5, 7e-5])
    free = [lessons._example(lesson(enough=True)) for _ in range(2)]
    lessons._priced(free)
    assert [(row.cheap_cost, row.strong_cost) for row in free] == [(0.0, 1.0)] * 2


def example(text: str, cheap: float, weight: float = 1.0) -> Example:
    read = features.read(text, 10)
    return Example(
        read=read, key=text.encode(), cheap=cheap, strong=1.0, cheap_cost=0.0, strong_cost=1.0,
        weight=weight,
    )  # fmt: skip


def test_a_row_that_weighs_three_is_fitted_as_three() -> None:
    header = Header(bits=10, scale=0.001, bias=0.0, shape=0.6, steps=(0.0, 1.0))
    base = Weights(header, array("b", bytes(1 << 10)))
    rows = [example("zebra and others", 0.0, 3.0), example("tulip", 1.0), example("so", 0.5)]
    many = [rows[0]] * 3 + rows[1:]

    def gains(found: Weights) -> list[float]:
        return [found.gain(row.read) for row in rows]

    # The ridge stands against the mean weight: 5 rows of weight 1, or 3 of 5/3.
    heavy = fit(
        base, [r.read for r in rows], [r.strong - r.cheap for r in rows], {},
        [r.weight for r in rows], ridge=3.0,
    )  # fmt: skip
    plain = fit(
        base, [r.read for r in many], [r.strong - r.cheap for r in many], {}, ridge=5.0
    )  # fmt: skip
    assert gains(heavy) == pytest.approx(gains(plain), abs=0.02)
    light = fit(base, [r.read for r in rows], [r.strong - r.cheap for r in rows], {}, ridge=3.0)
    assert gains(light) != pytest.approx(gains(plain), abs=0.02)
