"""`muxproxy check`: every fault of a configuration at once, with file, line and column."""

from __future__ import annotations

import argparse
import json
import os
import sys

from muxproxy.cli import config_file
from muxproxy.cli.price_lint import EXTRA
from muxproxy.compiling import TERMS
from muxproxy.config.load import check_file


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which file."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="or --config FILE")
    config_file.argument(parser)
    parser.add_argument("--strict", action="store_true", help="warnings count as faults")
    parser.add_argument("--json", action="store_true", help="one JSON object per fault")


def main(args: argparse.Namespace) -> int:
    """0 good, 1 faults (or warnings with --strict), 2 no such file."""
    path = config_file.find(args.file or args.config)
    if path is None:
        print("no configuration found: name a file", file=sys.stderr)
        return 2
    try:
        report = check_file(path, os.environ, extra=EXTRA, terms=TERMS)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 2
    if args.json:
        for line in report.rows():
            print(json.dumps(line))
    else:
        print(report)
    bad = bool(report.faults) or (args.strict and bool(report.warnings))
    return 1 if bad else 0
