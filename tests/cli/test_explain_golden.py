"""One file per explanation; what the command prints stands at its end.

Write the ends anew with `python -m tests.cli.test_explain_golden`, and read the difference.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest

from muxproxy.cli import main

GOLDEN = Path(__file__).with_name("golden") / "explain"
FILES = sorted(GOLDEN.glob("*.yaml"))
MARK = "# ---- explain says ----\n"


def run(path: Path, *more: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    lines = path.read_text().splitlines()
    arguments = shlex.split(lines[0].removeprefix("# args:"))
    out = io.StringIO()
    with (
        mock.patch.object(sys, "stdin", io.StringIO(lines[1].removeprefix("# body: "))),
        contextlib.redirect_stdout(out),
    ):
        code = main(["explain", "-", "--config", str(path), *arguments, *more])
    return code, out.getvalue()


def said(path: Path) -> str:
    """The golden file as it should be."""
    text = path.read_text().partition(MARK)[0]
    code, printed = run(path)
    return text + MARK + "".join(f"# {line}\n" for line in [*printed.splitlines(), f"exit {code}"])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_explain_says(path: Path) -> None:
    assert path.read_text() == said(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_for_machines_the_same_and_no_secret(path: Path) -> None:
    code, printed = run(path, "--json")
    found = json.loads(printed)
    assert (found["outcome"]["status"] == 200) == (code == 0)
    assert "secret" not in printed.replace("x-secret-thing", "")


if __name__ == "__main__":
    for file in FILES:
        file.write_text(said(file))
