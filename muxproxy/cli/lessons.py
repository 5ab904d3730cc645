"""What the ledger kept of one's own traffic, as examples to train on.

A label is the judges' verdict on the cheap answer, or the caller's own word, which counts more.
Cheap enough: nothing to gain. Not enough: what the strong answer was worth, for what beats the
cheap model often beats the strong one too.
A call that was drawn by `explore` stands for all those that were not: 1 / the share of each.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from muxproxy.cli import ledger_file
from muxproxy.ledger.lessons import CHEAP, Counts, Lesson, counts, labelled
from muxproxy.routing import features, packing
from muxproxy.routing.weights import Weights

LEAST = 100  # different prompts with a label
LEAST_OF_A_KIND = 15
_MOST = 20_000  # the newest; some 40 seconds
_LARGEST_WEIGHT = 100.0  # a call drawn from more than a hundred still counts as a hundred


class Example(msgspec.Struct, kw_only=True):
    """One prompt with what both models' answers are worth (0..1) and cost (dollars)."""

    read: features.Read
    key: bytes  # the same for the same prompt
    cheap: float
    strong: float
    cheap_cost: float
    strong_cost: float
    weight: float = 1.0


class TooFew(Exception):
    """There is too little to learn from; the message says what is there and what to do."""


def read(args: argparse.Namespace, base: Weights) -> tuple[list[Example], dict[str, object]] | None:
    """The examples, and what a file trained on them says of them. None: a reason was printed.

    Raises TooFew, and ValueError where `base` does not fit.
    """
    if base.header.bits != packing.BITS:
        raise ValueError(f"--weights: they have {base.header.bits} bits, the ledger {packing.BITS}")
    reader = ledger_file.open_reader(args)
    if reader is None:
        return None
    with reader:
        known = reader.ask(counts(args.since or 0, args.alias))
        found = reader.ask(labelled(args.since or 0, args.alias, _MOST))
    old = 0
    rows = []
    for lesson in found:
        try:
            rows.append(_example(lesson))
        except packing.BadFeatures:
            old += 1
    if old:
        print(f"{old} calls are left out: kept by a muxproxy with other features, without text")
    _priced(rows)
    count, rows = len(rows), _joined(rows)
    _enough(rows, known, args.alias)
    print(
        f"{count} labels of {len(rows)} prompts: {known.judged} judged ({known.explored} of them "
        f"explored), {known.rated} rated"
    )
    source: dict[str, object] = {
        "source": "ledger",
        "alias": args.alias,
        **{name: getattr(known, name) for name in ("judged", "explored", "rated")},
    }
    return rows, source


def _enough(rows: Sequence[Example], known: Counts, alias: str | None) -> None:
    of = "" if alias is None else f" of alias {alias}"
    if len(rows) < LEAST:
        raise TooFew(
            f"labels of {len(rows)} different prompts{of} are too few: {LEAST} are the least. "
            f"{known.lessons} calls were kept, {known.judged} of them judged ({known.explored} "
            f"explored), {known.rated} rated. Labels come from cascades, `explore:` and "
            "POST /v1/feedback, on aliases with `learn: features`; where a `judge` sent calls on, "
            "those alone count of which it rated the strong answer too (`explore:`)"
        )
    poor = sum(row.cheap < row.strong for row in rows)
    if not LEAST_OF_A_KIND <= poor <= len(rows) - LEAST_OF_A_KIND:
        raise TooFew(
            f"of {len(rows)} prompts{of} {poor} had a cheap answer that was not enough: at least "
            f"{LEAST_OF_A_KIND} of either kind are needed to tell them apart. Where all are alike, "
            "one model will do; else have answers judged more closely (`judge:`, `agree:`)"
        )


def _example(lesson: Lesson) -> Example:
    """Raises packing.BadFeatures."""
    if lesson.text is not None:
        found, key = features.read(lesson.text, packing.BITS), lesson.text.encode()
    else:
        found, key = packing.unpack(lesson.features), lesson.features
    told = lesson.feedback
    cheap = 1.0 if lesson.enough is None or lesson.enough else 0.0
    strong = 0.0 if lesson.better is False else 1.0
    if told is not None and lesson.side == CHEAP:
        cheap = told
        strong = max(strong, told)
    elif told is not None:
        strong = told
    return Example(
        read=found,
        key=hashlib.blake2b(key).digest(),
        cheap=cheap,
        strong=strong,
        cheap_cost=(lesson.cheap_nano or 0) / 1e9,
        strong_cost=(lesson.strong_nano or 0) / 1e9,
        weight=_weight(lesson),
    )


def _weight(lesson: Lesson) -> float:
    """How many calls it stands for. A rating comes unasked: nobody knows what it stands for."""
    if lesson.enough is None or not lesson.share:
        return 1.0
    return min(1 / lesson.share, _LARGEST_WEIGHT)


def _joined(rows: Sequence[Example]) -> list[Example]:
    """One row per prompt: what is asked again and again tells less than it weighs, and must not
    be on both sides of the split."""
    same: defaultdict[bytes, list[Example]] = defaultdict(list)
    for row in rows:
        same[row.key].append(row)
    return [_one(group) for group in same.values()]


def _one(group: Sequence[Example]) -> Example:
    total = sum(row.weight for row in group)

    def mean(name: str) -> float:
        return sum(row.weight * float(getattr(row, name)) for row in group) / total

    return Example(
        read=group[0].read,
        key=group[0].key,
        cheap=mean("cheap"),
        strong=mean("strong"),
        cheap_cost=mean("cheap_cost"),
        strong_cost=mean("strong_cost"),
        weight=total,
    )


def _priced(rows: Sequence[Example]) -> None:
    """Who was not asked is taken to cost what it costs on average. Where no strong call has a
    price, strong calls are counted instead."""
    strong = _mean([row.strong_cost for row in rows])
    cheap = _mean([row.cheap_cost for row in rows])
    for row in rows:
        if not strong:
            row.cheap_cost, row.strong_cost = 0.0, 1.0
            continue
        row.cheap_cost = row.cheap_cost or cheap
        row.strong_cost = row.strong_cost or strong


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value]
    return sum(known) / len(known) if known else 0.0
