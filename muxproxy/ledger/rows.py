"""Receipts and holds as rows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from muxproxy.exchange import ERROR, ESTIMATED, Hold, Receipt, Spend, Usage

_COLUMNS = (
    "id dim time_ms status end code run stream attempts input cache_read cache_write_5m"
    " cache_write_1h output reasoning audio_in audio_out images requests tier reported_cost"
    " usage_more usage_source cost held overrun price_version overhead_us ttfb_us total_us bytes_in bytes_out"
    " asked_model dialect endpoint path reason edits features usage_raw"
)
CALL_COLUMNS = tuple(_COLUMNS.split())
DIM_COLUMNS = ("provider", "model", "caller", "user", "team", "rule", "tags")
HOLD_COLUMNS = ("id", "time_ms", "caller", "provider", "model", "nano", "tokens_in", "tokens_out")

INSERT_CALL = (
    f"INSERT INTO calls ({', '.join(CALL_COLUMNS)}) VALUES ({', '.join('?' * len(CALL_COLUMNS))})"
)
# OR REPLACE: a hold that is written again (a retry after an unclear commit) is the same hold.
INSERT_HOLD = (
    f"INSERT OR REPLACE INTO holds ({', '.join(HOLD_COLUMNS)}, scopes)"
    f" VALUES ({', '.join('?' * (len(HOLD_COLUMNS) + 1))})"
)
SELECT_CALL = (
    "SELECT "
    + ", ".join(f"c.{name}" for name in CALL_COLUMNS)
    + ", "
    + ", ".join(f"d.{name}" for name in DIM_COLUMNS)
    + " FROM calls c JOIN dims d ON d.id = c.dim"
)
SELECT_HOLD = f"SELECT {', '.join(HOLD_COLUMNS)}, scopes FROM holds"
INSERT_DIM = (
    f"INSERT OR IGNORE INTO dims (id, {', '.join(DIM_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

Row = tuple[Any, ...]
DimKey = tuple[str | None, str | None, str, str | None, str | None, str | None, tuple[str, ...]]

_encode = msgspec.json.Encoder().encode
_decode_strings = msgspec.json.Decoder(tuple[str, ...]).decode
_NO_USAGE: Row = (None,) * 13
# What few providers tell of a call's usage: one column for all of it, mostly null.
_RARE = tuple(name for name in Usage.__struct_fields__ if name not in CALL_COLUMNS)
_rare = attrgetter(*_RARE)
_NONE_TOLD = (None,) * len(_RARE)
_decode_more = msgspec.json.Decoder(dict[str, int]).decode


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


def _more(u: Usage) -> bytes | None:
    values = _rare(u)
    if values == _NONE_TOLD:
        return None
    return _encode({k: v for k, v in zip(_RARE, values, strict=True) if v is not None})


def call_row(r: Receipt, dim: int) -> Row:
    """For INSERT_CALL, in the order of CALL_COLUMNS."""
    u = r.usage
    tokens = (
        _NO_USAGE
        if u is None
        else (
            u.input,
            u.cache_read,
            u.cache_write_5m,
            u.cache_write_1h,
            u.output,
            u.reasoning,
            u.audio_in,
            u.audio_out,
            u.images,
            u.requests,
            u.tier,
            u.reported_cost,
            _more(u),
        )
    )
    return (
        r.id,
        dim,
        r.time_ms,
        r.status,
        r.end,
        r.code,
        r.run,
        r.stream,
        r.attempts,
        *tokens,
        r.usage_source,
        r.cost,
        r.held,
        r.overrun,
        r.price_version,
        r.overhead_us,
        r.ttfb_us,
        r.total_us,
        r.bytes_in,
        r.bytes_out,
        r.asked_model,
        r.dialect,
        r.endpoint,
        r.path,
        r.reason,
        _strings(r.edits) if r.edits else None,
        r.features,
        r.usage_raw,
    )


_NAMES = (*CALL_COLUMNS, *DIM_COLUMNS)
_USAGE_NAMES = CALL_COLUMNS[9:21]


def receipt_of(row: Sequence[Any]) -> Receipt:
    """The Receipt of a row of SELECT_CALL."""
    fields = dict(zip(_NAMES, row, strict=True))
    del fields["dim"]
    usage = {name: fields.pop(name) for name in _USAGE_NAMES}
    if more := fields.pop("usage_more"):
        usage.update(_decode_more(more))
    fields["usage"] = None if usage["input"] is None else Usage(**usage)
    fields["stream"] = bool(fields["stream"])
    for name in ("tags", "edits"):
        fields[name] = _decode_strings(fields[name]) if fields[name] else ()
    return Receipt(**fields)


def hold_row(h: Hold) -> Row:
    """For INSERT_HOLD."""
    return (
        h.id,
        h.time_ms,
        h.caller,
        h.provider,
        h.model,
        h.nano,
        h.tokens_in,
        h.tokens_out,
        _encode(h.scopes),
    )


def hold_of(row: Sequence[Any]) -> Hold:
    """The Hold of a row of SELECT_HOLD."""
    fields = dict(zip(HOLD_COLUMNS, row[:-1], strict=True))
    return Hold(scopes=_decode_strings(row[-1]), **fields)


def crashed(h: Hold) -> tuple[Receipt, list[Spend]]:
    """What a hold left behind by a crash is settled as: what it reserved was spent.

    `scopes` that do not read name|scope|window (not written by us) are passed over.
    """
    receipt = Receipt(
        id=h.id,
        time_ms=h.time_ms,
        caller=h.caller,
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
