"""What providers say of their rate limits is used, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.stack import stack

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "both", "messages": [{"role": "user", "content": "hi"}]}
MODELS = "models: {both: [openai/m, mistral/n]}\n"
OUT = {"x-sim-ratelimit": "remaining=0,limit=10,reset=60s"}


async def test_a_candidate_that_said_it_is_out_is_asked_last(tmp_path: Path) -> None:
    async with stack(tmp_path, MODELS) as proxy:
        served = [
            (await proxy.post(PATH, CHAT, headers)).headers["x-muxproxy-provider"]
            for headers in (OUT, {}, OUT, {})
        ]
        # At the end both are out: then the order stands.
        assert served == ["openai", "mistral", "mistral", "openai"]
        page = (await proxy.get("/metrics")).body.decode()
        where = 'key="",kind="requests",model="m",provider="openai"'
        assert f"muxproxy_provider_ratelimit_limit{{{where}}} 10.0" in page


async def test_callers_with_keys_of_their_own_have_headroom_of_their_own(tmp_path: Path) -> None:
    providers = """
  openai:  {dialect: openai, base_url: "SIM/v1", api_key: "${NOT_SET}"}
  mistral: {dialect: openai, base_url: "SIM/v1", api_key: sk-mistral}
"""
    async with stack(tmp_path, MODELS, providers=providers) as proxy:

        async def served(key: str, headers: dict[str, str]) -> str:
            headers = {"authorization": f"Bearer {key}", **headers}
            answer = await proxy.post(PATH, CHAT, headers)
            return answer.headers["x-muxproxy-provider"]

        assert await served("sk-ann", OUT) == "openai"
        assert await served("sk-ann", {}) == "mistral"
        assert await served("sk-bob", {}) == "openai"
        page = (await proxy.get("/metrics")).body.decode()
        assert "k-" not in "".join(line for line in page.splitlines() if "provider_rate" in line)
