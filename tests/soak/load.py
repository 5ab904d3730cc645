"""Mixed load with random faults, aborts and reloads against `muxproxy serve`; then the accounts.

    python -m tests.soak.load --minutes 10 [--callers 24] [--seed N]

Prints the seed first and one line of JSON at the end. Exit code 1: something is wrong, and what.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muxproxy.ledger.reports import Reader
from muxproxy.sim.server import SimServer, start
from tests.http_client import Answer, call
from tests.process.server import Served, served
from tests.wire.balance import fetch

GROWTH = 0.10  # of RSS, from a fifth of the time to the end

# `bad` models meet the faults, through `pair` the second candidate is sound.
TIMES = "{idle: 1s, first_byte: 1s}"  # more than a busy machine holds a provider up
YAML = """
  first:  {dialect: openai, base_url: "SIM/v1", api_key: k, timeouts: TIMES}
  second: {dialect: openai, base_url: "SIM/v1", api_keys: [ka, kb], keepalive: 100ms}
  east:   {dialect: anthropic, base_url: "SIM", api_key: k, timeouts: TIMES}
  west:   {dialect: anthropic, base_url: "SIM", api_key: k}
models:
  pair: [first/bad, second/good]
  equals: {strategy: peak_ewma, models: [first/bad, second/good]}
  crossed: [east/bad, second/good]
rules:
  - {name: kept, when: {header.x-soak: cached}, cache: {ttl: 2s, any: true, join: true}}
  - {name: again, when: {header.x-soak: again}, retry: {same: 1, backoff: 5ms}}
budgets:
  - {name: money, limit: $100000, window: month}
  - {name: each, per: model, limit: $100000, window: month, hold: worst}
prices: {"*": {input: 1, output: 2}}
server: {max_in_flight: 200, max_queue: 50}
"""
FAULTS = (
    *("status=429", "status=500", "status=529", "status=400", "drop-after=0", "drop-after=head"),
    *("drop-after=3", "reset-after=3", "hang-after=0", "hang-after=3", "hang-after=head"),
    *("error-after=0", "error-after=2", "garbage=head", "garbage=chunk", "slice=random"),
    *("chunked=on", "close=on", "usage=off", "pace=2ms", "ttft=20ms"),
)
# What is answered as if there had been no fault.
HARMLESS = frozenset({"slice=random", "chunked=on", "close=on", "pace=2ms", "ttft=20ms"})
USER = [{"role": "user", "content": "Tell me a story"}]
CHAT: dict[str, Any] = {"messages": USER, "max_tokens": 12}
USAGE = {"stream_options": {"include_usage": True}}
SHAPES: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("/v1/chat/completions", CHAT, ("first/bad", "pair", "equals", "crossed", "second/good")),
    (
        "/v1/chat/completions",
        {**CHAT, **USAGE, "stream": True},
        ("first/bad", "pair", "equals", "crossed", "second/good"),
    ),
    ("/v1/messages", CHAT, ("east/bad", "west/good", "pair")),
    ("/v1/messages", {**CHAT, "stream": True}, ("east/bad", "west/good", "pair")),
)
PING, COMMENT = b'event: ping\ndata: {"type": "ping"}\n\n', b": keep-alive\n\n"


@dataclass
class Soak:
    """What is known while it runs."""

    server: Served
    sim: SimServer
    random: random.Random
    until: float
    calls: int = 0
    reloads: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    right: dict[tuple[str, bool, str], bytes] = field(default_factory=dict)
    rss: list[tuple[float, int]] = field(default_factory=list)


async def caller(soak: Soak) -> None:
    """One after the other until the time is over."""
    rng = soak.random
    while time.monotonic() < soak.until and len(soak.wrong) < 20:
        path, body, models = rng.choice(SHAPES)
        model = rng.choice(models)
        headers = {"x-soak": rng.choice(("plain", "plain", "cached", "again"))}
        fault = rng.choice(FAULTS) if rng.random() < 0.4 else ""
        if fault:
            name, _, value = fault.partition("=")
            headers |= {f"x-sim-{name}": value, "x-sim-for": "bad"}
            if name in ("usage", "error-after"):  # an odd answer that the cache would give again
                headers["x-soak"] = "plain"
        leave = rng.uniform(0.001, 0.05) if rng.random() < 0.08 else None
        soak.calls += 1
        try:
            answer = await fetch(
                soak.server.port, path, {**body, "model": model}, headers, leave_after=leave
            )
        except (OSError, TimeoutError) as error:
            soak.wrong.append(f"{path} {model} {fault}: {error!r}")
            continue
        if leave is None:
            judge(soak, path, bool(body.get("stream")), model, fault, answer)


def judge(soak: Soak, path: str, stream: bool, model: str, fault: str, answer: Answer) -> None:
    """Whether the caller got what it must, as far as can be told from here."""
    soak.ends[f"{answer.status}{' broken' if answer.broken else ''}"] += 1
    where = f"{path} stream={stream} {model} {fault}"
    single = model.endswith("/good") or (model.endswith("/bad") and (not fault))
    sound = single or (fault in HARMLESS) or not fault
    if sound and (answer.status, answer.broken) != (200, False):
        soak.wrong.append(f"{where}: {answer.status} broken={answer.broken} {answer.body[:200]!r}")
    if "/" not in model or answer.status != 200 or answer.broken:
        return  # through an alias either model may answer
    if fault.partition("=")[0] in ("error-after", "usage") and model.endswith("/bad"):
        return
    body = answer.body.replace(PING, b"").replace(COMMENT, b"")
    key = path, stream, model
    if body != soak.right.setdefault(key, body):
        soak.wrong.append(f"{where}: other bytes: {body[-200:]!r}")


async def learn(soak: Soak) -> None:
    """What the provider itself answers, byte for byte."""
    for path, body, models in SHAPES:
        for model in models:
            if "/" in model:
                sent = {**body, "model": model.partition("/")[2]}
                answer = await fetch(soak.sim.port, path, sent)
                soak.right[path, bool(body.get("stream")), model] = answer.body


async def disturb(soak: Soak, seconds: float) -> None:
    """Reloads, bad ones among them, and a look at the memory."""
    good = soak.server.config.read_text()
    pause = min(2.0, seconds / 10)
    while time.monotonic() < soak.until - pause:
        await asyncio.sleep(pause)
        soak.rss.append((time.monotonic(), resident(soak.server.process.pid)))
        bad = soak.random.random() < 0.3
        extra = "rulez: []\n" if bad else f"hosts: [h{soak.random.randrange(99)}.example]\n"
        soak.server.config.write_text(good + extra)
        soak.server.signal(signal.SIGHUP)
        soak.reloads += 1
    soak.server.config.write_text(good)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def accounts(soak: Soak, folder: Path) -> None:
    """Nothing is in flight, held or lost."""
    port = soak.server.port
    async with asyncio.timeout(30):
        while True:
            ready = (await call(port, "GET", "/ready")).json()
            if not ready["in_flight"] and not ready["ledger_lag"]:
                break
            await asyncio.sleep(0.05)
    page = (await call(port, "GET", "/metrics")).body.decode()
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[:1] != "#")
    for name, value in values.items():
        held = name.startswith(("muxproxy_budget_held", "muxproxy_candidate_in_flight"))
        busy = name.startswith("muxproxy_pool_connections") and 'state="in_flight"' in name
        if (held or busy or name == "muxproxy_in_flight") and float(value) != 0:
            soak.wrong.append(f"{name} is {value}")
    with Reader(str(folder / "books.db")) as reader:
        if reader.holds():
            soak.wrong.append(f"{len(reader.holds())} holds are left in the ledger")
        rows = reader.calls(limit=10_000_000)
    spent = sum(row.cost or 0 for row in rows)
    with Reader(str(folder / "books.db")) as reader:
        booked = sum(row[3] for row in reader.usage() if row[0] == "money" and row[2] >= 0)
    if spent != booked:
        soak.wrong.append(f"receipts sum to {spent}, the budget to {booked}")
    if len({row.id for row in rows}) != len(rows):
        soak.wrong.append("two receipts have one id")
    soak.ends["receipts"] = len(rows)


async def run(seconds: float, callers: int, seed: int, folder: Path) -> dict[str, Any]:
    """One soak; what it found."""
    sim = await start()
    with served(folder, sim.url, YAML.replace("SIM", sim.url).replace("TIMES", TIMES)) as server:
        drained = asyncio.create_task(asyncio.to_thread(_drain, server))
        soak = Soak(server, sim, random.Random(seed), time.monotonic() + seconds)
        await learn(soak)
        await asyncio.gather(*(caller(soak) for _ in range(callers)), disturb(soak, seconds))
        soak.rss.append((time.monotonic(), resident(server.process.pid)))
        await accounts(soak, folder)
        server.signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.wait)
        if code:
            soak.wrong.append(f"exit code {code}")
        await drained
    await sim.aclose()
    if sim.faults:
        soak.wrong.append(f"the provider got what it must not: {sim.faults[:3]}")
    begun = soak.until - seconds * 0.8
    early = next((rss for at, rss in soak.rss if at >= begun), soak.rss[0][1])
    return {
        "seed": seed, "seconds": seconds, "calls": soak.calls, "reloads": soak.reloads,
        "ends": dict(soak.ends), "rss_mib": [round(early / 2**20, 1),
        round(soak.rss[-1][1] / 2**20, 1)], "growth": round(soak.rss[-1][1] / early - 1, 4),
        "wrong": soak.wrong,
    }  # fmt: skip


def _drain(server: Served) -> None:
    """Its log must not fill the pipe."""
    assert server.process.stderr is not None
    for _ in server.process.stderr:
        pass


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--callers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(args.minutes * 60, args.callers, args.seed, Path(folder)))
    if found["growth"] > GROWTH:
        found["wrong"].append(f"memory grew by {found['growth']:.1%}")
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
