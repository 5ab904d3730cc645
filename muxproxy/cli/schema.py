"""`muxproxy schema`: the JSON Schema of the configuration, for editors and CI."""

from __future__ import annotations

import argparse
import json
import sys

from muxproxy.config.schema import schema


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Print the schema."""
    del args
    json.dump(schema(), sys.stdout, indent=2)
    print()
    return 0
