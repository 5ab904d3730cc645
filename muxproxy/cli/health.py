"""`muxproxy health`: is a running muxproxy ready? For containers and scripts."""

from __future__ import annotations

import argparse
import json
import sys

from muxproxy.cli import local


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask."""
    local.arguments(parser)


def main(args: argparse.Namespace) -> int:
    """0 ready, 1 not ready or not there, 2 the call was wrong."""
    place = local.find(args, control=False)
    if place is None:
        return 2
    try:
        status, body = place.get("/ready")
    except local.Unanswered as error:
        print(error, file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(body))
    else:
        print(body.get("status", "?"), *(f"{k}={v}" for k, v in body.items() if k != "status"))
    return 0 if status == 200 else 1
