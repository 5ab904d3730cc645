"""WebSocket sessions and the end of the process."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from muxproxy.sim.server import start
from tests.http_client import call
from tests.process.server import served

YAML = """
prices: {"openai/gpt-realtime": {input: $4, output: $16, audio_in: $32, audio_out: $64}}
budgets: [{name: b, limit: $1, window: month}]
"""


async def budget(port: int) -> dict[str, Any]:
    found = (await call(port, "GET", "/v1/analytics/budgets")).json()
    rows: list[dict[str, Any]] = found if isinstance(found, list) else found["budgets"]
    return rows[0]


async def test_kill_9_amid_a_session_keeps_what_its_responses_cost(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url, YAML) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=gpt-realtime"
        async with asyncio.timeout(20), connect(url, proxy=None) as socket:
            for _ in range(2):
                await socket.send(json.dumps({"type": "response.create"}))
                while json.loads(await socket.recv())["type"] != "response.done":
                    continue
            while (await call(server.port, "GET", "/ready")).json()["ledger_lag"]:
                await asyncio.sleep(0.001)
            before = await budget(server.port)
            server.signal(signal.SIGKILL)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
    with served(tmp_path, sim.url, YAML) as server:
        after = await budget(server.port)
        # The two responses, and what was held for a third.
        assert before["spent"] > 0 and before["held"] > 0
        assert after["spent"] == pytest.approx(before["spent"] + before["held"], abs=2e-9)
        assert after["held"] == 0
    await sim.aclose()


async def test_sigterm_ends_a_session_at_the_drain_deadline(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url, YAML + "drain_timeout: 200ms\n") as server:
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=gpt-realtime"
        async with asyncio.timeout(20), connect(url, proxy=None) as socket:
            await socket.recv()
            server.signal(signal.SIGTERM)
            assert json.loads(await socket.recv())["error"]["code"] == "shutting_down"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        assert await asyncio.to_thread(server.wait) == 0
    await sim.aclose()
