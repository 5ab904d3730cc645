"""`muxproxy schema`: the JSON Schema of the configuration, for editors and CI."""

from __future__ import annotations

import argparse
import sys

from muxproxy.config.schema import text


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Print the schema."""
    del args
    sys.stdout.write(text())
    return 0
