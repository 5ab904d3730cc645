"""What calls came to, grouped: whole days and hours from the roll-up, the rest from the calls.

The rest is: hours that the range or a day's edge (in a zone off by minutes) cuts, calls younger
than the roll-up's watermark, and calls that came after it had passed. So figures are exact, but
for latencies (a histogram), at the price of the roll-up. Where retention has deleted the calls of
a cut hour, the whole hour counts to where it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from muxproxy.ledger.queries import Question, dims_where
from muxproxy.ledger.rollup import (
    AGGREGATE,
    COLUMNS,
    HISTOGRAM,
    HOUR_MS,
    ID_SHIFT,
    MERGE,
    SUMS,
    TOKENS,
    first_id,
    quantile_ms,
    unpack,
)
from muxproxy.money import dollars

GROUPS = {
    "provider": "d.provider",
    "model": "d.model",
    "key": "d.caller",
    "user": "d.user",
    "team": "d.team",
    "rule": "d.rule",
    "tag": "t.tag",
}
TIMES = ("day", "hour")
_BREATH = 256  # rows merged in one go


class CostQuery(msgspec.Struct, kw_only=True, frozen=True):
    """Times are Unix milliseconds, start <= time < end. `group_by`: names of GROUPS and TIMES.

    Days are those of the IANA zone `tz`; hours are UTC's, shown in `tz`. A call with several tags
    counts under each (but once in the totals). Filters: exact values; None: any.
    """

    start: int
    end: int
    group_by: tuple[str, ...] = ()
    tz: str = "UTC"
    limit: int = 1000
    offset: int = 0
    key: str | None = None
    user: str | None = None
    team: str | None = None
    tag: str | None = None
    provider: str | None = None
    model: str | None = None
    rule: str | None = None


class Range(msgspec.Struct, frozen=True):
    """A part of the time asked for: bucket number (its day), low <= x < high."""

    bucket: int
    low: int
    high: int


def check(query: CostQuery) -> str | None:
    """What is wrong with a query, for people; None for nothing."""
    for name in query.group_by:
        if name not in GROUPS and name not in TIMES:
            return f"group_by {name!r}: expected some of {', '.join((*GROUPS, *TIMES))}"
    if query.end <= query.start:
        return "the end must be after the start"
    try:
        ZoneInfo(query.tz)
    except (KeyError, ValueError, OSError):
        return f"tz {query.tz!r}: expected an IANA zone such as Europe/Berlin"
    return None


def days(start: int, end: int, zone: ZoneInfo) -> list[tuple[str, int, int]]:
    """(ISO date, first ms, end ms) of the zone's calendar days within [start, end)."""
    found = []
    day = datetime.fromtimestamp(start // 1000, zone).date()
    low = start
    while low < end:
        following = day + timedelta(days=1)
        midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
        high = min(end, int(midnight.timestamp()) * 1000)
        if high > low:
            found.append((day.isoformat(), low, high))
            low = high
        day = following
    return found


def by_days(hours: Sequence[Range]) -> tuple[list[Range], list[Range]]:
    """Ranges of hours as the UTC days they hold whole, and the hours left over."""
    whole: list[Range] = []
    rest: list[Range] = []
    for r in hours:
        first, last = -(-r.low // 24), r.high // 24
        if first >= last:
            rest.append(r)
            continue
        whole.append(Range(r.bucket, first, last))
        edges = (Range(r.bucket, r.low, first * 24), Range(r.bucket, last * 24, r.high))
        rest += [edge for edge in edges if edge.low < edge.high]
    return whole, rest


def split(spans: Sequence[tuple[int, int]], rolled: int, pruned: int) -> tuple[list[Range], ...]:
    """For spans of ms, one per bucket: ranges of hours to take from the roll-up, ranges of ids to
    take from `calls`, whatever their age."""
    whole: list[Range] = []
    direct: list[Range] = []
    kept = pruned >> ID_SHIFT  # ms from which calls are still there; a whole hour
    for bucket, (low, high) in enumerate(spans):
        first, last = -(-low // HOUR_MS), high // HOUR_MS
        if last * HOUR_MS < high and last * HOUR_MS < kept and last * HOUR_MS >= low:
            last += 1  # pruned: the hour counts wholly to where it began
        if first < last:
            whole.append(Range(bucket, first, last))
            start, end = first * HOUR_MS, last * HOUR_MS
            pieces = [(low, start), (end, high), (max(start, rolled >> ID_SHIFT), end)]
        else:
            pieces = [(low, high)]
        # The third piece starts at the watermark itself, which may lie within a millisecond.
        for i, (a, b) in enumerate(pieces):
            id_low = max(first_id(a), rolled) if i == 2 else first_id(max(a, kept))
            if a < b and id_low < first_id(b):
                direct.append(Range(bucket, id_low, first_id(b)))
    return whole, direct


def _with(ranges: Sequence[Range]) -> str:
    values = ", ".join(f"({r.bucket}, {r.low}, {r.high})" for r in ranges)
    return f"WITH b(n, low, high) AS (VALUES {values}) "


def _statement(source: str, bucket: str, sums: str, query: CostQuery) -> tuple[str, list[Any]]:
    """A grouped SELECT over `source`, which joins b with r (roll-up) or c (calls)."""
    alias = "r" if sums is MERGE else "c"
    names = [name for name in query.group_by if name in GROUPS]
    wanted = {"caller": query.key, **{n: getattr(query, n) for n in GROUPS if n != "key"}}
    where, params = dims_where(wanted, alias)
    joins = f" JOIN dims d ON d.id = {alias}.dim" if names else ""
    if "tag" in names:
        joins += f" LEFT JOIN dim_tags t ON t.dim = {alias}.dim"
    keys = [bucket, *(GROUPS[name] for name in names)]
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    grouping = ", ".join(str(i + 1) for i in range(len(keys)))
    sql = f"SELECT {', '.join(keys)}, {sums} FROM {source}{joins}{condition} GROUP BY {grouping}"
    return sql, params


def costs(query: CostQuery) -> Question[dict[str, Any]]:
    """The report: {start, end, tz, group_by, totals, count, rows}; see `_figures` for a row.

    `rows` are a page of `count`: by time, then the dearest first. The query must be in order
    (`check`).
    """
    zone = ZoneInfo(query.tz)
    hourly, daily = "hour" in query.group_by, "day" in query.group_by
    labels: list[str] = []
    spans = [(query.start, query.end)]
    if daily and not hourly:
        found = days(query.start, query.end, zone)
        labels, spans = [day for day, _, _ in found], [(low, high) for _, low, high in found]
    marks = yield "SELECT key, value FROM meta WHERE key IN ('ledger.rolled', 'ledger.pruned')", ()
    mark: dict[str, int] = dict(marks)
    whole, direct = split(spans, mark["ledger.rolled"], mark["ledger.pruned"])
    merged: dict[tuple[Any, ...], list[int]] = {}
    for sql, params in _statements(query, whole, direct, mark["ledger.rolled"]):
        rows = yield sql, tuple(params)
        width = len(rows[0]) - len(COLUMNS) if rows else 0
        for i, row in enumerate(rows):
            if i % _BREATH == _BREATH - 1:
                yield None
            key, sums = row[:width], row[width:]
            old = merged.get(key)
            merged[key] = (
                list(sums) if old is None else [x + y for x, y in zip(old, sums, strict=True)]
            )
    totals = _sum(merged.values())
    if "tag" in query.group_by:
        untagged = tuple(name for name in query.group_by if name != "tag")
        alone = msgspec.structs.replace(query, group_by=untagged, limit=0, offset=0)
        answer = yield from costs(alone)
        figures = answer["totals"]
    else:
        figures = _figures(totals)
    ordered = sorted(merged.items(), key=lambda item: _order(item, hourly or daily))
    page = ordered[query.offset : query.offset + query.limit]
    return {
        "start": _iso(query.start, zone),
        "end": _iso(query.end, zone),
        "tz": query.tz,
        "group_by": list(query.group_by),
        "totals": figures,
        "count": len(ordered),
        "rows": [{**_keys(query, key, labels, zone), **_figures(sums)} for key, sums in page],
    }


def _statements(
    query: CostQuery, whole: Sequence[Range], direct: Sequence[Range], rolled: int
) -> list[tuple[str, list[Any]]]:
    hourly = "hour" in query.group_by
    by_id = f"(c.id >> {ID_SHIFT}) / {HOUR_MS}"
    found: list[tuple[str, list[Any]]] = []
    day_ranges, hour_ranges = ([], whole) if hourly else by_days(whole)
    for table, ranges in (("rollup_days", day_ranges), ("rollup", hour_ranges)):
        if ranges:
            source = f"b CROSS JOIN {table} r ON r.slot >= b.low AND r.slot < b.high"
            sql, params = _statement(source, "r.slot" if hourly else "b.n", MERGE, query)
            found.append((_with(ranges) + sql, params))
    if whole:
        source = (
            f"late l CROSS JOIN calls c ON c.id = l.id AND l.id < {rolled}"
            f" JOIN b ON {by_id} >= b.low AND {by_id} < b.high"
        )
        sql, params = _statement(source, by_id if hourly else "b.n", AGGREGATE, query)
        found.append((_with(whole) + sql, params))
    if direct:
        source = "b CROSS JOIN calls c ON c.id >= b.low AND c.id < b.high"
        sql, params = _statement(source, by_id if hourly else "b.n", AGGREGATE, query)
        found.append((_with(direct) + sql, params))
    return found


def _sum(vectors: Any) -> list[int]:
    total = [0] * len(COLUMNS)
    for vector in vectors:
        total = [x + y for x, y in zip(total, vector, strict=True)]
    return total


def _order(item: tuple[tuple[Any, ...], list[int]], timed: bool) -> tuple[Any, ...]:
    key, sums = item
    cost, requests = sums[SUMS.index("cost")], sums[0]
    return (key[0] if timed else 0, -cost, -requests, tuple(str(k) for k in key[1:]))


def _iso(ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone).isoformat()


def _keys(
    query: CostQuery, key: tuple[Any, ...], labels: Sequence[str], zone: ZoneInfo
) -> dict[str, Any]:
    values = iter(key[1:])
    found: dict[str, Any] = {}
    for name in query.group_by:
        if name == "hour":
            found[name] = _iso(key[0] * HOUR_MS, zone)
        elif name == "day":
            found[name] = labels[key[0]] if labels else _iso(key[0] * HOUR_MS, zone)[:10]
    for name in query.group_by:
        if name in GROUPS:
            found[name] = next(values)
    return found


def _figures(sums: Sequence[int]) -> dict[str, Any]:
    """requests, errors, refused, abandoned (client left), unpriced (cost unknown), free (cost $0),
    tokens by kind, input_total, output_total, tools, bytes, cost_usd, overrun_usd,
    cache_hit_rate (of all prompt tokens, None without any), p50_ms, p95_ms (None without calls)."""
    v = dict(zip(COLUMNS, sums, strict=True))
    prompt = v["input"] + v["cache_read"] + v["cache_write_5m"] + v["cache_write_1h"]
    latencies = unpack([v[name] for name in HISTOGRAM])
    return {
        "requests": v["requests"],
        "errors": v["errors"],
        "refused": v["refused"],
        "abandoned": v["abandoned"],
        "unpriced": v["unpriced"],
        "free": v["free"],
        **{name: v[name] for name in TOKENS},
        "input_total": prompt,
        "output_total": v["output"] + v["reasoning"],
        "tools": v["tools"],
        "bytes_in": v["bytes_in"],
        "bytes_out": v["bytes_out"],
        "cost_usd": dollars(v["cost"]),
        "overrun_usd": dollars(v["overrun"]),
        "cache_hit_rate": round(v["cache_read"] / prompt, 4) if prompt else None,
        "p50_ms": quantile_ms(latencies, 0.5),
        "p95_ms": quantile_ms(latencies, 0.95),
    }
