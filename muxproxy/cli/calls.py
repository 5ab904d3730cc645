"""`muxproxy calls`: receipts, newest first."""

from __future__ import annotations

import argparse
import json

from muxproxy.cli import ledger_file, table
from muxproxy.exchange import Receipt
from muxproxy.ledger.queries import Filters
from muxproxy.ledger.reports import iso_ms, receipt_json
from muxproxy.money import show

_TEXT = ("caller", "user", "provider", "model", "rule", "run", "end")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which calls."""
    ledger_file.arguments(parser)
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="default 20")
    parser.add_argument("--since", type=ledger_file.since, metavar="DURATION", help="e.g. 2h, 7d")
    parser.add_argument("--status", type=int, metavar="CODE")
    parser.add_argument("--id", metavar="ID", help="one call, by its x-muxproxy-id")
    for name in _TEXT:
        parser.add_argument(f"--{name}", metavar=name.upper())


def main(args: argparse.Namespace) -> int:
    """Print them; 1 when the one asked for by `--id` is not there."""
    reader = ledger_file.open_reader(args)
    if reader is None:
        return 2
    with reader:
        if args.id is not None:
            try:
                one = reader.call(int(args.id, 16))
            except (ValueError, OverflowError):
                one = None
            found = [] if one is None else [one]
        else:
            filters = Filters(
                since=args.since,
                status=args.status,
                **{name: getattr(args, name) for name in _TEXT},
            )
            found = reader.calls(filters, max(args.limit, 0))
    if args.json:
        for receipt in found:
            print(json.dumps(receipt_json(receipt)))
    elif found:
        print(table.render(_HEAD, (_row(receipt) for receipt in found)))
    return 1 if args.id is not None and not found else 0


_HEAD = (
    "TIME",
    "ID",
    "RULE",
    "PROVIDER/MODEL",
    "STATUS",
    "END",
    "IN",
    "OUT",
    "COST",
    "MS",
)


def _row(receipt: Receipt) -> tuple[object, ...]:
    usage = receipt.usage
    where = "/".join(filter(None, (receipt.provider, receipt.model))) or None
    return (
        iso_ms(receipt.time_ms)[:19].replace("T", " "),
        format(receipt.id, "016x"),
        receipt.rule,
        where,
        receipt.status,
        _end(receipt),
        None if usage is None else usage.input_total,
        None if usage is None else usage.output_total,
        show(receipt.cost),
        round(receipt.total_us / 1000),
    )


def _end(receipt: Receipt) -> str:
    """How it ended, and what is known of its answer."""
    told = receipt.end if receipt.code is None else f"{receipt.end}: {receipt.code}"
    if receipt.explored:
        told += ", explored"
    return told if receipt.feedback is None else f"{told}, rated {receipt.feedback:g}"
