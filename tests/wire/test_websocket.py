"""WebSocket: bytes pass as they come, responses are metered and held one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.http_client import call
from tests.stack import Stack, stack
from tests.wire.forward import INSIDE_OK, far_away
from tests.wire.opened import opened

REALTIME = "/v1/realtime?model=gpt-realtime"
PRICES = """
prices:
  openai/gpt-realtime: {input: $4, output: $16, cache_read: $0.40, audio_in: $32, audio_out: $64}
"""
# A session's first response, of 16 tokens.
FIRST = (40 - 4) * 4000 + 4 * 32_000 + (16 - 2) * 16_000 + 2 * 64_000


@asynccontextmanager
async def session(proxy: Stack, path: str = REALTIME, **options: Any) -> AsyncIterator[Any]:
    headers = options.pop("headers", {"authorization": "Bearer mine"})
    async with asyncio.timeout(15):
        url = f"ws://127.0.0.1:{proxy.port}{path}"
        async with connect(url, additional_headers=headers, proxy=None, **options) as socket:
            yield socket


async def ask(socket: ClientConnection, text: str = "hi") -> list[dict[str, Any]]:
    """One response; its events."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
    await socket.send(json.dumps({"type": "response.create"}))
    events = []
    while True:
        event = json.loads(await socket.recv())
        events.append(event)
        if event["type"] in ("response.done", "error"):
            return events


async def test_a_session_is_metered(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES) as proxy:
        async with session(proxy) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"
            call_id = socket.response.headers["x-muxproxy-id"]
            events = await ask(socket)
            assert events[-1]["response"]["status"] == "completed"
            await ask(socket)
        receipt = await proxy.receipt(call_id)
        assert (receipt.provider, receipt.model) == ("openai", "gpt-realtime")
        assert (receipt.endpoint, receipt.status, receipt.end) == ("realtime", 101, "finished")
        assert receipt.usage is not None and receipt.usage_source == "provider"
        assert (receipt.usage.output, receipt.usage.audio_out) == (32, 4)
        assert receipt.cost == 2 * FIRST + 20 * 4000  # the second prompt is longer
        (seen,) = proxy.sim.requests
        assert seen.get("authorization") == "Bearer sk-openai"
        assert seen.get("sec-websocket-extensions") is None
        assert not proxy.sim.faults


async def test_any_other_websocket_is_passed_through(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        async with session(proxy, "/v1/something", subprotocols=["a", "b"]) as socket:
            assert socket.subprotocol == "a"
            for data in (b"\x00\xff" * 10, "text", bytes(300_000), ""):
                await socket.send(data)
                assert await socket.recv() == data
            assert await (await socket.ping(b"are you there")) >= 0
            await socket.send(["in ", "parts"])
            assert await socket.recv() == "in parts"
            call_id = socket.response.headers["x-muxproxy-id"]
        receipt = await proxy.receipt(call_id)
        assert (receipt.end, receipt.cost) == ("finished", None)  # nobody knows what it cost
        assert not proxy.sim.faults


async def test_a_session_that_asks_for_nothing_costs_nothing(tmp_path: Path) -> None:
    budget = PRICES + 'budgets: [{name: b, limit: "$1", window: month}]\n'
    async with stack(tmp_path, budget) as proxy:
        async with session(proxy) as socket:
            await socket.recv()
            assert proxy.runtime.budgets()[0]["held"] > 0
        (receipt,) = await proxy.settled(1)
        assert receipt.cost == 0
        assert proxy.runtime.budgets()[0]["held"] == proxy.runtime.budgets()[0]["spent"] == 0


async def test_each_response_is_booked_when_it_ends(tmp_path: Path) -> None:
    budget = PRICES + 'budgets: [{name: b, limit: "$1", window: month}]\n'
    async with stack(tmp_path, budget) as proxy:
        async with session(proxy) as socket:
            await socket.recv()
            await ask(socket)
            (row,) = proxy.runtime.budgets()
            assert row["spent"] == pytest.approx(FIRST / 1e9)
            assert row["held"] > 0
        (receipt,) = await proxy.settled(1)
        (row,) = proxy.runtime.budgets()
        assert (row["spent"], row["held"]) == (pytest.approx(FIRST / 1e9), 0)
        assert receipt.cost == FIRST
        rows = proxy.runtime.ledger.usage_rows()
        assert [row[3] for row in rows] == [FIRST]  # once, and in the books


async def test_a_used_up_budget_ends_the_session(tmp_path: Path) -> None:
    """It can take the first response's hold, and not a second one's."""
    budget = PRICES + 'budgets: [{name: b, limit: "$0.0165", window: month}]\n'
    async with stack(tmp_path, budget) as proxy:
        async with session(proxy) as socket:
            await socket.recv()
            events = await ask(socket)
            assert events[-1]["type"] == "response.done"
            error = json.loads(await socket.recv())
            assert error["type"] == "error" and error["error"]["code"] == "budget_exceeded"
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        (receipt,) = await proxy.settled(1)
        assert (receipt.end, receipt.code, receipt.cost) == ("error", "budget_exceeded", FIRST)
        assert proxy.runtime.budgets()[0]["held"] == 0


async def test_an_exhausted_budget_is_a_402_before_any_upgrade(tmp_path: Path) -> None:
    budget = PRICES + 'budgets: [{name: b, limit: "$0.0000001", window: month}]\n'
    async with stack(tmp_path, budget) as proxy:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with session(proxy):
                pass
        assert refused.value.response.status_code == 402
        assert not proxy.sim.requests


@pytest.mark.parametrize("how", ["provider", "client"])
async def test_what_is_cut_off_amid_a_response_is_estimated(tmp_path: Path, how: str) -> None:
    fault = "x-sim-drop-after" if how == "provider" else "x-sim-hang-after"
    async with stack(tmp_path, PRICES) as proxy:
        async with session(proxy, headers={fault: "1"}) as socket:
            await socket.recv()
            await socket.send(json.dumps({"type": "response.create"}))
            while json.loads(await socket.recv())["type"] != "response.output_audio.delta":
                continue
            if how == "provider":
                with pytest.raises(websockets.ConnectionClosedError):
                    await socket.recv()
            else:
                socket.transport.abort()
        (receipt,) = await proxy.settled(1)
        assert receipt.end == ("upstream_died" if how == "provider" else "client_left")
        assert receipt.usage_source == "estimated" and receipt.cost


async def test_a_refusal_passes_as_it_is(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES) as proxy:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with session(proxy, headers={"x-sim-status": "401"}):
                pass
        assert refused.value.response.status_code == 401
        (receipt,) = await proxy.settled(1)
        assert (receipt.status, receipt.end, receipt.cost) == (401, "error", 0)


UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


@pytest.mark.parametrize(
    ("setting", "path", "status"),
    [
        ("auto", "/v1/responses", 426),
        ("auto", "/v1/realtime", 101),
        ("on", "/v1/responses", 101),
        ("off", "/v1/realtime", 426),
    ],
)
async def test_who_takes_an_upgrade(tmp_path: Path, setting: str, path: str, status: int) -> None:
    providers = f'\n  openai: {{dialect: openai, base_url: "SIM/v1", websocket: {setting}}}\n'
    async with stack(tmp_path, providers=providers) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode())
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n")).startswith(f"HTTP/1.1 {status} ".encode())
        writer.close()


async def test_other_protocols_are_not_taken_up(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        fields = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "A"}
        answer = await call(proxy.port, "GET", "/v1/files", None, fields)
        assert answer.status == 200
        names = {name for name, _ in answer.json()["headers"]}
        assert not names & {"upgrade", "http2-settings"}


async def test_a_web_page_cannot_open_a_session(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with session(proxy, origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_back_pressure(tmp_path: Path) -> None:
    """A client that does not read stops the provider, not our memory."""
    async with stack(tmp_path) as proxy, session(proxy, "/v1/echo", max_size=None) as socket:
        socket.transport.pause_reading()
        big, times = bytes(1 << 20), 40
        for _ in range(times):
            await socket.send(big)
        (exchange,) = proxy.runtime.in_flight.tasks.values()
        relay: Any = exchange.relay  # type: ignore[attr-defined]
        before = -1
        while before != relay.bytes_out or relay.bytes_in < times * len(big):
            before = relay.bytes_out
            for _ in range(200):
                await asyncio.sleep(0)
        assert relay.bytes_out < times * len(big) // 2
        socket.transport.resume_reading()
        for _ in range(times):
            assert len(await socket.recv()) == len(big)


async def test_a_session_in_a_tunnel(tmp_path: Path) -> None:
    async with opened(tmp_path, PRICES) as found:
        async with (
            asyncio.timeout(15),
            connect(
                "wss://api.openai.test/v1/realtime?model=gpt-realtime",
                ssl=found.trusting,
                proxy=f"http://127.0.0.1:{found.port}",
            ) as socket,
        ):
            await socket.recv()
            await ask(socket)
        (receipt,) = await found.proxy.settled(1)
        assert (receipt.end, receipt.cost) == ("finished", FIRST)


async def test_a_session_is_ended_at_the_drain_deadline(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES) as proxy:
        async with session(proxy) as socket:
            await socket.recv()
            await proxy.runtime.in_flight.cancel_all()
            assert json.loads(await socket.recv())["error"]["code"] == "shutting_down"
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        (receipt,) = await proxy.settled(1)
        assert receipt.end == "error"


async def test_a_host_of_no_provider(tmp_path: Path) -> None:
    """In absolute-form, as what is read in an opened tunnel is sent on too."""
    async with (
        far_away() as other,
        stack(tmp_path, INSIDE_OK) as proxy,
        asyncio.timeout(10),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        writer.write(f"GET {other.url}/echo HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and b"sec-websocket-accept" in head.lower()
        mask = b"\1\2\3\4"
        writer.write(
            b"\x82\x85" + mask + bytes(a ^ b for a, b in zip(b"hello", mask * 2, strict=False))
        )
        assert await reader.readexactly(7) == b"\x82\x05hello"
        writer.close()
        await other.until(lambda sim: sim.records.open == 0)
        assert await proxy.settled(0) == []
