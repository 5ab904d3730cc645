"""What the shipped classifier is worth on prompts it was not trained on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from muxproxy.routing.judgement import default_weights

DATA = Path(__file__).parents[3] / "shared" / "routing" / "dev.jsonl.gz"


def area(gains: list[float]) -> float:
    """APGR of answers in the order in which they go to the strong model (no ties)."""
    total, run, under = sum(gains), 0.0, 0.0
    for gain in gains:
        under += run + gain / 2
        run += gain
    return under / len(gains) / total


@pytest.mark.skipif(not DATA.exists(), reason="the routing data is not here")
def test_it_beats_random_on_exam_questions() -> None:
    weights = default_weights()
    scored = []
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["source"] == "routellm_mmlu":
                weak, strong = (row["models"][m]["q"] for m in sorted(row["models"], reverse=True))
                scored.append((weights.score(row["prompt"]), strong - weak))
    scored.sort(reverse=True)
    assert len(scored) > 2000
    assert area([gain for _, gain in scored]) > 0.61  # random: 0.5
