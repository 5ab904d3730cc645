"""`muxproxy train` and `eval` on labels whose truth is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from muxproxy.cli import main
from muxproxy.routing import judgement

PAIR = ("--cheap", "small", "--strong", "big")


def labels(path: Path, *, learnable: bool, rows: int = 240) -> str:
    """Prompts about zebras need the strong model, if anything can be learned."""
    dice = random.Random(7)
    with path.open("w") as file:
        for n in range(rows):
            hard = n % 2 == 0
            topic = "zebra" if hard and learnable else "tulip"
            gain = hard if learnable else dice.random() < 0.5
            models = {
                "small": {"q": 0.0 if gain else 1.0, "usd": 0.001, "answer": str(n % 3)},
                "big": {"q": 1.0, "usd": 0.02, "answer": "0"},
                "other": {"q": 1.0, "usd": 0.001, "answer": str((n % 3) if not gain else 9)},
                "dear": {"q": 1.0, "usd": 0.05, "answer": str(n % 3)},
            }
            prompt = f"Please tell me about the {topic} number {n} in plain words."
            file.write(json.dumps({"prompt": prompt, "models": models}) + "\n")
    return str(path)


def test_what_can_be_learned_is_learned_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = labels(tmp_path / "l.jsonl", learnable=True), tmp_path / "router.mux"
    assert main(["train", file, *PAIR, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "random" in told and "oracle" in told and "held-out" in told
    scorer = judgement.scorer("semantic", str(out))
    ask = "Please tell me about the {} number 999 in plain words."
    assert scorer(ask.format("zebra")).score > scorer(ask.format("tulip")).score + 0.2
    training = judgement.weights_at(str(out)).header.training
    assert training["pair"] == "small > big" and training["held_out_apgr"][1] > 0.5
    assert main(["eval", file, *PAIR, "--weights", str(out), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_name = {row["router"]: row for row in rows}
    assert by_name["random"]["apgr"] == 0.5
    assert by_name["semantic"]["apgr"] > 0.6 and by_name["semantic"]["saved"] > 0.3


def test_what_is_no_better_than_dice_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = labels(tmp_path / "l.jsonl", learnable=False), tmp_path / "router.mux"
    assert main(["train", file, *PAIR, "--out", str(out)]) == 1
    assert "no better than dice" in capsys.readouterr().err
    assert not out.exists()


def test_a_cascade_that_pays_and_one_that_loses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = labels(tmp_path / "l.jsonl", learnable=True)
    assert main(["eval", file, *PAIR, "--agree", "other", "--curve"]) == 0
    assert "cascade, agreement" in capsys.readouterr().out
    assert main(["eval", file, *PAIR, "--agree", "dear"]) == 1
    assert "this cascade loses money" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{}", "'models' is missing"),
        ("[]", "expected lines of"),
        ("nonsense", "Expecting value"),
        ('{"prompt": "x", "models": {}}', "too few"),
    ],
)
def test_labels_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, why: str
) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(line)
    assert main(["eval", str(path), *PAIR]) == 2
    assert why in capsys.readouterr().err
