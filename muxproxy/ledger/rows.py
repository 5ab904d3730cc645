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
from operator import ne
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
    explored: bool = False


# Columns of `calls` that every row is given, and those that are left at their default (as in
# `schema`) where it says the same. For tokens that is null: `more` tells null from zero.
_ALWAYS = ("id", "dim", "total_us", "bytes_in", "bytes_out", "more")
_DEFAULTS: dict[str, Any] = {
    "status": 200,
    "end": FINISHED,
    "run": None,
    "cost": None,
    "overrun": 0,
    "usage_raw": None,
    "features": None,
    "input": None,
    "output": None,
    "cache_read": None,
    "cache_write_5m": None,
    "cache_write_1h": None,
    "reasoning": None,
    "audio_in": None,
    "audio_out": None,
    "images": None,
    "requests": None,
}
_DEFAULT_VALUES = tuple(_DEFAULTS.values())
_NO_TOKENS = (None,) * 10

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
    f" {', '.join(f'd.{name}' for name in DIM_COLUMNS)},"
    " (SELECT f.score FROM feedback f WHERE f.id = c.id)"
    " FROM calls c JOIN dims d ON d.id = c.dim"
)
INSERT_DIM = (
    f"INSERT OR IGNORE INTO dims (id, {', '.join(DIM_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

Row = Sequence[Any]
Given = tuple[bool, ...]  # which of _DEFAULTS a row is given
DimKey = tuple[str | None, str | None, str, str | None, str | None, str | None, tuple[str, ...]]

_encode = msgspec.json.Encoder().encode
_decode_strings = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_more = msgspec.json.Decoder(More).decode
_decode_hold = msgspec.json.Decoder(Hold).decode


def more_at(name: str) -> str:
    """The JSON path of a field of More in `calls.more`."""
    return f"$[{More.__struct_fields__.index(name)}]"


@lru_cache(maxsize=256)
def insert_call(given: Given) -> str:
    """The statement for rows that `call_row` made with `given`."""
    names = (*_ALWAYS, *compress(_DEFAULTS, given))
    return f"INSERT INTO calls ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


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


def call_row(r: Receipt, dim: int) -> tuple[Given, Row]:
    """Which statement a receipt needs (see insert_call), and its parameters."""
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
        r.explored,
    )
    tokens = (
        _NO_TOKENS
        if u is None
        else (
            u.input,
            u.output,
            u.cache_read or None,
            u.cache_write_5m or None,
            u.cache_write_1h or None,
            u.reasoning or None,
            u.audio_in or None,
            u.audio_out or None,
            u.images or None,
            u.requests or None,
        )
    )
    raw, features = r.usage_raw, r.features
    values = (
        r.status,
        r.end,
        r.run,
        r.cost,
        r.overrun,
        None if raw is None else bytearray(raw),
        None if features is None else bytearray(features),
        *tokens,
    )
    given = tuple(map(ne, values, _DEFAULT_VALUES))
    always = (r.id, dim, r.total_us, r.bytes_in, r.bytes_out, _encode(more).decode())
    return given, (*always, *compress(values, given))


def receipt_of(row: Sequence[Any]) -> Receipt:
    """The Receipt of a row of SELECT_CALL."""
    more: More = _decode_more(row[0])
    fields: dict[str, Any] = dict(zip((*_READ, *DIM_COLUMNS, "feedback"), row[1:], strict=True))
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
