"""The floors of docs/architecture.md hold: import-linter's contract in pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.meta.sources import PACKAGE, ROOT


def contract() -> str:
    """The layers, as text."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (only,) = pyproject["tool"]["importlinter"]["contracts"]
    return " | ".join(only["layers"])


def test_no_module_imports_from_a_floor_above(tmp_path: Path) -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--cache-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_a_floor_and_a_line_in_the_architecture() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    rooms -= {"__init__", "__main__"}
    assert rooms == set(re.findall(r"\w+", contract()))
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert {room for room in rooms if f"`{room}`" not in page} == set()
