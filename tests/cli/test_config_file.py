"""Which configuration file a command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.cli.config_file import find


@pytest.mark.parametrize(
    ("given", "env", "files", "want"),
    [
        ("a.yaml", {"MUXPROXY_CONFIG": "b.yaml"}, ["muxproxy.yaml"], "a.yaml"),
        (None, {"MUXPROXY_CONFIG": "b.yaml"}, ["muxproxy.yaml"], "b.yaml"),
        (None, {}, ["muxproxy.yaml", "config/muxproxy.yaml"], "muxproxy.yaml"),
        (None, {}, ["config/muxproxy.yaml"], "config/muxproxy.yaml"),
        (None, {}, [], None),
    ],
)
def test_the_nearest_word_counts(
    given: str | None,
    env: dict[str, str],
    files: list[str],
    want: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert find(given, env) == want
