"""The roll-up: what a call adds to its (hour, dim) and (UTC day, dim) rows, as SQL text.

Latencies are a histogram of 24 buckets, four per decade from 1 ms to 1,000 s, two buckets to an
integer column (31 bits each): SUM() then adds histograms, at a sixth of the columns' cost.
"""

from __future__ import annotations

from collections.abc import Sequence

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ID_SHIFT = 20  # an id is Unix milliseconds << 20 | counter

BUCKETS = 24
_LANE = 31
_LANE_MASK = (1 << _LANE) - 1
# Upper bounds in microseconds: 1.778 ms ... 1,000 s. The last bucket takes everything above.
BOUNDS = tuple(round(1000 * 10 ** ((i + 1) / 4)) for i in range(BUCKETS))

TOKENS = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "images",
)
COUNTS = ("requests", "errors", "refused", "abandoned", "unpriced", "free")
SUMS = (*COUNTS, *TOKENS, "tools", "cost", "overrun", "bytes_in", "bytes_out")
HISTOGRAM = tuple(f"h{i}" for i in range(BUCKETS // 2))
COLUMNS = (*SUMS, *HISTOGRAM)

# Of one row of `calls` (alias c). A call is priced, unpriced or free only if it used something.
UNPRICED = "(c.cost IS NULL AND c.input IS NOT NULL)"
FREE = "(c.cost IS 0 AND c.input IS NOT NULL)"


def _lane_pair(i: int) -> str:
    low, middle, high = BOUNDS[2 * i - 1] if i else -1, BOUNDS[2 * i], BOUNDS[2 * i + 1]
    top = "" if i == BUCKETS // 2 - 1 else f"c.total_us <= {high} AND "
    lane = f"CASE WHEN c.total_us <= {middle} THEN 1 ELSE {1 << _LANE} END"
    return f"sum(CASE WHEN {top}c.total_us > {low} AND c.end <> 'refused' THEN {lane} ELSE 0 END)"


_EXPRESSIONS: dict[str, str] = {
    "requests": "count(*)",
    "errors": (
        "sum(c.end IN ('error', 'upstream_died')"
        " OR (c.status >= 400 AND c.end NOT IN ('refused', 'client_left')))"
    ),
    "refused": "sum(c.end = 'refused')",
    "abandoned": "sum(c.end = 'client_left')",
    "unpriced": f"sum{UNPRICED}",
    "free": f"sum{FREE}",
    **{name: f"sum(ifnull(c.{name}, 0))" for name in TOKENS},
    "tools": "sum(ifnull(c.requests, 0))",
    "cost": "sum(ifnull(c.cost, 0))",
    "overrun": "sum(c.overrun)",
    "bytes_in": "sum(c.bytes_in)",
    "bytes_out": "sum(c.bytes_out)",
    **{name: _lane_pair(i) for i, name in enumerate(HISTOGRAM)},
}
AGGREGATE = ", ".join(_EXPRESSIONS[name] for name in COLUMNS)
MERGE = ", ".join(f"sum(r.{name})" for name in COLUMNS)


def first_id(ms: int) -> int:
    """The smallest id of that Unix millisecond."""
    return ms << ID_SHIFT


def _add(where: str) -> str:
    updates = ", ".join(f"{name} = {name} + excluded.{name}" for name in COLUMNS)
    return "".join(
        f"INSERT INTO {table} (slot, dim, {', '.join(COLUMNS)})"
        f" SELECT (c.id >> {ID_SHIFT}) / {span}, c.dim, {AGGREGATE} FROM calls c WHERE {where}"
        f" GROUP BY 1, 2 ON CONFLICT (slot, dim) DO UPDATE SET {updates};"
        for table, span in (("rollup", HOUR_MS), ("rollup_days", DAY_MS))
    )


def advance_script(low: int, high: int) -> str:
    """One transaction that rolls up the calls with low <= id < high and moves the watermark.

    What stands in `late` is left to `late_script`: such a row may be written by the loop between
    the moment it learns of the new watermark and this transaction. Does nothing when the
    watermark is not `low`: somebody else has moved it.
    """
    guard = f"(SELECT value FROM meta WHERE key = 'ledger.rolled') = {low}"
    added = _add(
        f"c.id >= {low} AND c.id < {high} AND c.id NOT IN (SELECT id FROM late) AND {guard}"
    )
    moved = f"UPDATE meta SET value = {high} WHERE key = 'ledger.rolled' AND value = {low};"
    return f"BEGIN IMMEDIATE; {added} {moved} COMMIT;"


def late_script(ids: Sequence[int]) -> str:
    """One transaction that adds calls that came after the watermark had passed them."""
    listed = ", ".join(map(str, ids))
    added = _add(f"c.id IN (SELECT id FROM late WHERE id IN ({listed}))")
    return f"BEGIN IMMEDIATE; {added} DELETE FROM late WHERE id IN ({listed}); COMMIT;"


def unpack(lanes: Sequence[int]) -> list[int]:
    """Counts per bucket of the summed histogram columns."""
    counts: list[int] = []
    for pair in lanes:
        counts += (pair & _LANE_MASK, pair >> _LANE)
    return counts


def quantile_ms(counts: Sequence[int], q: float) -> float | None:
    """The q-quantile in milliseconds, interpolated within its bucket; None for no calls."""
    total = sum(counts)
    if not total:
        return None
    rank, seen = q * total, 0
    for i, count in enumerate(counts):
        if count and seen + count >= rank:
            low = BOUNDS[i - 1] if i else 0
            return round((low + (BOUNDS[i] - low) * (rank - seen) / count) / 1000, 1)
        seen += count
    return BOUNDS[-1] / 1000
