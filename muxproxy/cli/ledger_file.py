"""Finding the ledger for a command, and spans of time such as 7d."""

from __future__ import annotations

import argparse
import os
import sys
import time

from muxproxy.cli import config_file
from muxproxy.config import units
from muxproxy.ledger import LedgerError
from muxproxy.ledger.reports import Reader


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--state` and `--json`."""
    where(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def where(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--state`."""
    config_file.argument(parser)
    parser.add_argument(
        "--state", metavar="FILE", help="the ledger (default: the configuration's `state`)"
    )


def open_reader(args: argparse.Namespace) -> Reader | None:
    """A read-only ledger, or None after the reason was printed. Works beside a server."""
    state = args.state or os.environ.get("MUXPROXY_STATE")
    if state is None:
        config = config_file.read(args.config)
        if config is None:
            return None
        state = config.state
    try:
        return Reader(state)
    except LedgerError as error:
        print(error, file=sys.stderr)
        return None


def since(text: str) -> int:
    """argparse type: Unix milliseconds of `7d`, `12h` ago. Raises ArgumentTypeError."""
    try:
        return int((time.time() - units.duration(text)) * 1000)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
