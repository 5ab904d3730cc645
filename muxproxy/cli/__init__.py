"""The command line. `main(argv) -> int` is a function; only `run` exits.

Exit codes: 0 good, 1 the answer is no, 2 the call was wrong. Each command is a module of its own,
imported when it is asked for, so that `serve` starts without what the others need.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from muxproxy import __version__

# command -> (module, what `muxproxy --help` says)
COMMANDS = {
    "serve": ("serve", "serve the proxy"),
    "sim": ("sim", "simulated providers, for trying out, tests and benchmarks"),
    "check": ("check", "check a configuration, all faults at once"),
    "status": ("status", "how the running muxproxy is doing"),
    "top": ("top", "the same, live"),
    "run": ("run", "run a program behind a muxproxy of its own, with a budget"),
    "env": ("env", "the variables that point programs here, for a shell"),
    "replay": ("replay", "what another configuration had done to recorded calls"),
    "explain": ("explain", "what would happen to a request, and why"),
    "calls": ("calls", "the calls in the ledger, newest first"),
    "usage": ("usage", "costs and tokens from the ledger, grouped"),
    "budgets": ("budgets", "budgets: limit, spent, held, reset"),
    "prices": ("prices", "the price table: show a price, refresh the table"),
    "recost": ("recost", "re-price recorded calls at the prices in force now"),
    "ca": ("ca", "the local CA: make, renew, show it, and what lets programs trust it"),
    "init": ("init", "write a commented starter configuration for the keys found"),
    "route": ("route", "score prompts by a strategy, without calling anybody"),
    "train": ("train", "fit the classifier to labelled prompts"),
    "eval": ("eval", "what a strategy is worth on labelled prompts"),
    "schema": ("schema", "the JSON Schema of the configuration"),
    "health": ("health", "ask a running muxproxy whether it is ready"),
}


class Command(Protocol):
    """A command's module."""

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def main(self, args: argparse.Namespace) -> int: ...


def _load(name: str) -> Command:
    return cast(Command, import_module(f"muxproxy.cli.{COMMANDS[name][0]}"))


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="muxproxy", description="An LLM gateway that runs beside one app."
    )
    parser.add_argument("--version", action="version", version=f"muxproxy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, (_, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == wanted:
            _load(name).arguments(sub)
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return _load(args.command).main(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `muxproxy calls | head`
        sys.stderr.close()
        return 0


def run() -> None:
    """The installed command."""
    sys.exit(main(sys.argv[1:]))
