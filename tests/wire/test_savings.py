"""What routing saved, and the alarm for an edit that throws prompt caches away."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.proxy.cachewatch import CALLS
from tests.stack import stack

PATH = "/v1/chat/completions"
CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
PRICES = 'prices: {"*/cheap": {input: 1, output: 2}, "*/dear": {input: 10, output: 20}}\n'


async def test_reports_say_what_the_baseline_would_have_cost(tmp_path: Path) -> None:
    yaml = PRICES + "baseline: openai/dear\n"
    async with stack(tmp_path, yaml) as proxy:
        answer = await proxy.post(PATH, {**CHAT, "model": "cheap"})
        used = answer.json()["usage"]
        await proxy.settled(1)
        report = (await proxy.get("/v1/analytics/costs?group_by=model")).json()
        assert report["baseline"] == "openai/dear"
        (row,) = report["rows"]
        want = (used["prompt_tokens"] * 10 + used["completion_tokens"] * 20) / 1e6
        assert row["baseline_usd"] == pytest.approx(want)
        assert row["saved_usd"] == pytest.approx(want * 0.9)
        assert report["totals"]["free_share"] == 0
        assert report["cache_alarm"] is None
        table = (await proxy.get("/v1/analytics/costs?group_by=model&format=csv")).body.decode()
        assert "saved_usd" in table.splitlines()[0]


async def test_an_edit_that_loses_the_prompt_cache_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(tmp_path, PRICES) as proxy:

        async def calls(cached: str) -> None:
            sim = {"x-sim-input": "1000", "x-sim-cached": cached}
            for _ in range(CALLS):
                assert (await proxy.post(PATH, {**CHAT, "model": "cheap"}, sim)).status == 200

        await calls("800")
        config = proxy.state.parent / "muxproxy.yaml"
        config.write_text(config.read_text() + "\n# edited\n")
        await proxy.runtime.reload()
        await calls("0")
        report = (await proxy.get("/v1/analytics/costs")).json()
        assert report["cache_alarm"] == {"before": 0.8, "after": 0.0}
        assert "hit rate has fallen" in caplog.text
