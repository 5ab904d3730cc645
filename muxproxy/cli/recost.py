"""`muxproxy recost`: what recorded calls cost at the prices in force now."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict

from muxproxy.cli import config_file, ledger_file, table
from muxproxy.ledger import LedgerError
from muxproxy.ledger.recost import Change, Recoster
from muxproxy.money import dollars, show
from muxproxy.prices import Prices, Row


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which calls, and whether to write."""
    ledger_file.arguments(parser)
    parser.add_argument(
        "--since", type=ledger_file.since, required=True, metavar="DURATION", help="e.g. 7d"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the new costs; without it they are only shown"
    )


def main(args: argparse.Namespace) -> int:
    """0 shown or written, 2 the call was wrong. Budget counters are not touched: what was spent
    under a limit was spent at the prices of its day."""
    config = config_file.read(args.config)
    if config is None:
        return 2
    prices = Prices.load(config.prices, config.providers)
    state = args.state or os.environ.get("MUXPROXY_STATE") or config.state
    groups: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    changes: list[Change] = []
    try:
        with Recoster(state) as recoster:
            calls = recoster.calls(args.since, int(time.time() * 1000) + 1)
            rows = (
                Row(
                    id=call.id,
                    provider=call.provider or "",
                    model=call.model or "",
                    at=call.time_ms // 1000,
                    usage=call.usage,
                    cost=call.cost,
                )
                for call in calls
                if call.usage is not None
            )
            for row, cost in prices.recost(rows):
                if cost != row.cost:
                    changes.append(Change(row.id, cost, prices.version))
                sums = groups[f"{row.provider}/{row.model}"]
                sums[0] += 1
                sums[1] += row.cost or 0
                sums[2] += cost or 0
            written = recoster.apply(changes) if args.write else 0
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 2
    _print(groups, len(changes), written, prices.version, args)
    return 0


def _print(
    groups: dict[str, list[int]],
    changed: int,
    written: int,
    version: str,
    args: argparse.Namespace,
) -> None:
    if args.json:
        for name, (calls, then, now) in sorted(groups.items()):
            line = {"model": name, "calls": calls, "then_usd": dollars(then)}
            line |= {"now_usd": dollars(now), "price_version": version}
            print(json.dumps(line))
        return
    rows = [
        (name, calls, show(then), show(now), f"{'-' if now < then else '+'}{show(abs(now - then))}")
        for name, (calls, then, now) in sorted(groups.items())
    ]
    if rows:
        print(table.render(("MODEL", "CALLS", "THEN", "NOW", "DIFFERENCE"), rows))
    done = f"{written} written" if args.write else "nothing written (--write does)"
    print(f"{changed} calls cost something else at prices {version}: {done}")
