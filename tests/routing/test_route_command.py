"""`muxproxy route`, as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def route(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muxproxy", "route", *args],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_batches_are_scored_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    rows = [{"id": "a", "prompt": "hi"}, {"id": 7, "prompt": "Prove that 2 is prime.", "more": 1}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    done = route("--batch", str(file), "--strategy", "semantic")
    assert done.returncode == 0, done.stderr
    out = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in out] == ["a", 7]
    assert all(set(row) == {"id", "score", "choice", "reason"} for row in out)
    assert all((row["choice"] == "strong") == (row["score"] >= 0.5) for row in out)


def test_standard_input_and_the_heuristic() -> None:
    done = route("--batch", "-", "--strategy", "heuristic", stdin='{"id":1,"prompt":"x"}\n')
    assert json.loads(done.stdout)["choice"] == "cheap"


def test_faults_name_their_line() -> None:
    done = route("--batch", "-", stdin='{"id":1,"prompt":"x"}\n{"id":2}\n')
    assert done.returncode == 2
    assert "line 2" in done.stderr and "prompt" in done.stderr
    assert route().returncode == 2
    assert route("hello", "--weights", "/nowhere.mux").returncode == 2
