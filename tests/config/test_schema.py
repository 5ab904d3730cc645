"""The JSON Schema: valid, current, and of one mind with the loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from muxproxy.config import schema
from muxproxy.config.check import check
from muxproxy.config.loaded import read
from muxproxy.config.model import Budget

jsonschema = pytest.importorskip("jsonschema", reason="the schema's judge is not installed")

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "config").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    whole = schema.schema()
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(whole)


def test_the_checked_in_schema_is_current():
    assert (ROOT / "docs/muxproxy.schema.json").read_text() == schema.text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_files_are_valid_and_pass_check_without_any_key(path, validator):
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../docs/muxproxy.schema.json\n")
    validator.validate(yaml.safe_load(text))
    report = check(text, path.name, {})
    assert report.ok, str(report)
    assert all("is not set: provider" in w.message for w in report.warnings)


def test_descriptions_come_from_the_source():
    assert schema.descriptions(Budget)["clamp"].startswith("Lower max_tokens")
    rule = schema.schema()["$defs"]["Rule"]["properties"]
    assert "description" in rule["to"]
    assert "missing_key" not in schema.schema()["$defs"]["Provider"]["properties"]


GOOD = [
    "",
    "x-anchor: 1",
    "server: {max_connections: '${N:-3}'}",
    "rules: [{name: a, when: {model: [auto, null], not: {text: code}}, to: x1}]",
    "rules: [{name: a, when: {header.x: null, budget.b: '> 80%', hour: 3, n: '> 1'}, tag: t}]",
    "models: {a: [x1], b: {strategy: heuristic, cheap: a, strong: a}}",
    "listen: {address: ':1'}",
]
BAD = [
    "lisen: 1",
    "rules: [{name: a, when: {modle: x}, to: y}]",
    "rules: [{to: y}]",
    "durability: never",
    "rules: [{name: a, when: {stream: 3}, to: y}]",
    "rules: [{name: a, when: {dialect: x}, to: y}]",
    "server: {max_connections: x}",
    "[]",
]


@pytest.mark.parametrize("text", GOOD)
def test_schema_and_loader_accept_the_same(text, validator):
    assert validator.is_valid(yaml.safe_load(text))
    assert read(text, "f", {}).faults == []


@pytest.mark.parametrize("text", BAD)
def test_schema_and_check_refuse_the_same(text, validator):
    assert not validator.is_valid(yaml.safe_load(text))
    assert not check(text, "f", {}).ok
