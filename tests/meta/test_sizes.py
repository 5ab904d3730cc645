"""A cap that nobody tests does not hold: one job per file, one thought per function."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.meta.sources import ROOT, functions, modules

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 70
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    where = path.relative_to(ROOT)
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES_OF_A_FILE, f"{where} has {lines} lines"
    long = [
        f"{where}:{line} {name} has {size} lines"
        for name, line, size in functions(path)
        if size > MOST_LINES_OF_A_FUNCTION
    ]
    assert not long, long


def test_no_file_is_named_after_nothing() -> None:
    assert [p for p in modules() if p.stem in NO_NAMES] == []
