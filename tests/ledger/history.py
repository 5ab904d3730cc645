"""Made-up history: many calls, written fast, and the plain way to add them up."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from muxproxy.exchange import Receipt, Usage
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.rollup import BOUNDS, TOKENS
from muxproxy.ledger.writer import Writer

HOUR = 3_600_000
NOON = 1_760_000_400_000  # 2025-10-09 09:00 UTC


def made_up(seed: int, count: int, start: int, span: int) -> list[Receipt]:
    """`count` calls at random times of [start, start + span) ms, in the order of their ids."""
    chance = random.Random(seed)
    times = sorted(chance.randrange(start, start + span) for _ in range(count))
    return [_one(chance, (ms << 20) + i, ms) for i, ms in enumerate(times)]


def _one(chance: random.Random, id: int, ms: int) -> Receipt:
    end = chance.choices(
        ["finished", "client_left", "refused", "error", "upstream_died"], [90, 4, 3, 2, 1]
    )[0]
    used = end != "refused"
    return Receipt(
        id=id,
        time_ms=ms,
        caller=f"key{chance.randrange(6)}",
        user=chance.choice([None, "ann", "bob"]),
        team=chance.choice([None, "search"]),
        tags=chance.choice([(), (), ("a",), ("a", "b")]),
        rule=chance.choice(["default", "short"]),
        provider=chance.choice(["openai", "anthropic"]),
        model=chance.choice(["small", "large"]),
        path="/v1/chat/completions",
        status=402 if end == "refused" else 200,
        end=end,
        usage=Usage(
            input=chance.randrange(2000),
            cache_read=chance.choice([None, 500]),
            output=chance.randrange(500),
            reasoning=chance.choice([None, 7]),
        )
        if used
        else None,
        cost=chance.choice([None, 0, chance.randrange(1, 10**9)]) if used else None,
        total_us=chance.randrange(500, 30_000_000),
    )


def write(con: sqlite3.Connection, receipts: Iterable[Receipt], floor: int = 0) -> None:
    """In one transaction, as the ledger does."""
    writer = Writer(con)
    con.execute("BEGIN IMMEDIATE")
    writer.write((), [(r, (), None) for r in receipts], (), floor)
    con.execute("COMMIT")


def _keys(r: Receipt, query: CostQuery) -> list[tuple[Any, ...]]:
    zone = ZoneInfo(query.tz)
    fields = {
        "provider": r.provider,
        "model": r.model,
        "key": r.caller,
        "user": r.user,
        "team": r.team,
        "rule": r.rule,
        "day": datetime.fromtimestamp((r.id >> 20) / 1000, zone).date().isoformat(),
        "hour": datetime.fromtimestamp((r.id >> 20) // HOUR * 3600, zone).isoformat(),
    }
    tags: Sequence[str | None] = (r.tags or (None,)) if "tag" in query.group_by else (None,)
    return [
        tuple(tag if name == "tag" else fields[name] for name in query.group_by) for tag in tags
    ]


def _wanted(r: Receipt, query: CostQuery) -> bool:
    return (
        query.start <= r.id >> 20 < query.end
        and query.tag in (None, *r.tags)
        and all(
            getattr(query, "key" if name == "caller" else name) in (None, getattr(r, name))
            for name in ("caller", "user", "team", "provider", "model", "rule")
        )
    )


def added_up(
    receipts: Iterable[Receipt], query: CostQuery
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Group -> exact figures, by going through every receipt."""
    groups: dict[tuple[Any, ...], list[Receipt]] = defaultdict(list)
    for r in receipts:
        if _wanted(r, query):
            for key in _keys(r, query):
                groups[key].append(r)
    return {key: _figures(found) for key, found in groups.items()}


def _figures(found: list[Receipt]) -> dict[str, Any]:
    used = [r.usage for r in found if r.usage is not None]
    figures: dict[str, Any] = {
        "requests": len(found),
        "refused": sum(r.end == "refused" for r in found),
        "abandoned": sum(r.end == "client_left" for r in found),
        "errors": sum(r.end in ("error", "upstream_died") for r in found),
        "unpriced": sum(r.cost is None and r.usage is not None for r in found),
        "free": sum(r.cost == 0 and r.usage is not None for r in found),
        "cost_usd": sum(r.cost or 0 for r in found) / 1e9,
        "input_total": sum(u.input_total for u in used),
        "output_total": sum(u.output_total for u in used),
    }
    for name in TOKENS:
        figures[name] = sum(getattr(u, name) or 0 for u in used)
    return figures


def bucket(us: int) -> int:
    """Which latency bucket."""
    return next((i for i, bound in enumerate(BOUNDS) if us <= bound), len(BOUNDS) - 1)
