"""Every configuration that we show works: those shipped, and those in the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from muxproxy.cli.price_lint import EXTRA
from muxproxy.config.check import check
from tests.meta.sources import ROOT, pages

BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.M | re.S)
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY")
ENV = dict.fromkeys(KEYS, "k")
SHIPPED = sorted((ROOT / "config").glob("*.yaml"))
SHOWN = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in pages()
    for number, block in enumerate(BLOCK.findall(path.read_text()), 1)
]
# Pages show parts too: these stand before those that name providers elsewhere.
PROVIDERS = """
providers:
  openai: {dialect: openai, base_url: https://api.openai.com/v1, api_key: k}
  mistral: {dialect: openai, base_url: https://api.mistral.ai/v1, api_key: k}
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_a_shipped_configuration_has_no_fault_and_no_doubt(path: Path) -> None:
    report = check(path.read_text(), path.name, ENV, extra=EXTRA)
    assert report.lines() == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_a_shipped_configuration_serves_without_any_key(path: Path) -> None:
    assert check(path.read_text(), path.name, {}).faults == []


@pytest.mark.parametrize("block", SHOWN)
def test_a_configuration_in_the_pages_has_no_fault(block: str) -> None:
    text = block if "providers:" in block else PROVIDERS + block
    report = check(text, "page", ENV, extra=EXTRA)
    assert report.lines() == []


def test_the_readme_shows_what_check_says() -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"cat > (\S+) <<'END'\n(.*?)^END\n", readme, re.M | re.S)
    assert found is not None
    assert str(check(found[2], found[1], {}, extra=EXTRA)) in readme
