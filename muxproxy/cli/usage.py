"""`muxproxy usage`: what was spent, on what."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from muxproxy.cli import config_file, ledger_file, table
from muxproxy.control import spreadsheet
from muxproxy.control.savings import with_savings
from muxproxy.ledger.costs import CostQuery
from muxproxy.prices import Price, Prices


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which calls, and how to group them."""
    ledger_file.arguments(parser)
    parser.add_argument(
        "--since", type=ledger_file.since, metavar="DURATION", help="default 30d", default=None
    )
    parser.add_argument(
        "--by",
        default="provider,model",
        metavar="NAMES",
        help="provider, model, key, user, team, tag, rule, day, hour (default provider,model)",
    )
    parser.add_argument("--tz", default="UTC", help="time zone of the days, default UTC")
    parser.add_argument(
        "--baseline",
        metavar="PROVIDER/MODEL",
        help="what the same tokens would have cost there (default: the configuration's `baseline`)",
    )
    parser.add_argument("--csv", action="store_true", help="all columns, as /v1/analytics/costs")
    parser.add_argument("--limit", type=int, default=100, metavar="N")


def main(args: argparse.Namespace) -> int:
    """Print the groups and their total."""
    reader = ledger_file.open_reader(args)
    if reader is None:
        return 2
    now = int(time.time() * 1000)
    groups = tuple(part.strip() for part in args.by.split(",") if part.strip())
    start = args.since if args.since is not None else now - 30 * 86_400_000
    query = CostQuery(start=start, end=now + 1000, group_by=groups, tz=args.tz, limit=args.limit)
    with reader:
        try:
            report = reader.costs(query)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    name, price = _baseline(args, now)
    if args.baseline is not None and price is None:
        print(f"--baseline: no price is known for {args.baseline}", file=sys.stderr)
        return 2
    report = with_savings(report, name, price)
    if args.csv:
        sys.stdout.write(spreadsheet.render(report["rows"]))
        return 0
    if args.json:
        for row in report["rows"]:
            print(json.dumps(row))
        return 0
    figures = (*_FIGURES, *_SAVINGS) if report["baseline"] else _FIGURES
    head = [*groups, *figures]
    rows = [[row.get(name) for name in head] for row in report["rows"]]
    rows.append(["total", *[""] * (len(groups) - 1), *(report["totals"][f] for f in figures)])
    print(table.render([name.upper() for name in head], rows))
    return 0


def _baseline(args: argparse.Namespace, now: int) -> tuple[str | None, Price | None]:
    """The model to compare with and its price, by the configuration where there is one."""
    config = None
    if args.config or not (args.state or os.environ.get("MUXPROXY_STATE")):
        config = config_file.read(args.config)
    name = args.baseline or (None if config is None else config.baseline)
    if name is None:
        return None, None
    prices = Prices.load({}, {}) if config is None else Prices.load(config.prices, config.providers)
    provider, _, model = name.partition("/")
    return name, prices.find(provider, model, now // 1000)


_FIGURES = ("requests", "errors", "input_total", "output_total", "cache_hit_rate", "cost_usd")
_SAVINGS = ("baseline_usd", "saved_usd", "free_share")
