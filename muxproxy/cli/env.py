"""`muxproxy env`: the variables that point programs at the muxproxy configured here.

eval "$(muxproxy env)"
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys

from muxproxy.cli import config_file, local
from muxproxy.cli.client_env import KEYS, client_environment
from muxproxy.config.model import Config


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which address."""
    config_file.argument(parser)
    parser.add_argument("--url", metavar="URL", help="default: where the configuration listens")
    parser.add_argument(
        "--proxy", action="store_true", help="HTTPS_PROXY and trust in the local CA as well"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def main(args: argparse.Namespace) -> int:
    """Print them; a key variable only where none is set, for SDKs do not start without one."""
    url = args.url
    trust = None
    if url is None or args.proxy:
        config = config_file.read(args.config)
        if config is None:
            return 2
        url = url or local.base_url(config)
        if args.proxy:
            trust = trusted(config)
            if trust is None:
                return 2
    found = client_environment(url.rstrip("/").removesuffix("/v1"), env=os.environ, trust=trust)
    found |= {name: "muxproxy" for name in KEYS if not os.environ.get(name)}
    if args.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def trusted(config: Config) -> dict[str, str] | None:
    """What makes programs trust the local CA, made where there is none; None: it was told why
    that cannot be."""
    from muxproxy.ca.authority import BrokenAuthority  # noqa: PLC0415 -- cryptography: only now
    from muxproxy.cli.ca import ready  # noqa: PLC0415

    try:
        return ready(config)
    except BrokenAuthority as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    return None
