"""`muxproxy replay CANDIDATE.yaml`: what another configuration had done to recorded traffic."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from muxproxy import offline
from muxproxy.cli import config_file, ledger_file, table
from muxproxy.config.model import Config
from muxproxy.exchange import Receipt
from muxproxy.ledger import LedgerError
from muxproxy.ledger.reports import Reader, iso_ms
from muxproxy.money import dollars, show
from muxproxy.replaying import Outcome, Replay, Sum, Summary

_PAGE = 5_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which configuration, which calls, and how to tell."""
    parser.add_argument("candidate", metavar="CANDIDATE.yaml", help="the configuration to try")
    ledger_file.arguments(parser)
    parser.add_argument(
        "--since", type=ledger_file.since, required=True, metavar="DURATION", help="e.g. 7d"
    )
    parser.add_argument("--diff", action="store_true", help="list the calls that go elsewhere")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="of --diff; default 50")


def main(args: argparse.Namespace) -> int:
    """0 nothing would change, 1 something would, 2 the call was wrong."""
    base, candidate = config_file.read(args.config), config_file.read(args.candidate)
    reader = ledger_file.open_reader(args) if base is not None and candidate is not None else None
    if base is None or candidate is None or reader is None:
        return 2
    started = time.monotonic()
    try:
        with reader:
            summary, changed = asyncio.run(_replayed(base, candidate, reader, args))
    except (LedgerError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        for line in _lines(summary, changed if args.diff else ()):
            print(json.dumps(line))
    else:
        _print(summary, changed, args, time.monotonic() - started)
    return 1 if summary.changed else 0


async def _replayed(
    base: Config, candidate: Config, reader: Reader, args: argparse.Namespace
) -> tuple[Summary, list[Outcome]]:
    replay = Replay(offline.proxy(candidate, os.environ), base)
    summary, changed = Summary(), list[Outcome]()
    for one in replay.outcomes(_calls(reader, args.since)):
        summary.add(one)
        if one.changed and len(changed) < max(args.limit, 0):
            changed.append(one)
    return summary, changed


def _calls(reader: Reader, since: int) -> Iterator[Receipt]:
    """Oldest first, page by page."""
    after = (since << 20) - 1
    while page := reader.calls_after(after, _PAGE):
        yield from page
        after = page[-1].id


def _print(
    summary: Summary, changed: list[Outcome], args: argparse.Namespace, seconds: float
) -> None:
    if args.diff and changed:
        print(table.render(_DIFF, (_row(one) for one in changed)))
        print()
    for title, group in (("MODEL", summary.by_model), ("RULE", summary.by_rule)):
        rows = [_sums(name, one) for name, one in sorted(group.items())]
        print(table.render((title, *_HEAD), rows))
        print()
    total = summary.total
    for what, count in summary.undecided.most_common():
        print(f"{count} calls are undecided and counted as they were: {what}")
    if summary.unpriced:
        print(f"{summary.unpriced} calls would go to a model of unknown price")
    print(
        f"{summary.calls} calls in {seconds:.1f} s: {summary.changed} would go elsewhere; "
        f"{show(total.then_nano)} then, {show(total.now_nano)} now; "
        f"{summary.calls - total.then_calls} refused then, {summary.calls - total.now_calls} now"
    )


_HEAD = ("CALLS THEN", "NOW", "COST THEN", "COST NOW")
_DIFF = ("TIME", "ID", "THEN", "NOW", "COST THEN", "COST NOW", "WHY")


def _sums(name: str, one: Sum) -> tuple[object, ...]:
    return (name, one.then_calls, one.now_calls, show(one.then_nano), show(one.now_nano))


def _row(one: Outcome) -> tuple[object, ...]:
    receipt = one.receipt
    return (
        iso_ms(receipt.time_ms)[:19].replace("T", " "),
        format(receipt.id, "016x"),
        one.then,
        one.now,
        show(one.then_cost),
        show(one.now_cost),
        one.reason,
    )


def _lines(summary: Summary, changed: Iterable[Outcome]) -> Iterator[dict[str, Any]]:
    for one in changed:
        yield {
            "kind": "call",
            "id": format(one.receipt.id, "016x"),
            "time": iso_ms(one.receipt.time_ms),
            "then": one.then,
            "now": one.now,
            "then_rule": one.then_rule,
            "now_rule": one.now_rule,
            "then_usd": dollars(one.then_cost),
            "now_usd": dollars(one.now_cost),
            "reason": one.reason,
        }
    for kind, group in (("model", summary.by_model), ("rule", summary.by_rule)):
        for name, one_sum in sorted(group.items()):
            yield {"kind": kind, "name": name, **_figures(one_sum)}
    yield {
        "kind": "total",
        "calls": summary.calls,
        "changed": summary.changed,
        "undecided": dict(summary.undecided),
        "unpriced": summary.unpriced,
        **_figures(summary.total),
    }


def _figures(one: Sum) -> dict[str, Any]:
    return {
        "then_calls": one.then_calls,
        "now_calls": one.now_calls,
        "then_usd": dollars(one.then_nano),
        "now_usd": dollars(one.now_nano),
    }
