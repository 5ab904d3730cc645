"""What a served request may leave behind must not keep the process from ending."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from muxproxy.sim.server import start
from tests.http_client import call
from tests.process.server import served


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/v1/analytics/budgets",
        "/v1/calls",
        "/v1/analytics/costs",
    ],
)
async def test_sigterm_ends_the_process_after_any_question(tmp_path: Path, path: str) -> None:
    sim = await start()
    try:
        with served(tmp_path, sim.url) as server:
            assert (await call(server.port, "GET", path)).status == 200
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait, 4) == 0
    finally:
        await sim.aclose()
