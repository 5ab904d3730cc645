"""`muxproxy health`: is a running muxproxy ready? For containers and scripts."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys

from muxproxy.cli import config_file


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask."""
    config_file.argument(parser)
    parser.add_argument("--address", metavar="H:P", help="default: the configuration's listen")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def main(args: argparse.Namespace) -> int:
    """0 ready, 1 not ready or not there."""
    address = args.address or os.environ.get("MUXPROXY_LISTEN")
    if address is None:
        config = config_file.read(args.config)
        if config is None:
            return 2
        address = config.listen if isinstance(config.listen, str) else config.listen.address
    host, _, port = address.rpartition(":")
    if host in ("", "0.0.0.0", "[::]"):
        host = "127.0.0.1"
    try:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=args.timeout)
        connection.request("GET", "/ready", headers={"host": "localhost"})
        response = connection.getresponse()
        body = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"nothing answers at {address}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(body))
    else:
        print(body.get("status", "?"), *(f"{k}={v}" for k, v in body.items() if k != "status"))
    return 0 if response.status == 200 else 1
