"""The commands as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muxproxy.sim.server import start
from tests.http_client import call
from tests.process.server import calls, command, served, write_config

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
KEYS = [
    "id", "time", "caller", "user", "run", "rule", "provider", "model", "dialect", "path",
    "stream", "status", "end", "attempts", "usage", "usage_source", "cost_usd", "held_usd",
    "price_version", "overhead_ms", "ttfb_ms", "total_ms",
]  # fmt: skip
USAGE_KEYS = [
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_in",
    "audio_out", "images", "input_total", "output_total",
]  # fmt: skip
CSV = "format=csv&group_by=provider,model"


async def test_calls_prints_a_receipt_per_line_while_the_server_runs(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url) as server:
        answer = await call(server.port, "POST", "/v1/chat/completions", CHAT)
        await call(server.port, "GET", f"/v1/calls/{answer.headers['x-muxproxy-id']}")
        (row,) = calls(tmp_path)
        assert set(KEYS) <= set(row)
        assert set(USAGE_KEYS) <= set(row["usage"])
        assert row["id"] == answer.headers["x-muxproxy-id"]
        config = str(server.config)
        text = command("calls", "--config", config).stdout
        assert "openai/gpt-4o-mini" in text
        assert command("calls", "--config", config, "--id", row["id"], "--json").returncode == 0
        assert command("calls", "--config", config, "--id", "0").returncode == 1
        usage = command("usage", "--config", config, "--json").stdout
        assert json.loads(usage.splitlines()[0])["requests"] == 1
        over_http = await call(server.port, "GET", f"/v1/analytics/costs?{CSV}", None)
        csv = command("usage", "--config", config, "--csv").stdout
        assert csv.split() == over_http.body.decode().split()
        assert csv.splitlines()[1].startswith("openai,gpt-4o-mini,1,")
        text = command("usage", "--config", config).stdout
        assert "COST_USD" in text and "BASELINE_USD" not in text
        text = command("usage", "--config", config, "--baseline", "openai/gpt-4o").stdout
        assert text.splitlines()[0].split()[-3:] == ["BASELINE_USD", "SAVED_USD", "FREE_SHARE"]
        (tmp_path / "own").mkdir()
        own = write_config(tmp_path / "own", sim.url, "baseline: openai/gpt-4o\n")
        state = str(tmp_path / "books.db")
        assert command("usage", "--config", str(own), "--state", state).stdout == text
        done = command("usage", "--config", config, "--baseline", "openai/nothing-like-it")
        assert done.returncode == 2 and "no price is known" in done.stderr
        health = command("health", "--address", f"127.0.0.1:{server.port}")
        assert health.returncode == 0
        assert health.stdout.startswith("ready")
    assert command("health", "--address", f"127.0.0.1:{server.port}").returncode == 1
    await sim.aclose()


def test_check_names_every_fault_with_its_place(tmp_path: Path) -> None:
    path = write_config(tmp_path, "http://127.0.0.1:1", "rulez: []\nbudgets:\n  - {nam: x}\n")
    done = command("check", str(path))
    assert done.returncode == 1
    assert "rulez" in done.stdout and "rules" in done.stdout
    assert f"{path}:8:" in done.stdout
    assert "nam" in done.stdout


def test_check_accepts_the_shipped_configuration_without_any_key() -> None:
    done = command("check", "--config", "config/muxproxy.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_serve_refuses_a_bad_configuration_with_2(tmp_path: Path) -> None:
    path = write_config(tmp_path, "http://127.0.0.1:1", "rulez: []\n")
    done = command("serve", "--config", str(path))
    assert done.returncode == 2
    assert "rulez" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_refuses_to_be_an_open_proxy(tmp_path: Path) -> None:
    path = write_config(tmp_path, "http://127.0.0.1:1")
    path.write_text(path.read_text().replace("listen: 127.0.0.1:0", "listen: 0.0.0.0:0"))
    done = command("serve", "--config", str(path))
    assert done.returncode == 2
    assert "auth" in done.stderr


def test_schema_is_json() -> None:
    done = command("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("arguments", [["nonsense"], ["calls", "--limit", "x"], []])
def test_a_wrong_call_exits_2(arguments: list[str]) -> None:
    assert command(*arguments).returncode == 2


def test_calls_without_a_ledger_says_so(tmp_path: Path) -> None:
    done = command("calls", "--state", str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert "none.db" in done.stderr


async def test_recost_shows_the_difference_before_it_writes(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url) as server:
        await call(server.port, "POST", "/v1/chat/completions", CHAT)
        (before,) = calls(tmp_path)
        dearer = 'prices:\n  "openai/*": {input: 15, output: 60}\n'
        server.config.write_text(server.config.read_text() + dearer)
        arguments = ["recost", "--config", str(server.config), "--since", "1h"]
        shown = command(*arguments)
        assert shown.returncode == 0, shown.stderr
        assert "nothing written" in shown.stdout
        assert calls(tmp_path)[0]["cost_usd"] == before["cost_usd"]
        assert command(*arguments, "--write").returncode == 0
        (after,) = calls(tmp_path)
        assert after["cost_usd"] == pytest.approx(before["cost_usd"] * 100)
        assert after["price_version"] != before["price_version"]
    await sim.aclose()
