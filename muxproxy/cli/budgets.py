"""`muxproxy budgets`: where every budget stands, from the ledger."""

from __future__ import annotations

import argparse
import json
import sys
import time

from muxproxy.budget import Budgets
from muxproxy.cli import config_file, ledger_file, table
from muxproxy.exchange import Hold


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which ledger."""
    ledger_file.arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Print one line per budget and scope."""
    config = config_file.read(args.config)
    reader = ledger_file.open_reader(args)
    if config is None or reader is None:
        return 2
    with reader:
        spent, holds = reader.usage(), reader.holds()
    try:
        budgets = Budgets(config, spent, time.time())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    rows = budgets.status(time.time())
    _add_holds(rows, holds)
    if args.json:
        for row in rows:
            print(json.dumps(row, default=str))
    elif rows:
        head = [name for name in _COLUMNS if name in rows[0]]
        print(table.render([n.upper() for n in head], [[r.get(n) for n in head] for r in rows]))
    return 0


_COLUMNS = ("name", "scope", "window", "limit", "spent", "held", "remaining", "resets_at")


def _add_holds(rows: list[dict[str, object]], holds: list[Hold]) -> None:
    """What the running server holds at this moment, from the journal."""
    for row in rows:
        prefix = f"{row['name']}|{row['scope']}|"
        held = sum(
            (hold.nano or 0) / 1e9
            for hold in holds
            if any(scope.startswith(prefix) for scope in hold.scopes)
        )
        limit, spent = row["limit"], row["spent"]
        if held and isinstance(limit, int | float) and isinstance(spent, int | float):
            row["held"] = held
            row["remaining"] = limit - spent - held
