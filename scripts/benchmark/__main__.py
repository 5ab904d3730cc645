"""`scripts/bench`: CPU, latency and memory of muxproxy beside nginx, in one run.

Wall-clock figures on a shared machine are noise; CPU per unit and ratios within one run are the
claims. Each figure is the median of the rounds; the systems take turns within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import time
import urllib.request

import uvloop

from scripts.benchmark import load
from scripts.benchmark.process import LOAD_CORE, cpu_seconds, rss_mib
from scripts.benchmark.systems import System, available, dump, running, simulator

Figures = dict[str, float]


def percentile(values: list[float], share: float) -> float:
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def json_cpu(system: System, quick: bool) -> Figures:
    uvloop.run(load.calls_at_concurrency(system.port, 16, 0.5))
    before = cpu_seconds(system.pid)
    result = uvloop.run(load.calls_at_concurrency(system.port, 16, 1.5 if quick else 4.0))
    used = cpu_seconds(system.pid) - before
    return {
        "json_cpu_us": used / max(result.count, 1) * 1e6,
        "json_errors": result.errors,
    }


def latency(system: System, direct: int, quick: bool) -> Figures:
    seconds = 2.0 if quick else 5.0
    through = uvloop.run(load.calls_at_rate(system.port, 300, seconds))
    straight = uvloop.run(load.calls_at_rate(direct, 300, seconds))
    return {
        "added_p50_ms": (percentile(through.delays, 0.5) - percentile(straight.delays, 0.5)) * 1e3,
        "added_p99_ms": (percentile(through.delays, 0.99) - percentile(straight.delays, 0.99))
        * 1e3,
    }


def sse(system: System, direct: int, quick: bool) -> Figures:
    tokens = 100 if quick else 200

    async def run() -> tuple[load.Result, float]:
        """CPU of a window in which every stream is open: opening them is not what a chunk costs."""
        task = asyncio.create_task(load.streams(system.port, 100, tokens, "50ms", skip=1.0))
        await asyncio.sleep(1.5)
        before = cpu_seconds(system.pid)
        started = time.perf_counter()
        await asyncio.sleep(tokens * 0.05 - 2.5)
        used = cpu_seconds(system.pid) - before
        return await task, used / ((time.perf_counter() - started) * 100 * 20)

    result, per_chunk = uvloop.run(run())
    straight = uvloop.run(load.streams(direct, 100, 20, "50ms"))
    return {
        "sse_cpu_us": per_chunk * 1e6,
        "sse_errors": result.errors,
        "ttfb_delta_ms": (percentile(result.first, 0.5) - percentile(straight.first, 0.5)) * 1e3,
        "worst_chunk_ms": max(result.delays, default=float("nan")) * 1e3,
    }


def thousand(system: System, quick: bool) -> Figures:
    """1,000 streams at 20 chunks/s, and what each costs in memory."""
    idle = rss_mib(system.pid)

    async def run() -> tuple[load.Result, float]:
        tokens = 100 if quick else 200
        task = asyncio.create_task(load.streams(system.port, 1000, tokens, "50ms", skip=1.0))
        await asyncio.sleep(2.5)
        peak = rss_mib(system.pid)
        return await task, peak

    result, peak = uvloop.run(run())
    return {
        "rss_idle_mib": idle,
        "kib_per_stream": (peak - idle) * 1024 / 1000,
        "p99_chunk_ms_1000": percentile(result.delays, 0.99) * 1e3,
        "errors_1000": result.errors,
    }


def first_answer(name: str, sim: int) -> Figures:
    started = time.perf_counter()
    with running(name, sim) as system:
        request = urllib.request.Request(
            f"http://127.0.0.1:{system.port}/v1/chat/completions",
            data=load.BODY % (16, b""),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
        return {"first_answer_s": time.perf_counter() - started}


def measure(name: str, sim: int, quick: bool) -> Figures:
    figures = first_answer(name, sim)
    with running(name, sim) as system:
        figures |= {"rss_fresh_mib": rss_mib(system.pid)}
        figures |= json_cpu(system, quick)
        figures |= latency(system, sim, quick)
        figures |= sse(system, sim, quick)
    if name != "litellm":
        with running(name, sim) as system:
            json_cpu(system, True)
            figures |= thousand(system, quick)
    return figures


COLUMNS = (
    ("json_cpu_us", "CPU us/JSON"),
    ("sse_cpu_us", "CPU us/chunk"),
    ("added_p50_ms", "+p50 ms"),
    ("added_p99_ms", "+p99 ms"),
    ("ttfb_delta_ms", "+TTFB ms"),
    ("worst_chunk_ms", "worst chunk ms"),
    ("p99_chunk_ms_1000", "p99 chunk ms @1000"),
    ("rss_fresh_mib", "RSS MiB"),
    ("kib_per_stream", "KiB/stream"),
    ("first_answer_s", "first answer s"),
)


def table(results: dict[str, Figures]) -> str:
    lines = ["| system | " + " | ".join(title for _, title in COLUMNS) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for name, figures in results.items():
        cells = [f"{figures[key]:.2f}" if key in figures else "-" for key, _ in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(rounds: list[dict[str, Figures]]) -> list[str]:
    lines = []
    for key, title in COLUMNS[:2]:
        found = [
            r["muxproxy"][key] / r["nginx"][key]
            for r in rounds
            if "muxproxy" in r and "nginx" in r and r["nginx"].get(key)
        ]
        if found:
            lines.append(
                f"{title}: {statistics.median(found):.2f} x nginx "
                f"(median of {len(found)}; {min(found):.2f}-{max(found):.2f})"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher figures")
    parser.add_argument("--peers", action="store_true", help="other gateways, where installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="comma-separated systems")
    parser.add_argument("--json", metavar="FILE", default="bench-results.json")
    args = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
    names = args.only.split(",") if args.only else available(args.peers)
    rounds: list[dict[str, Figures]] = []
    with simulator() as sim:
        for number in range(args.rounds):
            found: dict[str, Figures] = {}
            for name in names:
                found[name] = measure(name, sim, args.quick)
                print(f"round {number + 1} {name}: {found[name]}", flush=True)
            rounds.append(found)
    medians = {
        name: {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]}
        for name in names
    }
    print(f"\nPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; ")
    print(table(medians))
    for line in ratios(rounds):
        print(line)
    dump({"rounds": rounds, "medians": medians}, args.json)


if __name__ == "__main__":
    main()
