"""When a budget starts anew: calendar windows in a time zone, rolling ones, prepaid and run.

Pure functions of the moment; Unix seconds in and out. A calendar day has 23, 24 or 25 hours,
as its zone says; midnight that a zone skips is the moment the clocks jump.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from muxproxy.money import parse_dollars

FOREVER = 1 << 62  # an end that never comes, a limit that is never reached
PREPAID_WINDOW = 0  # Spend.window of windows that never start anew
TOP_UP_WINDOW = -1  # Spend.window of a top-up: it raises the limit and is no spending
BUCKETS = 96  # a rolling window is kept in so many parts (24h: 15 minutes each)
SWEEP = 3600  # seconds between looks for runs that ended

CALENDAR = ("minute", "hour", "day", "week", "month")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_ROLLING = re.compile(r"rolling\s+(\d+)\s*([smhdw])")
_TOKENS = re.compile(r"([\d._]+)\s*([kKmMgGbB]?)\s*(?:tokens?|tok)")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


class Window(msgspec.Struct, frozen=True):
    """How a budget's time is cut. `span(now)` is the window [start, end) that holds `now`."""

    kind: str  # calendar | rolling | prepaid | run
    text: str  # as written
    span: Callable[[float], tuple[int, int]]
    bucket: int = 0  # rolling: seconds per bucket
    length: int = 0  # rolling: seconds


def parse_window(text: str, zone: str = "UTC") -> Window:
    """Reads `window:`. Raises ValueError saying what was expected."""
    word = text.strip().lower()
    if word in CALENDAR:
        return Window("calendar", word, _calendar(word, parse_zone(zone)))
    if word == "prepaid":
        return Window("prepaid", word, lambda now: (PREPAID_WINDOW, FOREVER))
    if word == "run":
        return Window("run", word, lambda now: (int(now), int(now) + SWEEP))
    if found := _ROLLING.fullmatch(word):
        length = int(found[1]) * _SECONDS[found[2]]
        if length:
            bucket = max(1, -(-length // BUCKETS))
            return Window("rolling", word, _bucket(bucket), bucket, length)
    raise ValueError(f"expected {', '.join(CALENDAR)}, 'rolling 24h', prepaid or run, got {text!r}")


def parse_zone(name: str) -> tzinfo:
    """An IANA time zone. Raises ValueError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"expected an IANA time zone such as Europe/Berlin, got {name!r}"
        ) from None


def parse_limit(limit: str | int | float) -> tuple[int, bool]:
    """(amount, is it dollars): nano-dollars of "$10" or 10, or the tokens of "200k tokens".

    Raises ValueError saying what was expected.
    """
    if isinstance(limit, str) and (found := _TOKENS.fullmatch(limit.strip())):
        count = Decimal(found[1].replace("_", "")) * _SCALE[found[2].lower()]
        return int(count), False
    try:
        return parse_dollars(limit), True
    except ValueError:
        raise ValueError(
            f"expected dollars ($10) or tokens ('200k tokens'), got {limit!r}"
        ) from None


def _bucket(seconds: int) -> Callable[[float], tuple[int, int]]:
    def span(now: float) -> tuple[int, int]:
        start = int(now) // seconds * seconds
        return start, start + seconds

    return span


def _calendar(unit: str, zone: tzinfo) -> Callable[[float], tuple[int, int]]:
    if unit in ("minute", "hour"):
        length = _SECONDS[unit[0]]

        def short(now: float) -> tuple[int, int]:
            # By the local clock: zones lie half and quarter hours off. An hour the clock shows
            # twice is two windows.
            offset = datetime.fromtimestamp(now, zone).utcoffset()
            shift = int(offset.total_seconds()) if offset else 0
            start = (int(now) + shift) // length * length - shift
            return start, start + length

        return short

    def span(now: float) -> tuple[int, int]:
        today = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
        first = today.replace(hour=0, minute=0, second=0, microsecond=0)
        if unit == "week":
            first -= timedelta(days=first.weekday())
        elif unit == "month":
            first = first.replace(day=1)
        start, end = _instant(first, zone), _instant(_next(unit, first), zone)
        return start, end

    return span


def _next(unit: str, first: datetime) -> datetime:
    if unit == "month":
        return (first + timedelta(days=32)).replace(day=1)
    return first + timedelta(days=7 if unit == "week" else 1)


def _instant(local: datetime, zone: tzinfo) -> int:
    # fold=0: the first of two equal midnights; in a gap, the offset before it, which is the jump.
    return int(local.replace(tzinfo=zone, fold=0).timestamp())
