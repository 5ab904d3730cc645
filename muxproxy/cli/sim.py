"""`muxproxy sim`: the simulated providers."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Everything after `sim` is the simulator's own."""
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="see `muxproxy sim -- --help`")
    parser.prefix_chars = "\0"


def main(args: argparse.Namespace) -> int:
    """Run until interrupted."""
    from muxproxy import sim  # noqa: PLC0415

    return sim.main([word for word in args.rest if word != "--"])
