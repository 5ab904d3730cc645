"""Query strings of the control plane, read strictly: a fault names the parameter and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from muxproxy.errors import MuxError
from muxproxy.ledger.queries import Filters

_TEXT = ("caller", "user", "team", "tag", "provider", "model", "rule", "run", "end")
MAX_ROWS = 10_000


def require_json(headers: Mapping[str, str]) -> None:
    """Writes carry a content type that a web page cannot send across origins without asking."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MuxError("invalid_request", "send content-type: application/json")


def number(query: Mapping[str, str], name: str, default: int, most: int = MAX_ROWS) -> int:
    """A whole number from 0 to `most`."""
    raw = query.get(name)
    if raw is None:
        return default
    if not (raw.isascii() and raw.isdigit()) or int(raw) > most:
        raise MuxError("invalid_request", f"{name}: expected a whole number up to {most}")
    return int(raw)


def limit_of(query: Mapping[str, str]) -> int:
    """`limit`, 100 unless told."""
    return number(query, "limit", 100)


def moment(query: Mapping[str, str], name: str, default: datetime, *, end: bool = False) -> int:
    """Unix milliseconds of an ISO date or time; UTC where it names no zone.

    A bare date as the end of a span means the end of that day.
    """
    raw = query.get(name)
    if raw is None:
        return int(default.timestamp() * 1000)
    try:
        value = datetime.fromisoformat(raw)
    except ValueError:
        raise MuxError(
            "invalid_request", f"{name}: expected an ISO date or time such as 2026-11-23"
        ) from None
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if end and len(raw) == len("2026-11-23"):
        value += timedelta(days=1)
    return int(value.timestamp() * 1000)


def filters_of(query: Mapping[str, str]) -> Filters:
    """Filters of a list of calls."""
    status = query.get("status")
    now = datetime.now(UTC)
    return Filters(
        since=moment(query, "since", now) if "since" in query else None,
        until=moment(query, "until", now) if "until" in query else None,
        before=call_id(query["before"]) if "before" in query else None,
        status=None if status is None else number(query, "status", 0, 599),
        **{name: query.get(name) for name in _TEXT},
    )


def call_id(text: str) -> int:
    """The id behind an x-muxproxy-id."""
    try:
        value = int(text, 16)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 63:
        raise MuxError("invalid_request", "id: expected the 16 hex digits of x-muxproxy-id")
    return value
