"""Windows: calendar in time zones with their odd days, rolling, prepaid, run."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.budget.windows import FOREVER, parse_limit, parse_window

HOUR = 3600


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(f"20{text}").replace(tzinfo=ZoneInfo(zone)).timestamp()


# window, zone, moment (local), start (local), length in hours
CALENDAR = [
    ("an ordinary day", "day", "Europe/Berlin", "26-11-18T13:00", "26-11-18T00:00", 24),
    ("spring forward: 23 hours", "day", "Europe/Berlin", "26-03-29T12:00", "26-03-29T00:00", 23),
    ("fall back: 25 hours", "day", "Europe/Berlin", "26-10-25T12:00", "26-10-25T00:00", 25),
    ("US spring", "day", "America/New_York", "26-03-08T12:00", "26-03-08T00:00", 23),
    ("US autumn", "day", "America/New_York", "26-11-01T12:00", "26-11-01T00:00", 25),
    ("half an hour of DST", "day", "Australia/Lord_Howe", "26-04-05T12:00", "26-04-05T00:00", 24.5),
    ("a midnight that is skipped", "day", "Africa/Cairo", "26-04-24T12:00", "26-04-24T01:00", 23),
    ("a week over the change", "week", "Europe/Berlin", "26-03-29T12:00", "26-03-23T00:00", 167),
    ("a week starts on Monday", "week", "UTC", "26-11-22T23:59", "26-11-16T00:00", 168),
    ("a month with a change", "month", "Europe/Berlin", "26-10-31T23:00", "26-10-01T00:00", 745),
    ("February", "month", "UTC", "28-02-29T10:00", "28-02-01T00:00", 29 * 24),
    ("December", "month", "UTC", "26-12-31T23:59", "26-12-01T00:00", 31 * 24),
    ("an hour by the local clock", "hour", "Asia/Kolkata", "26-11-18T13:59", "26-11-18T13:00", 1),
    ("a minute", "minute", "UTC", "26-11-18T13:59:59", "26-11-18T13:59", 1 / 60),
]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "zone", "now", "start", "hours"),
    [c[1:] for c in CALENDAR],
    ids=[c[0] for c in CALENDAR],
)
def test_calendar_windows(unit: str, zone: str, now: str, start: str, hours: float) -> None:
    begin, end = parse_window(unit, zone).span(at(now, zone))
    assert begin == at(start, zone)
    assert end - begin == hours * HOUR


def test_the_hour_that_the_clock_shows_twice_is_two_windows() -> None:
    span = parse_window("hour", "Europe/Berlin").span
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()  # 02:30 summer time
    second = first + HOUR  # 02:30 winter time
    assert span(first)[1] == span(second)[0]


def test_months_can_be_said() -> None:
    """envoyproxy/ai-gateway #2469: monthly budgets were inexpressible."""
    start, end = parse_window("month", "America/Los_Angeles").span(at("26-11-18T00:00"))
    assert (end - start) == (30 * 24 + 1) * HOUR, "November has the extra hour of the first"


ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
)


@given(
    unit=st.sampled_from(["minute", "hour", "day", "week", "month"]),
    zone=st.sampled_from(ZONES),
    now=st.integers(1_500_000_000, 2_500_000_000),
)
def test_every_moment_lies_in_its_window_and_windows_meet(unit: str, zone: str, now: int) -> None:
    span = parse_window(unit, zone).span
    start, end = span(now)
    assert start <= now < end
    assert span(start)[0] == start
    assert span(end)[0] == end


def test_rolling_windows_are_cut_into_buckets() -> None:
    window = parse_window("rolling 24h")
    assert (window.kind, window.length, window.bucket) == ("rolling", 86_400, 900)
    assert window.span(1000.5) == (900, 1800)


def test_prepaid_never_starts_anew() -> None:
    assert parse_window("prepaid").span(1e9) == (0, FOREVER)


@pytest.mark.parametrize("text", ["", "year", "rolling", "rolling 0h", "24h", "fortnight"])
def test_unknown_windows_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected minute, hour"):
        parse_window(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd"])
def test_unknown_zones_are_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        parse_window("day", zone)


LIMITS = [
    ("$10", 10 * 10**9, True),
    (10, 10 * 10**9, True),
    (0.25, 250_000_000, True),
    ("$0.000000001", 1, True),
    ("200k tokens", 200_000, False),
    ("1.5M tokens", 1_500_000, False),
    ("500 tokens", 500, False),
    ("1_000 tokens", 1000, False),
]


@pytest.mark.parametrize(("text", "amount", "dollars"), LIMITS)
def test_limits(text: str | float, amount: int, dollars: bool) -> None:
    assert parse_limit(text) == (amount, dollars)


@pytest.mark.parametrize("text", ["ten", "-1", "200k", "tokens", "$"])
def test_unreadable_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tokens"):
        parse_limit(text)
