"""The starter configuration: written for the keys that are there, and without a doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.cli import main
from muxproxy.cli.init import KNOWN, starter
from muxproxy.cli.price_lint import EXTRA
from muxproxy.compiling import TERMS
from muxproxy.config.check import check


@pytest.mark.parametrize("names", [[one.name] for one in KNOWN] + [[one.name for one in KNOWN]])
def test_what_is_written_has_no_fault_and_no_doubt(names: list[str]) -> None:
    env = {one.variables[-1]: "k" for one in KNOWN if one.name in names}
    text, found = starter(env)
    assert sorted(found) == sorted(env)
    report = check(text, "f", env, extra=EXTRA, terms=TERMS)
    assert report.lines() == []
    assert report.config is not None
    assert list(report.config.providers) == names


def test_without_any_key_it_shows_the_usual_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(starter({})[1]) == []
    assert check(starter({})[0], "f", {}).ok
    assert main(["init", "-"]) == 0
    assert "OPENAI_API_KEY" in capsys.readouterr().out


def test_it_never_writes_over_a_file_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "muxproxy.yaml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["init", str(path), "--force"]) == 0
    assert "providers:" in path.read_text()
    assert main(["init", str(tmp_path / "none" / "f.yaml")]) == 2
