"""Numbers that no type bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config.faults import ConfigError
from muxproxy.config.load import load_file

PROVIDER = "providers: {p: {dialect: openai, base_url: 'http://127.0.0.1:1/v1', %s}}\n"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (PROVIDER % "retry: {same: -1}", "providers.p.retry.same"),
        (PROVIDER % "breaker: {failures: -1}", "providers.p.breaker.failures"),
        ("rules: [{name: r, retry: {same: 11}}]", "rules[0].retry.same"),
        ("rules: [{name: r, hedge: {after: p94}}]", "rules[0].hedge.after"),
        ("rules: [{name: r, hedge: {after: 0s}}]", "rules[0].hedge.after"),
        ("rules: [{name: r, hedge: {after: 1s, floor: 2s}}]", "rules[0].hedge.floor"),
        ("rules: [{name: r, timeouts: {total: soon}}]", "rules[0].timeouts.total"),
    ],
)
def test_is_refused_by_its_name(tmp_path: Path, text: str, field: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_file(str(file), {})
    assert field in str(refused.value), str(refused.value)
