"""`muxproxy env`: the variables that point programs at the muxproxy configured here.

eval "$(muxproxy env)"
"""

from __future__ import annotations

import argparse
import json
import os
import shlex

from muxproxy.cli import config_file, local
from muxproxy.cli.client_env import KEYS, client_environment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which address."""
    config_file.argument(parser)
    parser.add_argument("--url", metavar="URL", help="default: where the configuration listens")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def main(args: argparse.Namespace) -> int:
    """Print them; a key variable only where none is set, for SDKs do not start without one."""
    url = args.url
    if url is None:
        config = config_file.read(args.config)
        if config is None:
            return 2
        url = local.base_url(config)
    found = client_environment(url.rstrip("/").removesuffix("/v1"), env=os.environ)
    found |= {name: "muxproxy" for name in KEYS if not os.environ.get(name)}
    if args.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"export {name}={shlex.quote(value)}")
    return 0
