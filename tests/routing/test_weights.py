"""The classifier's file, its features and its bounds."""

from __future__ import annotations

from array import array
from math import hypot

import pytest

from muxproxy.routing import features, judgement, meanings
from muxproxy.routing.fitting import BELIEVED, fit
from muxproxy.routing.forest import LEAF, Forest
from muxproxy.routing.weights import BadWeights, Header, Weights, dump, load

EXAM = "Which of these is a prime?\nA. 4\nB. 6\nC. 7\nD. 8\nAnswer:"


def small(**more: object) -> Weights:
    values = array("b", bytes(256))
    header = Header(bits=8, scale=0.01, bias=0.2, shape=1.0, steps=(-1.0, 0.0, 1.0))
    for name, value in more.items():
        setattr(header, name, value)
    return Weights(header, values)


def test_a_file_comes_back_as_it_was() -> None:
    weights = small()
    weights.values[17] = -5
    again = load(dump(weights))
    assert again.values == weights.values
    assert again.header == weights.header
    assert again.score("anything at all") == weights.score("anything at all")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"PK" + data, "not a file of"),
        (lambda data: data.replace(b'"bits":8', b'"bits":9'), "holds 256 bytes"),
        (lambda data: data.replace(b'"bits":8', b'"bits":60'), "makes no sense"),
        (lambda data: data.replace(b'"features":2', b'"features":1'), "train it again"),
        (lambda data: data.replace(b'"nodes":0', b'"nodes":-1'), "makes no sense"),
        (lambda data: data.replace(b"MUXROUTE2", b"MUXROUTE1"), "another version of muxproxy"),
        (lambda data: data.rpartition(b"\n")[0] + b"\nxxxxxxxxxxx", "unpacked"),
        (lambda data: data.replace(b'"bits"', b'"tibs"'), "header cannot be read"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(change: object, why: str) -> None:
    with pytest.raises(BadWeights, match=why):
        load(change(dump(small())))  # type: ignore[operator]


LENGTH = [name for name, _ in features.SHAPE].index("characters")


def grown(
    asks: tuple[int, ...] = (LENGTH, LEAF, LEAF), skips: tuple[int, ...] = (2, 0, 0)
) -> Weights:
    """One tree: texts of up to ten characters lose 7, longer ones gain 5; both times 0.1."""
    weights = small(leaf=0.1, roots=(0,), nodes=len(asks))
    limits = array("h", (10, -7, 5)[: len(asks)])
    weights.trees = Forest((0,), bytes(asks), limits, array("H", skips))
    return weights


def test_a_forest_comes_back_and_adds_its_leaves() -> None:
    weights = load(dump(grown()))
    assert weights.gain(features.read("short", 8)) == pytest.approx(0.2 - 0.7)
    assert weights.gain(features.read("a longer text", 8)) == pytest.approx(0.2 + 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        grown(skips=(3, 0, 0)),
        grown(skips=(0, 0, 0)),
        grown(asks=(features.FACTS, LEAF, LEAF)),
        grown(asks=(LENGTH, LEAF, LENGTH)),
    ],
)
def test_a_forest_that_leads_nowhere_is_refused(wrong: Weights) -> None:
    with pytest.raises(BadWeights, match="nowhere"):
        load(dump(wrong))


@pytest.mark.parametrize("words", ["mother father integer", "river lake equation"])
def test_words_that_mean_alike_have_rows_alike(words: str) -> None:
    one, like, other = (
        features.read(word, 8).facts[-meanings.COLUMNS : -1] for word in words.split()
    )

    def together(row: list[int]) -> float:
        return sum(a * b for a, b in zip(one, row, strict=True)) / hypot(*one) / hypot(*row)

    assert together(like) > 0.9
    assert together(other) < 0.1


def test_no_words_mean_nothing() -> None:
    assert meanings.of([]) == [0] * meanings.COLUMNS


def test_the_score_is_the_place_among_the_training_texts() -> None:
    weights = small()
    assert [weights.place(g) for g in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0)] == [
        0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (EXAM, "choices"),
        ("Fix this:\n```\ndef f():\n    pass\n```", "code"),
        ("Find $x$ with $\\frac{1}{x} = 3$", "formulas"),
        ("Tom has 3 bags of 12 apples. How many apples has he?", "word problem"),
        ("Who wrote Faust?", "short question"),
        ("Write a letter to my landlord. " * 9, "open"),
        ("", "short question"),
    ],
)
def test_the_form_of_a_text(text: str, form: str) -> None:
    assert features.FORMS[features.read(text, 18).form] == form


def test_only_the_ends_of_a_long_text_are_read() -> None:
    begin, end = "alpha " * 500, "omega " * 200
    short = features.read(begin + end, 18)
    long = features.read(begin + "middle " * 100_000 + end, 18)
    assert set(short.words) - set(long.words) == set()
    assert len(long.words) < 20


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800 broken", "日本語の質問", "a" * 200_000])
def test_any_text_has_a_score(text: str) -> None:
    for strategy in ("semantic", "heuristic"):
        assert 0 <= judgement.scorer(strategy, None)(text).score <= 1


def test_the_shipped_weights_name_their_sources_and_may_be_shipped() -> None:
    training = judgement.default_weights().header.training
    assert "Apache-2.0" in str(training["embeddings"])
    sources = training["sources"]
    assert isinstance(sources, dict) and len(sources) == 10
    for name, told in sources.items():
        assert told["licence"]
        assert not name.startswith(("alpaca", "routerarena", "mot_"))


def test_reasons_hold_nothing_of_the_text() -> None:
    for strategy in ("semantic", "heuristic"):
        reason = judgement.scorer(strategy, None)("my secret sesame must be json, explain").reason
        assert "sesame" not in reason


def test_fitting_believes_what_was_there_as_far_as_it_holds() -> None:
    weights = judgement.default_weights()
    texts = [f"{EXAM} {n}" if n % 2 else f"Say hello to number {n}." for n in range(200)]
    reads = [features.read(text, 18) for text in texts]
    said = [weights.gain(read) for read in reads]
    ends = {}
    for name, gains in (("so", said), ("against", [-g for g in said]), ("none", [0.1] * 200)):
        fitted = fit(weights, reads, gains, {})
        ends[name] = fitted.header.leaf / weights.header.leaf
    assert ends["so"] == pytest.approx(1)
    assert ends["against"] == 0
    assert ends["none"] == pytest.approx(BELIEVED / (200 + BELIEVED))
