"""The same app under a plain ASGI server: `hypercorn muxproxy.app:app` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from muxproxy.exchange import Receipt
from muxproxy.ledger.reports import Reader
from muxproxy.sim.server import SimServer, start
from tests.http_client import call, encode, head, read_head

CHAT = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "max_tokens": 40,
}
STREAM = {**CHAT, "stream": True}
RUNNING = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")


@dataclass
class Hypercorn:
    """The process and what is around it."""

    process: asyncio.subprocess.Process
    port: int
    sim: SimServer
    state: Path

    async def settled(self, count: int) -> list[Receipt]:
        """Its receipts, oldest first, once there are `count`."""
        async with asyncio.timeout(10):
            while True:
                with Reader(str(self.state)) as reader:
                    found = reader.calls(limit=100)
                if len(found) >= count:
                    return found[::-1]
                await asyncio.sleep(0.02)


@asynccontextmanager
async def hypercorn(folder: Path, worker: str) -> AsyncIterator[Hypercorn]:
    """Start it on a free port, wait until it serves, and stop it."""
    sim = await start()
    config = folder / "muxproxy.yaml"
    config.write_text(
        f"state: {folder}/books.db\nproviders:\n"
        f"  openai: {{dialect: openai, base_url: {sim.url}/v1, api_key: k}}\n"
    )
    log = folder / "hypercorn.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hypercorn",
            "--bind",
            "127.0.0.1:0",
            "--worker-class",
            worker,
            "muxproxy.app:app",
            env={**os.environ, "MUXPROXY_CONFIG": str(config), "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # its worker is a child of its own
        )
    try:
        async with asyncio.timeout(20):
            while (found := RUNNING.search(log.read_bytes())) is None:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        yield Hypercorn(process, int(found[1]), sim, folder / "books.db")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await sim.aclose()


@pytest.mark.parametrize("worker", ["asyncio", "uvloop"])
async def test_the_app_under_plain_hypercorn(tmp_path: Path, worker: str) -> None:
    async with hypercorn(tmp_path, worker) as served:
        path = "/v1/chat/completions"

        plain = await call(served.port, "POST", path, CHAT)
        assert plain.status == 200, plain.body
        direct = await call(served.sim.port, "POST", path, CHAT)
        assert plain.body == direct.body
        assert plain.headers["x-muxproxy-provider"] == "openai"

        asking = {**STREAM, "stream_options": {"include_usage": True}}
        stream = await call(served.port, "POST", path, asking, {"x-sim-pace": "1ms"})
        assert not stream.broken
        assert stream.body == (await call(served.sim.port, "POST", path, asking)).body

        wished = await call(served.port, "POST", path, STREAM)
        events = stream.body.split(b"\n\n")
        assert wished.body.split(b"\n\n") == [e for e in events if b'"choices":[]' not in e]
        assert len(wished.body) < len(stream.body)

        died = await call(served.port, "POST", path, STREAM, {"x-sim-drop-after": "3"})
        assert died.broken
        assert b'"upstream_died"' in died.body

        bad = await call(served.port, "POST", path, b"{")
        assert (bad.status, bad.json()["error"]["code"]) == (400, "invalid_json")
        evil = await call(served.port, "POST", path, CHAT, host="evil.test")
        assert evil.status == 421
        assert (await call(served.port, "GET", "/health")).json()["status"] == "ok"
        assert (await call(served.port, "GET", "/v1/models")).json()["object"] == "list"

        receipts = await served.settled(5)
        ends = ["finished", "finished", "finished", "upstream_died", "refused"]
        assert [receipt.end for receipt in receipts] == ends
        assert all(receipt.usage is not None for receipt in receipts[:4])
        assert [r.usage_source for r in receipts[:4]] == ["provider"] * 3 + ["counted"]


async def test_a_client_that_leaves_settles_as_client_left(tmp_path: Path) -> None:
    async with hypercorn(tmp_path, "uvloop") as served:
        data = encode(STREAM)
        for number, options in enumerate(({"x-sim-pace": "30ms"}, {"x-sim-hang-after": "0"})):
            fields = {"content-type": "application/json", **options}
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head("POST", "/v1/chat/completions", fields, len(data), "localhost"))
            writer.write(data)
            async with asyncio.timeout(10):
                if number == 0:
                    await read_head(reader)
                    await reader.readuntil(b"data: ")
            await served.sim.until(lambda sim, n=number: len(sim.requests) == n + 1)  # type: ignore[misc]
            writer.transport.abort()
            await served.sim.until(lambda sim, n=number: sim.requests[n].closed_early)  # type: ignore[misc]
        streaming, waiting = await served.settled(2)
        assert (streaming.end, streaming.status) == ("client_left", 200)
        assert streaming.usage is not None
        assert 0 < streaming.usage.output_total <= 40
        assert (waiting.end, waiting.status) == ("client_left", 499)
        assert waiting.usage_source == "estimated"
