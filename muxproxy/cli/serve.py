"""`muxproxy serve`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from muxproxy import logs
from muxproxy.cli import config_file
from muxproxy.cli.demo import Demo
from muxproxy.config.env import Flags
from muxproxy.config.faults import ConfigError
from muxproxy.ledger import LedgerError
from muxproxy.runtime import Runtime
from muxproxy.server import announce_text, serve


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to serve, and where."""
    config_file.argument(parser)
    parser.add_argument("--listen", "-l", metavar="H:P", help="address, over the configuration's")
    parser.add_argument("--state", metavar="FILE", help="the ledger's file, likewise")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="serve against simulated providers started beside it: no key, no network",
    )


def main(args: argparse.Namespace) -> int:
    """Serve until stopped. 2 when the configuration or the address cannot be used."""
    demo: Demo | None = None
    try:
        env = dict(os.environ)
        flags = Flags(listen=args.listen, state=args.state)
        path = config_file.find(args.config)
        overrides: dict[str, Any] | None = None
        if args.demo:
            demo = Demo()
            overrides = demo.overrides(path, env, flags)
        runtime = Runtime.from_file(path, env, flags, overrides)
        config = runtime.config
        logs.setup(config.log.format, config.log.level)
        for warning in runtime.warnings:
            if demo is not None and ".api_key: " in warning:
                continue  # no key is needed there
            print(f"warning: {warning}", file=sys.stderr)
        if path is None:
            print("no configuration file: serving the defaults", file=sys.stderr)
        if demo is not None:
            demo.announce()
        return serve(runtime, announce_text)
    except ConfigError as error:
        print(error, file=sys.stderr)
    except (LedgerError, OSError, ValueError) as error:
        print(f"muxproxy cannot start: {error}", file=sys.stderr)
    finally:
        if demo is not None:
            demo.stop()
    return 2
