"""`muxproxy sim`: the simulated providers as a process."""

import argparse
import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path

import uvloop

from muxproxy.sim.script import ScriptError, load
from muxproxy.sim.server import start

# A process meant to take load for hours must not remember every request.
_KEPT_REQUESTS = 1000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muxproxy sim", description="Simulated LLM providers: every dialect on one socket."
    )
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--script", type=Path, metavar="FILE", help="queued replies, JSON or YAML")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="recorded exchanges")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE")
    parser.add_argument("--tls-key", type=Path, metavar="FILE")
    parser.add_argument("--seed", default="sim", help="other seed, other words")
    parser.add_argument("--keep", type=int, default=_KEPT_REQUESTS, help="requests remembered")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ScriptError(f"--listen {text!r} is no HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _serve(options: argparse.Namespace) -> None:
    host, port = _address(options.listen)
    context: ssl.SSLContext | None = None
    if options.tls_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.recordings is not None and not options.recordings.is_dir():
        raise ScriptError(f"--recordings {options.recordings} is no folder")
    entries = load(options.script) if options.script is not None else []
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = await start(
        host,
        port,
        recordings=options.recordings,
        seed=options.seed,
        context=context,
        keep_requests=options.keep,
    )
    server.load(entries)
    if not options.quiet:
        print(json.dumps({"url": server.url, "pid": os.getpid()}), flush=True)
    try:
        await stop.wait()
    finally:
        await server.aclose()


def main(argv: list[str]) -> int:
    """Serves until SIGINT or SIGTERM. 0: stopped by one; 2: the call was wrong."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as error:  # argparse has said why
        return int(error.code or 0)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except (ScriptError, OSError) as error:
        print(f"muxproxy sim: {error}", file=sys.stderr)
        return 2
    return 0
