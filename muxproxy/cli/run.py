"""`muxproxy run -- COMMAND ...`: any program behind a muxproxy of its own, with a budget.

The sidecar listens on a free port and lives as long as the program. Terminal, signals and exit
code are the program's; what it cost is told on stderr at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from muxproxy import logs
from muxproxy.cli import config_file, receipt
from muxproxy.cli.client_env import KEYS, OTHER_KEYS, client_environment
from muxproxy.cli.demo import Demo
from muxproxy.cli.env import trusted
from muxproxy.cli.init import starter
from muxproxy.config import env as layers
from muxproxy.config import units
from muxproxy.config.env import Flags
from muxproxy.config.faults import ConfigError
from muxproxy.config.load import load_file
from muxproxy.config.model import Auth, Budget, Config
from muxproxy.ledger import LedgerError
from muxproxy.runtime import Runtime
from muxproxy.server import open_doors
from muxproxy.watching import Watcher

BUDGET = "run"
# Passed on to the program. A terminal's Ctrl-C and Ctrl-\\ reach it by themselves.
_PASSED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_TYPED = (signal.SIGINT, signal.SIGQUIT)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The budget, the configuration, and the command."""
    config_file.argument(parser)
    parser.add_argument("--budget", metavar="$N", help='most that this run may spend, e.g. "$2"')
    parser.add_argument("--state", metavar="FILE", help="the ledger (default: the configuration's)")
    parser.add_argument("--demo", action="store_true", help="simulated providers: nothing is spent")
    parser.add_argument(
        "--proxy",
        action="store_true",
        help="be its HTTPS_PROXY too, with the local CA: for programs without a base URL",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="no receipt at the end")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")


def main(args: argparse.Namespace) -> int:
    """The command's own exit code (128 + n when signal n ended it); 2 when it cannot start."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words or shutil.which(words[0]) is None:
        missing = f"{words[0]}: no such command" if words else "name a command after --"
        print(f"muxproxy run: {missing}", file=sys.stderr)
        return 127 if words else 2
    try:
        if args.budget is not None:
            units.amount(args.budget)
    except ValueError as error:
        print(f"--budget: {error}", file=sys.stderr)
        return 2
    run = f"run-{secrets.token_hex(4)}"
    demo = Demo() if args.demo else None
    with tempfile.TemporaryDirectory(prefix="muxproxy-") as scratch:
        try:
            return uvloop.run(_run(args, words, run, Path(scratch), demo))
        except (ConfigError, LedgerError, OSError, ValueError) as error:
            print(f"muxproxy run: {error}", file=sys.stderr)
            return 2
        finally:
            if demo is not None:
                demo.stop()


async def _run(
    args: argparse.Namespace, words: list[str], run: str, scratch: Path, demo: Demo | None
) -> int:
    runtime, keys = await _started(args, run, scratch, demo)
    try:
        doors = await open_doors(runtime)
        watcher = Watcher(runtime) if runtime.path is not None else None
        try:
            signals = _Signals()
            trust = trusted(runtime.config) if args.proxy else None
            if args.proxy and trust is None:
                return 2
            child = await _child(args, words, run, doors[0].port, keys, trust)
            signals.pass_to(child)
            code = await child.wait()
        finally:
            if watcher is not None:
                await watcher.aclose()
            for door in doors:
                door.abort_all()
            await runtime.in_flight.cancel_all()
            for door in doors:
                await door.aclose()
    finally:
        state = runtime.ledger.path
        await runtime.aclose()
    if not args.quiet:
        print(receipt.of_run(state, run, args.budget), file=sys.stderr)
    return 128 - code if code < 0 else code


async def _started(
    args: argparse.Namespace, run: str, scratch: Path, demo: Demo | None
) -> tuple[Runtime, frozenset[str]]:
    """The sidecar, its ledger open, and the providers' keys. Books that another muxproxy keeps are
    left alone."""
    env = {k: v for k, v in os.environ.items() if k not in (layers.LISTEN, "ALLOWED_API_KEYS")}
    path = config_file.find(args.config)
    if path is None:
        path = str(scratch / "muxproxy.yaml")
        Path(path).write_text(starter(env)[0])
        print("muxproxy run: no configuration file, using the starter of `init`", file=sys.stderr)
    flags = Flags(state=args.state)
    config = load_file(path, env, flags).config
    given = (key for p in config.providers.values() for key in (p.api_key, *p.api_keys))
    keys = frozenset(key for key in given if key)
    overrides: dict[str, Any] = demo.overrides(path, env, flags) if demo is not None else {}
    overrides |= _overrides(config, run, args.budget)
    logs.setup(config.log.format, "error")
    try:
        return await _start(path, env, flags, overrides), keys
    except LedgerError as error:
        if args.state is not None:
            raise
        print(f"muxproxy run: {error}: this run keeps books of its own", file=sys.stderr)
        flags = Flags(state=str(scratch / "run.db"))
        return await _start(path, env, flags, overrides), keys


async def _start(
    path: str, env: dict[str, str], flags: Flags, overrides: dict[str, Any]
) -> Runtime:
    runtime = Runtime.from_file(path, env, flags, overrides)
    await runtime.start()
    return runtime


def _overrides(config: Config, run: str, budget: str | None) -> dict[str, Any]:
    """A door of its own on this machine, open, and every call within this run."""
    found: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "admin": None,
        "auth": Auth(mode="open", run=run, user_header=config.auth.user_header),
    }
    if budget is not None:
        own = Budget(name=f"{BUDGET} {run}", per="run", limit=budget, window="run")
        found["budgets"] = [*config.budgets, own]
    return found


async def _child(
    args: argparse.Namespace,
    words: list[str],
    run: str,
    port: int,
    keys: frozenset[str],
    trust: dict[str, str] | None,
) -> asyncio.subprocess.Process:
    url = f"http://127.0.0.1:{port}"
    env = dict(os.environ)
    if args.budget is not None:
        # With a provider's key in hand a program could go around the budget.
        env = {k: v for k, v in env.items() if k not in (*KEYS, *OTHER_KEYS) and v not in keys}
        env |= client_environment(url, key=f"muxproxy-{run}", env=os.environ, trust=trust)
    else:
        missing = {name: "muxproxy" for name in KEYS if not env.get(name)}
        env |= {**client_environment(url, env=os.environ, trust=trust), **missing}
    return await asyncio.create_subprocess_exec(*_pointed(words, url), env=env)


def _pointed(words: list[str], url: str) -> list[str]:
    """Codex reads no variable: it is told on its command line."""
    if os.path.basename(words[0]) == "codex":
        return [words[0], "-c", f'openai_base_url="{url}/v1"', *words[1:]]
    return words


class _Signals:
    """Passes signals on to the program; those that come before it is there, once it is."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._early: list[signal.Signals] = []
        loop = asyncio.get_running_loop()
        typed = os.isatty(0)  # then the terminal tells the program itself
        for number in (*_PASSED, *_TYPED):
            passed = number in _PASSED or not typed
            loop.add_signal_handler(number, self._send if passed else _ignore, number)

    def pass_to(self, child: asyncio.subprocess.Process) -> None:
        """The program is there."""
        self._child = child
        for number in self._early:
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        if self._child is None:
            self._early.append(number)
        elif self._child.returncode is None:
            self._child.send_signal(number)


def _ignore(number: signal.Signals) -> None:
    del number
