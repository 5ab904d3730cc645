"""Reading what people write: durations, sizes, rates, counts, windows, amounts, addresses.

Every parser raises `Expected`, a ValueError that says what was expected; `.expected` is that part
alone, so that a caller who must not show the value can leave it out.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from muxproxy.money import parse_dollars


class Expected(ValueError):
    """`value` is not what was expected."""

    def __init__(self, expected: str, value: object = None) -> None:
        self.expected = expected
        super().__init__(f"expected {expected}, got {value!r}")


SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
BYTES = {
    "b": 1,
    **{"kb": 10**3, "mb": 10**6, "gb": 10**9},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
}
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}

_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_DURATION = re.compile(rf"{_NUMBER}\s*([a-z]+)", re.ASCII)
_QUANTITY = re.compile(rf"{_NUMBER}\s*([a-z]*)", re.ASCII)
_RATE = re.compile(r"([^/]+?)\s*/\s*(\d{0,6})\s*([a-z]+)", re.ASCII)

DURATION = "a duration such as 250ms, 30s, 5m, 12h or 7d"
DELAY = "p50, p90, p95, p99 or a duration such as 800ms"
SIZE = "a size such as 64KiB, 64MiB or 10MB"
RATE = "a rate such as 10/s, 600/min or 200k/hour"
COUNT = "a count such as 500, 200k or 1.5m"
WINDOW = "minute, hour, day, week, month, rolling 24h, prepaid or run"
AMOUNT = "dollars such as $10, or tokens such as 200k tokens"
SHARE = "a share such as 2%, or a number from 0 to 1"
ADDRESS = "an address such as 127.0.0.1:8787, [::1]:8787, :8787 or unix:/path"
URL = "a URL such as https://api.openai.com/v1"


def duration(text: str) -> float:
    """Seconds of "250ms", "30s", "1h30m", "7d"."""
    raw = str(text).strip().lower()
    if raw == "0":
        return 0.0
    total, at = Decimal(0), 0
    for found in _DURATION.finditer(raw):
        if found.start() != at or found[2] not in SECONDS:
            raise Expected(DURATION, text)
        total += Decimal(found[1]) * Decimal(str(SECONDS[found[2]]))
        at = found.end()
    if at != len(raw) or not raw:
        raise Expected(DURATION, text)
    return float(total)


def delay(text: str) -> tuple[float | None, float]:
    """(part, seconds) of "p95" or "800ms": the part of measured times, or None and the time."""
    raw = str(text).strip().lower()
    if raw in PERCENTILES:
        return PERCENTILES[raw], 0.0
    try:
        seconds = duration(raw)
    except Expected:
        raise Expected(DELAY, text) from None
    if not seconds:
        raise Expected("a duration above 0", text)
    return None, seconds


def size(text: str | int) -> int:
    """Bytes of "64KiB" (binary), "10MB" (decimal), "512B" or a whole number."""
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise Expected(SIZE, text)
        return text
    found = _QUANTITY.fullmatch(str(text).strip().lower())
    factor = BYTES.get(found[2] or "b") if found else None
    if found is None or factor is None:
        raise Expected(SIZE, text)
    return int(Decimal(found[1]) * factor)


def count(text: str | int) -> int:
    """A whole number of "500", "200k", "1.5m" (million)."""
    found = _QUANTITY.fullmatch(str(text).strip().lower().replace("_", ""))
    factor = COUNTS.get(found[2]) if found else None
    if found is None or factor is None:
        raise Expected(COUNT, text)
    value = Decimal(found[1]) * factor
    if value != int(value):
        raise Expected(COUNT, text)
    return int(value)


class Rate(NamedTuple):
    """So many per so many seconds."""

    number: int
    seconds: float


def rate(text: str) -> Rate:
    """ "600/min" -> (600, 60.0); "200k/hour", "10/s", "5/10s"."""
    found = _RATE.fullmatch(str(text).strip().lower())
    if found is None or found[3] not in SECONDS or found[2] == "0":
        raise Expected(RATE, text)
    try:
        number = count(found[1])
    except ValueError:
        raise Expected(RATE, text) from None
    return Rate(number, int(found[2] or 1) * SECONDS[found[3]])


class Window(NamedTuple):
    """kind: minute hour day week month (aligned to a calendar), rolling, prepaid, run.

    `seconds` is the length of a rolling window, else 0.
    """

    kind: str
    seconds: float = 0.0


CALENDAR = ("minute", "hour", "day", "week", "month")


def window(text: str) -> Window:
    """ "day", "rolling 24h", "prepaid", "run"."""
    words = str(text).strip().lower().split(None, 1)
    if words and words[0] == "rolling" and len(words) > 1:
        length = duration(words[1])
        if length <= 0:
            raise Expected("a rolling window longer than nothing", text)
        return Window("rolling", length)
    if len(words) == 1 and words[0] in (*CALENDAR, "prepaid", "run"):
        return Window(words[0])
    raise Expected(WINDOW, text)


class Ceiling(NamedTuple):
    """unit: "usd" (value in nano-dollars) or "tokens"."""

    unit: str
    value: int


def amount(text: str | int | float) -> Ceiling:
    """A budget's limit: "$10", 10, "0.5" are dollars; "200k tokens" tokens."""
    raw = str(text).strip().lower()
    for ending in ("tokens", "token"):
        if raw.endswith(ending):
            try:
                return Ceiling("tokens", count(raw.removesuffix(ending)))
            except ValueError:
                raise Expected(AMOUNT, text) from None
    return Ceiling("usd", dollars(text))


def dollars(text: str | int | float) -> int:
    """Nano-dollars of "$3", "0.25" or a number."""
    try:
        return parse_dollars(text)
    except (ValueError, ArithmeticError):
        raise Expected(AMOUNT, text) from None


def share(text: str | int | float) -> float:
    """0..1 of "2%" or 0.02."""
    raw = str(text).strip()
    digits = raw.removesuffix("%").rstrip()
    try:
        value = float(digits) / (100 if raw.endswith("%") else 1)
    except ValueError:
        raise Expected(SHARE, text) from None
    if not 0 <= value <= 1 or "_" in raw:
        raise Expected(SHARE, text)
    return value


class Endpoint(NamedTuple):
    """A TCP address, or a Unix socket when `unix` is set. An empty host: every interface."""

    host: str
    port: int
    unix: str | None = None

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.unix is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})?", re.ASCII)


def address(text: str) -> Endpoint:
    """ "127.0.0.1:8787", "[::1]:8787", ":8787", "8787" (loopback) or "unix:/path"."""
    raw = str(text).strip()
    if raw.startswith("unix:"):
        path = raw.removeprefix("unix:").removeprefix("//")
        if not path:
            raise Expected(ADDRESS, text)
        return Endpoint("", 0, path)
    if ":" not in raw:
        raw = f"127.0.0.1:{raw}"
    host, _, port = raw.rpartition(":")
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise Expected(ADDRESS, text)
    if host == "*":
        host = ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise Expected(ADDRESS, text) from None
    elif host and not _HOST.fullmatch(host):
        raise Expected(ADDRESS, text)
    return Endpoint(host, int(port))


def url(text: str, schemes: tuple[str, ...] = ("http", "https")) -> str:
    """The URL as written: scheme and host are there, no query, no fragment."""
    raw = str(text)
    try:
        parts = urlsplit(raw)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise Expected(URL, text) from None
    if not port_ok or parts.scheme not in schemes or not parts.hostname:
        raise Expected(URL, text)
    if "?" in raw or "#" in raw:
        raise Expected("a URL without ? and #", text)
    if not raw.isascii() or any(c <= " " or c == "\x7f" for c in raw):
        raise Expected("a URL without spaces and control characters", text)
    return raw


def zone(text: str) -> ZoneInfo:
    """An IANA time zone."""
    try:
        return ZoneInfo(str(text))
    except (KeyError, ValueError, OSError):
        raise Expected("an IANA time zone such as UTC or Europe/Berlin", text) from None


def glob(text: str) -> str:
    """A pattern of `*`, `?` and `[...]`; every [ needs its ]."""
    raw = str(text)
    at = raw.find("[")
    while at >= 0:
        end = raw.find("]", at + 2)
        if end < 0:
            raise Expected("a pattern such as gpt-4o* (every [ needs its ])", text)
        at = raw.find("[", end + 1)
    return raw
