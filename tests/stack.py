"""muxproxy in front of the simulated providers, all on real sockets in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from muxproxy.exchange import Receipt
from muxproxy.ledger.reports import Reader
from muxproxy.runtime import Runtime
from muxproxy.server import open_doors
from muxproxy.sim.server import SimServer, start
from tests.http_client import Answer, call

PROVIDERS = """
  openai:    {dialect: openai,    base_url: "SIM/v1", api_key: sk-openai}
  anthropic: {dialect: anthropic, base_url: "SIM",    api_key: sk-anthropic}
  google:    {dialect: gemini,    base_url: "SIM",    api_key: sk-google}
  mistral:   {dialect: openai,    base_url: "SIM/v1", api_key: sk-mistral}
"""


class Stack:
    """The running pair."""

    def __init__(self, sim: SimServer, runtime: Runtime, port: int, state: Path) -> None:
        self.sim = sim
        self.runtime = runtime
        self.port = port
        self.state = state
        self.url = f"http://127.0.0.1:{port}"

    async def post(
        self, path: str, body: Any, headers: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        """One POST on a connection of its own."""
        return await call(self.port, "POST", path, body, headers, **more)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """One GET."""
        return await call(self.port, "GET", path, None, headers)

    async def receipt(self, answer_or_id: Answer | str) -> Receipt:
        """The call's receipt, once it is settled."""
        text = answer_or_id if isinstance(answer_or_id, str) else answer_or_id.headers[ID]
        async with asyncio.timeout(5):
            while (found := self.runtime.ledger.find(int(text, 16))) is None:
                await asyncio.sleep(0.002)
        return found

    async def settled(self, count: int) -> list[Receipt]:
        """All receipts, oldest first, once there are `count` and nothing is in flight."""
        async with asyncio.timeout(10):
            while True:
                if not len(self.runtime.in_flight) and not self.runtime.ledger.lag:
                    with Reader(str(self.state)) as reader:
                        found = reader.calls(limit=100_000)
                    if len(found) >= count:
                        return found[::-1]
                await asyncio.sleep(0.005)


ID = "x-muxproxy-id"


@asynccontextmanager
async def stack(
    tmp_path: Path,
    yaml: str = "",
    *,
    providers: str = PROVIDERS,
    recordings: Path | None = None,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """Simulator, ledger, runtime and doors; `SIM` in the YAML is the simulator's URL."""
    sim = await start(recordings=recordings)
    try:
        text = f"listen: 127.0.0.1:0\nstate: {tmp_path}/books.db\nproviders:{providers}\n{yaml}"
        if "unknown_price" not in yaml:
            text = f"unknown_price: allow\n{text}"
        path = tmp_path / "muxproxy.yaml"
        path.write_text(text.replace("SIM", sim.url))
        runtime = Runtime.from_file(str(path), env or {})
        await runtime.start()
        try:
            doors = await open_doors(runtime)
            try:
                yield Stack(sim, runtime, doors[0].port, tmp_path / "books.db")
            finally:
                for door in doors:
                    await door.aclose()
        finally:
            await runtime.aclose()
    finally:
        await sim.aclose()
