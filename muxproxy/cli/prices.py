"""`muxproxy prices`: show a price, or refresh the shipped table from the price library."""

from __future__ import annotations

import argparse
import sys
import time

from muxproxy.cli import config_file, table
from muxproxy.prices import Prices
from muxproxy.prices.rates import KINDS


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do."""
    config_file.argument(parser)
    parser.add_argument("action", choices=("show", "refresh"))
    parser.add_argument("model", nargs="?", metavar="PROVIDER/MODEL", help="for show")


def main(args: argparse.Namespace) -> int:
    """0 shown or refreshed, 1 no such price, 2 the call was wrong."""
    if args.action == "refresh":
        return _refresh()
    config = config_file.read(args.config)
    provider, slash, model = (args.model or "").partition("/")
    if config is None or not slash:
        print("name a price as PROVIDER/MODEL, e.g. openai/gpt-4o", file=sys.stderr)
        return 2
    prices = Prices.load(config.prices, config.providers)
    price = prices.find(provider, model, int(time.time()))
    if price is None:
        print(f"the price of {args.model} is unknown (table {prices.version})", file=sys.stderr)
        return 1
    rows = [
        (kind, *(f"${getattr(rates, kind) / 1e9:g}" for rates in price.tiers)) for kind in KINDS
    ]
    head = ["$ PER MILLION", *(f"ABOVE {r.above}" if r.above >= 0 else "BASE" for r in price.tiers)]
    print(table.render(head, rows))
    print(f"table {prices.version}")
    return 0


def _refresh() -> int:
    from muxproxy.prices import refresh  # noqa: PLC0415

    try:
        source, providers, models = refresh.refresh()
    except ImportError:
        print("refreshing needs the extra: pip install 'muxproxy[prices]'", file=sys.stderr)
        return 2
    print(f"{models} models of {providers} providers from {source}")
    return 0
