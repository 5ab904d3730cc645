"""What the pages say is there is there, and what is there they say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from muxproxy.budget import Budgets
from muxproxy.cli import COMMANDS
from muxproxy.config import schema, when
from muxproxy.config.model import Budget, Config
from muxproxy.control import metrics_page
from muxproxy.errors import CODES
from muxproxy.limits import ProviderHeadroom
from muxproxy.metrics import Metrics
from muxproxy.proxy.health import Health
from tests.meta import config_tables
from tests.meta.sources import ROOT, pages

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DOCS = ROOT / "docs"


def page(name: str) -> str:
    """The text of one page."""
    return (DOCS / name).read_text()


@pytest.mark.parametrize("path", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = [t for t in LINK.findall(path.read_text()) if "://" not in t and t[0] != "#"]
    broken = [t for t in targets if not (path.parent / t.partition("#")[0]).exists()]
    assert broken == []


def test_every_page_can_be_found_from_the_readme() -> None:
    named = "".join(path.read_text() for path in pages())
    lost = [path.name for path in pages() if path.name not in named]
    assert lost == []


def test_every_decision_is_in_the_index_once() -> None:
    files = sorted(p.name for p in (DOCS / "adr").glob("0*.md"))
    assert re.findall(r"\((0\d+-[^)]+)\)", page("adr/README.md")) == files
    numbers = [name[:4] for name in files]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"`muxproxy {command}" in page("operations.md")


def test_every_error_code_is_documented_with_its_status_and_whether_to_retry() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \|", page("errors.md"), re.M)
    assert {code: (int(status), retry == "yes") for code, status, retry in rows} == CODES
    assert len(rows) == len(CODES)


@dataclass
class Figures:
    """A source of figures with one of each kind."""

    metrics: Metrics
    health: Health
    headroom = ProviderHeadroom()

    def pools(self) -> dict[str, dict[str, int]]:
        return {"http://h:80": {"open": 1}}

    def ledger_lag(self) -> int:
        return 0

    def drift(self) -> dict[str, tuple[int, int]]:
        return {"m": (1, 1)}

    def door_counts(self) -> dict[str, int]:
        return {"requests": 1}

    def config_current(self) -> bool:
        return True

    def budgets(self) -> list[dict[str, object]]:
        budgets = Budgets(Config(budgets=[Budget(name="b", limit="$1")]), [], 0.0)
        return budgets.status(0.0)


def test_every_metric_is_documented() -> None:
    metrics = Metrics()
    metrics.requests["p", "m", 200, "finished"] += 1
    metrics.errors["c"] += 1
    metrics.usage_source["provider"] += 1
    metrics.series["p", "m"].cost_delta_nano = 1
    health = Health()
    health.failed("p", health.of("p", "m"))
    text = metrics_page.render(Figures(metrics, health)).decode()
    exported = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    documented = set(re.findall(r"`(muxproxy_\w+)`", page("operations.md")))
    assert documented == exported


def test_every_condition_of_when_is_documented() -> None:
    section = page("configuration.md").partition("## `when`")[2].partition("\n## ")[0]
    missing = {name for name in when.FIELDS if f"`{name}`" not in section}
    assert missing == set()
    assert all(f"`{word}`" in section for word in (*when.NESTING, *when.DETECTORS))


def test_the_tables_of_the_configuration_are_current() -> None:
    """Write them anew with python -m tests.meta.config_tables."""
    assert config_tables.written(page("configuration.md")) == config_tables.tables()


def test_the_json_schema_is_current() -> None:
    """Write it anew: python -c 'from muxproxy.config.schema import text; print(text(), end="")'."""
    assert (DOCS / "muxproxy.schema.json").read_text() == schema.text()
