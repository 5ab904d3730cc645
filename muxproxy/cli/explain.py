"""`muxproxy explain`: what would happen to a request, or happened to a call, and why."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from muxproxy import offline
from muxproxy.cli import config_file, explain_tree, ledger_file
from muxproxy.config.model import Config, Key
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Receipt
from muxproxy.ledger import LedgerError
from muxproxy.ledger.reports import Reader, receipt_json
from muxproxy.money import dollars
from muxproxy.proxy.explaining import Asked, explain
from muxproxy.replaying import Replay

_ID = re.compile(r"[0-9a-f]{16}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which request, and who asks."""
    ledger_file.arguments(parser)
    parser.add_argument(
        "what", metavar="FILE | - | ID", help="a request's body, or a call's x-muxproxy-id"
    )
    parser.add_argument("--path", metavar="PATH", help="default: /v1/chat/completions or alike")
    parser.add_argument(
        "--header", "-H", action="append", default=[], metavar="'NAME: VALUE'", help="repeatable"
    )
    parser.add_argument("--caller", metavar="NAME", help="ask as this key of keys:")


def main(args: argparse.Namespace) -> int:
    """0 it would be sent, 1 it would be refused (or no such call), 2 the call was wrong."""
    config = config_file.read(args.config)
    if config is None:
        return 2
    if _ID.fullmatch(args.what) and not Path(args.what).exists():
        return _past(args, config)
    try:
        raw = sys.stdin.read() if args.what == "-" else Path(args.what).read_text()
        asked = _asked(raw, args)
        caller = _caller(config, args.caller)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = _spent(args, config)
    try:
        found = asyncio.run(_explain(config, asked, caller, rows))
    except (MuxError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json else explain_tree.render(found))
    return 0 if found["outcome"]["status"] == 200 else 1


async def _explain(
    config: Config, asked: Asked, caller: Caller | None, rows: Any
) -> dict[str, Any]:
    return await explain(offline.proxy(config, os.environ, rows, caller), asked)


async def _again(config: Config, receipt: Receipt, rows: Any) -> dict[str, Any] | None:
    replay = Replay(offline.proxy(config, os.environ, rows), config)
    outcome = next(replay.outcomes([receipt]), None)
    if outcome is None:
        return None
    return {
        "rules": [
            {**msgspec.structs.asdict(one), "shadow": False} for one in replay.verdicts(receipt)
        ],
        "goes_to": outcome.now,
        "cost_usd": dollars(outcome.now_cost),
        "reason": outcome.reason,
        "undecided": outcome.undecided,
    }


def _asked(raw: str, args: argparse.Namespace) -> Asked:
    """Raises ValueError saying what is wrong."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = raw
    headers: dict[str, str] = {}
    for line in args.header:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"-H expects 'NAME: VALUE', got {line!r}")
        headers[name.strip().lower()] = value.strip()
    return Asked(path=args.path or _path(body), headers=headers, body=body)


def _path(body: object) -> str:
    """The path that a body of this shape is usually sent to."""
    if not isinstance(body, dict):
        return "/v1/chat/completions"
    if "contents" in body:
        return "/v1beta/models/gemini-2.5-flash:generateContent"
    if "input" in body and "messages" not in body:
        return "/v1/embeddings" if "embed" in str(body.get("model")) else "/v1/responses"
    if "messages" in body and (str(body.get("model")).startswith("claude") or "system" in body):
        return "/v1/messages"
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"


def _caller(config: Config, name: str | None) -> Caller | None:
    if name is None:
        return None
    key: Key | None = next((k for k in config.keys if k.name == name), None)
    if key is None:
        known = ", ".join(k.name for k in config.keys) or "none"
        raise ValueError(f"no key is named {name!r} in the configuration (keys: {known})")
    return Caller(
        key=key.name,
        user=key.user,
        team=key.team,
        tags=tuple(key.tags),
        models=None if key.models is None else tuple(key.models),
        ours=True,
    )


def _spent(args: argparse.Namespace, config: Config) -> Any:
    """The books' sums, or nothing where there are no books yet."""
    try:
        with Reader(args.state or os.environ.get("MUXPROXY_STATE") or config.state) as reader:
            return reader.usage()
    except LedgerError:
        return ()


def _past(args: argparse.Namespace, config: Config) -> int:
    """What the books say about a call, and the configuration as it is now."""
    reader = ledger_file.open_reader(args)
    if reader is None:
        return 2
    with reader:
        receipt = reader.call(int(args.what, 16))
    if receipt is None:
        print(f"no call has the id {args.what}", file=sys.stderr)
        return 1
    found = receipt_json(receipt)
    if receipt.features is not None:
        found["ask"] = msgspec.json.decode(receipt.features)
        found["again"] = asyncio.run(_again(config, receipt, _spent(args, config)))
    print(json.dumps(found) if args.json else explain_tree.past(found))
    return 0
