"""`muxproxy status`: how the running muxproxy is doing, once."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from muxproxy.cli import local, view


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask."""
    local.arguments(parser)


def main(args: argparse.Namespace) -> int:
    """0 ready and its files in force, 1 something is wrong or it is not there, 2 a wrong call."""
    place = local.find(args, control=True)
    if place is None:
        return 2
    try:
        code, found = place.get("/v1/status")
    except local.Unanswered as error:
        print(error, file=sys.stderr)
        return 1
    if code != 200:
        print(found.get("error", {}).get("message", found), file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found))
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else 10_000
        print("\n".join(view.page(found, None, width, 1000, view.Paint(terminal))))
    return 0 if found["ready"] and found["config"]["current"] else 1
