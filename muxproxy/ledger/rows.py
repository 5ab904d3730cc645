"""Receipts and holds as rows, and back.

What SQL sums or filters by has a column of its own; the rest of a receipt is one JSON array
(`more`), because every bound parameter costs more than its bytes do. Parameters are exact ints,
strs and bytearrays and never None: sqlite3 takes ten times as long to bind anything else. So a
row's statement names only the columns that differ from their default.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import compress
from typing import Any, TypeVar

import msgspec

from muxproxy.exchange import ERROR, ESTIMATED, FINISHED, Hold, Receipt, Spend, Usage


class More(msgspec.Struct, array_like=True):
    """What of a receipt only a reader of the whole receipt needs. New fields go to the end."""

    time_ms: int
    code: str | None
    stream: bool
    attempts: int
    usage: Usage | None
    usage_source: str | None
    held: int | None
    price_version: str | None
    overhead_us: int
    ttfb_us: int | None
    asked_model: str | None
    dialect: str | None
    endpoint: str | None
    path: str
    reason: str
    edits: tuple[str, ...]


# Columns of `calls` that every row is given. Each other one is left at its default (see `schema`)
# in a row where it says the same.
_ALWAYS = ("id", "dim", "total_us", "bytes_in", "bytes_out", "more")
# Null for zero and for "not said" alike: `more` tells them apart.
_TOKENS = (
    *("cache_read", "cache_write_5m", "cache_write_1h", "reasoning"),
    *("audio_in", "audio_out", "images", "requests"),
)

_READ = (
    *("id", "status", "end", "run", "cost", "overrun", "total_us", "bytes_in", "bytes_out"),
    *("usage_raw", "features"),
)
DIM_COLUMNS = ("provider", "model", "caller", "user", "team", "rule", "tags")

# OR REPLACE: a hold that is written again (a retry after an unclear commit) is the same hold.
INSERT_HOLD = "INSERT OR REPLACE INTO holds (id, hold) VALUES (?, ?)"
SELECT_HOLD = "SELECT hold FROM holds"
SELECT_CALL = (
    f"SELECT c.more, {', '.join(f'c.{name}' for name in _READ)},"
    f" {', '.join(f'd.{name}' for name in DIM_COLUMNS)} FROM calls c JOIN dims d ON d.id = c.dim"
)
INSERT_DIM = (
    f"INSERT OR IGNORE INTO dims (id, {', '.join(DIM_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

Row = Sequence[Any]
Columns = tuple[str, ...]  # those that a row is given
DimKey = tuple[str | None, str | None, str, str | None, str | None, str | None, tuple[str, ...]]

_encode = msgspec.json.Encoder().encode
_decode_strings = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_more = msgspec.json.Decoder(More).decode
_decode_hold = msgspec.json.Decoder(Hold).decode


def more_at(name: str) -> str:
    """The JSON path of a field of More in `calls.more`."""
    return f"$[{More.__struct_fields__.index(name)}]"


@lru_cache(maxsize=256)
def insert_call(columns: Columns) -> str:
    """The statement for rows of these columns."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO calls ({', '.join(columns)}) VALUES ({marks})"


def dim_key(r: Receipt) -> DimKey:
    """Who, where and why, in the order of DIM_COLUMNS."""
    return (r.provider, r.model, r.caller, r.user, r.team, r.rule, r.tags)


def dim_id(key: DimKey) -> int:
    """63 bits of a hash: the same combination has the same id in every process."""
    return int.from_bytes(blake2b(_encode(key), digest_size=8).digest(), "big") >> 1


def dim_row(id: int, key: DimKey) -> Row:
    """For INSERT_DIM."""
    return (id, *key[:6], _strings(key[6]))


def _strings(values: tuple[str, ...]) -> str | None:
    return _encode(values).decode() if values else None


def call_row(r: Receipt, dim: int) -> tuple[Columns, Row]:
    """The columns of `calls` that a receipt needs (see insert_call), and their values."""
    u = r.usage
    more = More(
        r.time_ms,
        r.code,
        r.stream,
        r.attempts,
        u,
        r.usage_source,
        r.held,
        r.price_version,
        r.overhead_us,
        r.ttfb_us,
        r.asked_model,
        r.dialect,
        r.endpoint,
        r.path,
        r.reason,
        r.edits,
    )
    columns = [*_ALWAYS]
    row: list[Any] = [r.id, dim, r.total_us, r.bytes_in, r.bytes_out, _encode(more).decode()]
    if r.status != 200:
        columns.append("status")
        row.append(r.status)
    if r.end != FINISHED:
        columns.append("end")
        row.append(r.end)
    if r.run is not None:
        columns.append("run")
        row.append(r.run)
    if r.cost is not None:
        columns.append("cost")
        row.append(r.cost)
    if r.overrun:
        columns.append("overrun")
        row.append(r.overrun)
    if r.usage_raw is not None:
        columns.append("usage_raw")
        row.append(bytearray(r.usage_raw))
    if r.features is not None:
        columns.append("features")
        row.append(bytearray(r.features))
    if u is not None:
        columns += ("input", "output")
        row += (u.input, u.output)
        told = (
            u.cache_read,
            u.cache_write_5m,
            u.cache_write_1h,
            u.reasoning,
            u.audio_in,
            u.audio_out,
            u.images,
            u.requests,
        )
        if any(told):
            columns += compress(_TOKENS, told)
            row += compress(told, told)
    return tuple(columns), row


def receipt_of(row: Sequence[Any]) -> Receipt:
    """The Receipt of a row of SELECT_CALL."""
    more: More = _decode_more(row[0])
    fields: dict[str, Any] = dict(zip((*_READ, *DIM_COLUMNS), row[1:], strict=True))
    fields["tags"] = _decode_strings(fields["tags"]) if fields["tags"] else ()
    for name in More.__struct_fields__:
        fields[name] = getattr(more, name)
    return Receipt(**fields)


def hold_row(h: Hold) -> Row:
    """For INSERT_HOLD."""
    return (h.id, _encode(h).decode())


def hold_of(row: Sequence[Any]) -> Hold:
    """The Hold of a row of SELECT_HOLD."""
    hold: Hold = _decode_hold(row[0])
    return hold


def crashed(h: Hold) -> tuple[Receipt, list[Spend]]:
    """What a hold left behind by a crash is settled as: what it reserved was spent.

    `scopes` that do not read name|scope|window (not written by us) are passed over.
    """
    receipt = Receipt(
        id=h.id,
        time_ms=h.time_ms,
        caller=h.caller,
        user=h.user,
        team=h.team,
        tags=h.tags,
        run=h.run,
        rule=h.rule,
        provider=h.provider or None,
        model=h.model or None,
        end=ERROR,
        code="crashed",
        attempts=1,
        usage=Usage(input=h.tokens_in, output=h.tokens_out),
        usage_source=ESTIMATED,
        cost=h.nano,
        held=h.nano,
        reason="muxproxy was killed while this call was in flight",
    )
    spends = []
    for text in h.scopes:
        budget, _, rest = text.partition("|")  # a scope may hold bars, a budget's name does not
        scope, _, window = rest.rpartition("|")
        if window.lstrip("-").isdigit():
            spend = Spend(budget, scope, int(window), h.nano or 0, h.tokens_in + h.tokens_out)
            spends.append(spend)
    return receipt, spends


_INT_MAX = (1 << 63) - 1
T = TypeVar("T", bound=msgspec.Struct)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_INT_MAX, min(_INT_MAX, value))
    if isinstance(value, tuple):
        return tuple(_clean(v) for v in value)
    if isinstance(value, Usage):
        return cleaned(value)
    return value


def cleaned(struct: T) -> T:
    """The struct with what SQLite cannot store made storable (lone surrogates, huge integers)."""
    fields = {name: _clean(getattr(struct, name)) for name in struct.__struct_fields__}
    return type(struct)(**fields)
