"""SIGTERM drains and exits 0; a second one insists; SIGHUP reloads; kill -9 loses no row."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

from muxproxy.sim.server import SimServer, start
from tests.http_client import call, encode, head, read_body, read_head
from tests.process.server import Served, calls, command, served

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
STREAM = {**CHAT, "stream": True}


async def _open_stream(
    port: int, pace: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, list[tuple[str, str]]]:
    data = encode(STREAM)
    headers = {"content-type": "application/json", "x-sim-pace": pace, "x-sim-tokens": "20"}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("POST", "/v1/chat/completions", headers, len(data), "localhost") + data)
    status, fields = await read_head(reader)
    assert status == 200
    return reader, writer, fields


async def test_sigterm_lets_a_stream_end_and_exits_0(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url) as server:
        reader, writer, fields = await _open_stream(server.port, "30ms")
        server.signal(signal.SIGTERM)
        body, broken = await asyncio.wait_for(read_body(reader, fields), 10)
        assert not broken
        assert b"data: [DONE]" in body
        assert await asyncio.to_thread(server.wait) == 0
        writer.close()
    (row,) = calls(tmp_path)
    assert (row["end"], row["usage"]["output_total"]) == ("finished", 20)
    await sim.aclose()


async def test_the_drain_deadline_cuts_settles_and_exits_0(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url, "drain_timeout: 300ms\n") as server:
        reader, writer, fields = await _open_stream(server.port, "10s")
        server.signal(signal.SIGTERM)
        body, broken = await asyncio.wait_for(read_body(reader, fields), 10)
        assert broken
        assert b"[DONE]" not in body
        assert await asyncio.to_thread(server.wait) == 0
        writer.close()
    (row,) = calls(tmp_path)
    assert row["end"] == "error"
    assert row["usage"]["input_total"] > 0
    await sim.aclose()


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url, "drain_timeout: 60s\n") as server:
        _, writer, _ = await _open_stream(server.port, "30s")
        server.signal(signal.SIGTERM)
        await asyncio.to_thread(server.log_line, "stopping")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 10) == 0
        writer.close()
    assert len(calls(tmp_path)) == 1
    await sim.aclose()


async def test_sighup_swaps_the_configuration_and_a_bad_file_changes_nothing(
    tmp_path: Path,
) -> None:
    sim = await start()
    with served(tmp_path, sim.url) as server:
        before = await call(server.port, "POST", "/v1/chat/completions", CHAT)
        assert before.status == 200
        good = server.config.read_text()
        server.config.write_text(
            good + "rules:\n  - {name: no, when: {model: '*'}, deny: closed}\n"
        )
        server.signal(signal.SIGHUP)
        await asyncio.to_thread(server.log_line, "reloaded")
        denied = await call(server.port, "POST", "/v1/chat/completions", CHAT)
        assert denied.status == 403
        server.config.write_text(good + "rulez: []\n")
        server.signal(signal.SIGHUP)
        line = await asyncio.to_thread(server.log_line, "not reloaded")
        assert "last good one" in line
        still = await call(server.port, "POST", "/v1/chat/completions", CHAT)
        assert still.status == 403
        ready = await call(server.port, "GET", "/ready")
        assert "rulez" in ready.json()["reload_error"]
    await sim.aclose()


# MUXPROXY_KILL_ROUNDS=20 for the long run.
ROUNDS = int(os.environ.get("MUXPROXY_KILL_ROUNDS", "4"))
MONEY = """
auth: {mode: open, user_header: x-user}
prices: {"*": {input: 1, output: 2}}
budgets:
  - {name: purse, limit: $1000, window: prepaid}
  - {name: each, per: user, limit: $10, window: prepaid}
"""


async def test_kill_9_under_load_loses_no_row_and_counts_nothing_twice(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sim = await start()
    numbers = itertools.count()
    for _ in range(ROUNDS):
        with served(tmp_path, sim.url, MONEY) as server:
            await _load_until_killed(server, sim, rng, numbers)
    with served(tmp_path, sim.url, MONEY) as server:  # the start settles what was open
        server.signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait)
    rows = calls(tmp_path)
    assert len({row["id"] for row in rows}) == len(rows)
    by_user = {row["user"]: row for row in rows}
    assert len(by_user) == len(rows)  # each call has one row
    seen = {r.get("x-tag") for r in sim.requests}
    assert seen and seen <= by_user.keys()  # what the provider saw has its row
    crashed = [row for row in rows if row["end"] == "error"]
    assert all(row["usage_source"] == "estimated" for row in crashed)
    assert all(row["cost_usd"] is not None for row in rows)
    await sim.aclose()
    done = command("budgets", "--json", "--config", str(tmp_path / "muxproxy.yaml"))
    assert done.returncode == 0, done.stderr
    spent = {
        (row["name"], row["scope"]): round(row["spent"] * 1e9)
        for row in map(json.loads, done.stdout.splitlines())
    }
    assert spent.pop(("purse", "all")) == sum(round(row["cost_usd"] * 1e9) for row in rows)
    assert {scope: nano for (_, scope), nano in spent.items() if nano} == {
        user: nano for user, row in by_user.items() if (nano := round(row["cost_usd"] * 1e9))
    }


async def _load_until_killed(
    server: Served, sim: SimServer, rng: random.Random, numbers: Iterator[int]
) -> None:
    seen = len(sim.requests)

    async def caller() -> None:
        while True:
            body = rng.choice([CHAT, STREAM])
            user = f"u{next(numbers)}"  # x-user is ours: the provider sees the tag
            sent = {"x-user": user, "x-tag": user, "x-sim-ttft": f"{rng.randint(0, 9)}ms"}
            try:
                await call(server.port, "POST", "/v1/chat/completions", body, sent)
            except (OSError, asyncio.IncompleteReadError):
                return

    callers = [asyncio.create_task(caller()) for _ in range(8)]
    wanted = seen + rng.randint(5, 120)
    async with asyncio.timeout(30):
        await sim.until(lambda s: len(s.requests) >= wanted)
    await asyncio.sleep(rng.random() * 0.02)
    server.signal(signal.SIGKILL)
    async with asyncio.timeout(30):
        await asyncio.gather(*callers)


async def test_sigterm_under_load_loses_no_call_that_was_accepted(tmp_path: Path) -> None:
    """Each caller, on connections of its own, is answered in full or is refused the connection."""
    sim = await start()
    answered, lost = [], []
    with served(tmp_path, sim.url) as server:

        async def caller(number: int) -> None:
            body = STREAM if number % 2 else CHAT
            while True:
                try:
                    answer = await call(
                        server.port, "POST", "/v1/chat/completions", body, {"x-sim-pace": "3ms"}
                    )
                except ConnectionRefusedError:
                    return
                except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                    lost.append(repr(error))
                    return
                if (answer.status, answer.broken) == (200, False):
                    answered.append(answer.headers["x-muxproxy-id"])
                else:
                    lost.append(repr(answer))

        callers = [asyncio.create_task(caller(number)) for number in range(16)]
        await sim.until(lambda s: len(s.requests) >= 60)
        server.signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        code = await asyncio.to_thread(server.wait)
    await sim.aclose()
    assert (code, lost[:3]) == (0, [])
    rows = calls(tmp_path)
    assert {row["id"] for row in rows} == set(answered)
    assert {row["end"] for row in rows} == {"finished"}
