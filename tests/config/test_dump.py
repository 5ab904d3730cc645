"""The configuration in force, without its secrets."""

from __future__ import annotations

import yaml

from muxproxy.config.dump import dump
from muxproxy.config.loaded import read

PROVIDER = "providers:\n  openai: {dialect: openai, base_url: https://u:pw@api.openai.com/v1%s}\n"


def test_dump_shows_the_configuration_in_force():
    loaded = read(
        PROVIDER % ", api_key: sk-1, headers: {x-k: v}"
        + f"keys: [{{name: a, sha256: {'0' * 64}}}]\nrules: [{{name: r, set: {{api_key: s}}}}]",
        "f",
        {},
    )
    assert loaded.faults == []
    shown = dump(loaded.config)
    openai = shown["providers"]["openai"]
    assert openai["api_key"] == "***"
    assert openai["base_url"] == "***"
    assert openai["headers"] == {"x-k": "***"}
    assert "missing_key" not in openai
    assert shown["keys"][0]["sha256"] == "***"
    assert shown["keys"][0]["value"] is None
    assert shown["rules"][0]["continue"] is False
    assert shown["rules"][0]["set"] == {"api_key": "***"}
    assert yaml.safe_load(yaml.safe_dump(shown)) == shown
