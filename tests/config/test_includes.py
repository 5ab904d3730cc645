"""Further files: joined, put together, and faults that point into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config.load import ConfigError, check_file, load, load_file

MAIN = """include: [rules.yaml, more/*.yaml]
providers:
  openai: {dialect: openai, base_url: https://api.openai.com/v1, api_key: k}
models: {small: openai/gpt-4o-mini}
rules:
  - {name: first, when: {model: a}, to: small}
"""


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    path = tmp_path / "muxproxy.yaml"
    path.write_text(MAIN)
    (tmp_path / "rules.yaml").write_text(
        "rules:\n  - {name: second, when: {model: b}, to: large}\n"
    )
    return path


def test_lists_are_joined_and_names_put_together_in_the_order_named(main: Path) -> None:
    more = main.parent / "more"
    (more / "2.yaml").write_text(
        "rules: [{name: fourth, to: small}]\nbudgets: [{name: b, limit: $1}]"
    )
    (more / "1.yaml").write_text("x-note: 1\nmodels: {large: openai/gpt-4o}\nrules: [{name: third, when: {tools: true}, to: large}]")  # fmt: skip  # noqa: E501
    (more / "3.yaml").write_text("# nothing yet\n")
    checked = load_file(str(main), {})
    assert [r.name for r in checked.config.rules] == ["first", "second", "third", "fourth"]
    assert checked.config.models == {"small": "openai/gpt-4o-mini", "large": "openai/gpt-4o"}
    assert [b.name for b in checked.config.budgets] == ["b"]
    names = [str(Path(f).relative_to(main.parent)) for f in checked.files]
    assert names == ["muxproxy.yaml", "rules.yaml", "more", *(f"more/{n}.yaml" for n in (1, 2, 3))]


def test_faults_point_into_the_file_they_are_in(main: Path) -> None:
    more = main.parent / "more"
    (more / "1.yaml").write_text("models:\n  small: openai/x\nlisten: 127.0.0.1:1\ninclude: [a]\n")
    (more / "2.yaml").write_text("rules: [\n")
    (more / "3.yaml").write_bytes(b"rules: \xff\n")
    (more / "4.yaml").write_text("- 1\n")
    (main.parent / "rules.yaml").write_text("rules:\n  - {name: first, too: large}\nlisten: 1\n")
    faults = [str(f).replace(f"{main.parent}/", "") for f in check_file(str(main), {}).faults]
    assert faults == [
        "more/1.yaml:2:3: models.small is given twice (first at muxproxy.yaml:4: keep one of them)",
        "more/1.yaml:3:1: listen is given twice (first at rules.yaml:3: keep one of them)",
        "more/1.yaml:4:1: an included file cannot include others "
        "(name the file in the main file's include:)",
        "more/2.yaml:2:1: not YAML: did not find expected node content",
        "more/3.yaml:1:8: not UTF-8 text",
        "more/4.yaml:1:1: expected a mapping such as `rules: [...]`",
        "rules.yaml:2:12: rules[1].name: the name first is taken by rules[0]",
        "rules.yaml:2:19: rules[1].too: unknown key too (did you mean to?)",
        "rules.yaml:3:9: listen: expected an address such as 127.0.0.1:8787, [::1]:8787, :8787 or "
        "unix:/path, got 1",
    ]


def test_what_is_missing_or_in_no_file_is_named(main: Path) -> None:
    (main.parent / "rules.yaml").unlink()
    with pytest.raises(
        ConfigError, match=r"muxproxy.yaml:1:11: include: rules.yaml cannot be read"
    ):
        load_file(str(main), {})
    with pytest.raises(ConfigError, match=r"include: a\.yaml cannot be found: this text is in no"):
        load("include: a.yaml", "text", {})
    with pytest.raises(ConfigError, match=r"include\[0\]: expected text, got a mapping"):
        load("include: [{a: b}]", "text", {})
