"""Budgets made through the API: in force at once, shown apart, and there after a restart."""

from __future__ import annotations

import re
from pathlib import Path

from muxproxy.runtime import Runtime
from muxproxy.sim.server import start
from tests.http_client import call
from tests.stack import stack

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
PATH = "/v1/analytics/budgets"


async def test_a_budget_is_created_changed_topped_up_and_deleted(tmp_path: Path) -> None:
    yaml = "budgets:\n  - {name: own, limit: $5}\n"
    async with stack(tmp_path, yaml) as proxy:
        made = await proxy.post(PATH, {"name": "tiny", "limit": "1 tokens", "window": "prepaid"})
        assert made.status == 200, made.body
        refused = await proxy.post("/v1/chat/completions", CHAT)
        assert refused.status == 402
        assert refused.json()["error"]["budget"] == "tiny"
        assert (await proxy.post(f"{PATH}/tiny/top-up", {"amount": "10k tokens"})).status == 200
        assert (await proxy.post("/v1/chat/completions", CHAT)).status == 200
        rows = {row["name"]: row for row in (await proxy.get(PATH)).json()["budgets"]}
        assert (rows["own"]["source"], rows["tiny"]["source"]) == ("yaml", "api")
        assert rows["tiny"]["limit"] == 10_001
        changed = await proxy.post(PATH, {"name": "tiny", "limit": "2 tokens", "window": "prepaid"})
        assert changed.status == 200
        gone = await call(proxy.port, "DELETE", f"{PATH}/tiny", None)
        assert gone.status == 200
        assert (await proxy.post("/v1/chat/completions", CHAT)).status == 200


async def test_what_cannot_be_kept_is_refused_with_its_field(tmp_path: Path) -> None:
    async with stack(tmp_path, "budgets:\n  - {name: own, limit: $5}\n") as proxy:
        cases = [
            ({"name": "own", "limit": "$1"}, "YAML"),
            ({"name": "x", "limit": "much"}, "dollars"),
            ({"name": "x", "limit": "$1", "windw": "day"}, "windw"),
            ({"name": "x", "limit": "$1", "window": "fortnight"}, "fortnight"),
            ({"name": "x", "limit": "$1", "on_exceed": {"downgrade": "none"}}, "none"),
            ({"name": "x", "limit": "$1", "when": {"modle": "y"}}, "modle"),
        ]
        for body, word in cases:
            answer = await proxy.post(PATH, body)
            assert answer.status == 400, body
            assert re.search(word, answer.json()["error"]["message"]), answer.body
        form = await proxy.post(PATH, b"name=x", {"content-type": "text/plain"})
        assert form.status == 400
        assert (await call(proxy.port, "DELETE", f"{PATH}/none", None)).status == 404


async def test_it_outlives_a_restart_and_a_reload(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        await proxy.post(PATH, {"name": "kept", "limit": "$3", "window": "prepaid"})
        await proxy.post(f"{PATH}/kept/top-up", {"amount": "$1"})
        await proxy.runtime.reload()
        assert [row["name"] for row in proxy.runtime.budgets()] == ["kept"]
    sim = await start()
    again = Runtime.from_file(str(tmp_path / "muxproxy.yaml"), {})
    await again.start()
    (row,) = again.budgets()
    assert (row["name"], row["limit"], row["source"]) == ("kept", 4.0, "api")
    await again.aclose()
    await sim.aclose()
