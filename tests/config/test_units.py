"""Durations, sizes, rates, counts, windows, amounts, addresses."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config import units
from muxproxy.config.units import Ceiling, Endpoint, Expected, Rate, Window

GOOD = [
    (units.duration, "250ms", 0.25),
    (units.duration, "30s", 30.0),
    (units.duration, "5m", 300.0),
    (units.duration, "12h", 43200.0),
    (units.duration, "7d", 604800.0),
    (units.duration, "1h30m", 5400.0),
    (units.duration, " 1.5 s ", 1.5),
    (units.duration, "0", 0.0),
    (units.size, "64KiB", 65536),
    (units.size, "64MiB", 64 * 2**20),
    (units.size, "10MB", 10_000_000),
    (units.size, "1.5gb", 1_500_000_000),
    (units.size, 4096, 4096),
    (units.size, "4096", 4096),
    (units.count, "500", 500),
    (units.count, "200k", 200_000),
    (units.count, "1.5m", 1_500_000),
    (units.count, "1_000", 1000),
    (units.rate, "600/min", Rate(600, 60.0)),
    (units.rate, "200k/hour", Rate(200_000, 3600.0)),
    (units.rate, "10/s", Rate(10, 1.0)),
    (units.rate, "5 / 10s", Rate(5, 10.0)),
    (units.rate, "1m/day", Rate(1_000_000, 86400.0)),
    (units.window, "day", Window("day")),
    (units.window, "Rolling 24h", Window("rolling", 86400.0)),
    (units.window, "prepaid", Window("prepaid")),
    (units.window, "run", Window("run")),
    (units.amount, "$10", Ceiling("usd", 10_000_000_000)),
    (units.amount, 0.5, Ceiling("usd", 500_000_000)),
    (units.amount, "200k tokens", Ceiling("tokens", 200_000)),
    (units.amount, "1 token", Ceiling("tokens", 1)),
    (units.share, "2%", 0.02),
    (units.share, "12.5 %", 0.125),
    (units.share, 1, 1.0),
    (units.share, 0.5, 0.5),
    (units.address, "127.0.0.1:8787", Endpoint("127.0.0.1", 8787)),
    (units.address, "[::1]:80", Endpoint("::1", 80)),
    (units.address, ":8787", Endpoint("", 8787)),
    (units.address, "*:8787", Endpoint("", 8787)),
    (units.address, "8787", Endpoint("127.0.0.1", 8787)),
    (units.address, "unix:/run/mux.sock", Endpoint("", 0, "/run/mux.sock")),
    (units.url, "https://api.openai.com/v1", "https://api.openai.com/v1"),
    (units.glob, "gpt-[45]*", "gpt-[45]*"),
    (units.glob, "[]a]", "[]a]"),
]
BAD = [
    (units.duration, "30"),
    (units.duration, "s"),
    (units.duration, "30 parsecs"),
    (units.duration, "5m!"),
    (units.duration, ""),
    (units.duration, "-5s"),
    (units.size, "64K"),
    (units.size, "big"),
    (units.size, -1),
    (units.size, True),
    (units.count, "1.5"),
    (units.count, "2x"),
    (units.rate, "600"),
    (units.rate, "600/fortnight"),
    (units.rate, "5/0s"),
    (units.rate, "x/min"),
    (units.window, "fortnight"),
    (units.window, "rolling"),
    (units.window, "rolling 0s"),
    (units.window, ""),
    (units.amount, "ten"),
    (units.amount, "-1"),
    (units.amount, "x tokens"),
    (units.share, "2"),
    (units.share, "101%"),
    (units.share, "-1%"),
    (units.share, "%"),
    (units.share, "nan"),
    (units.share, "1_0%"),
    (units.address, "127.0.0.1"),
    (units.address, "host:99999"),
    (units.address, "host:port"),
    (units.address, "unix:"),
    (units.address, "::1:80"),
    (units.address, "[zz]:80"),
    (units.address, "a b:80"),
    (units.url, "api.openai.com"),
    (units.url, "ftp://x"),
    (units.url, "http://"),
    (units.url, "http://x:99999"),
    (units.url, "http://x?y"),
    (units.url, "http://x/#y"),
    (units.url, "http://x/\r\ny"),
    (units.glob, "gpt-[4"),
    (units.zone, "Europe/Atlantis"),
    (units.zone, "../etc/passwd"),
    (units.zone, ""),
]


@pytest.mark.parametrize(("parser", "text", "want"), GOOD)
def test_what_people_write_is_read(parser, text, want):
    assert parser(text) == want


@pytest.mark.parametrize(("parser", "text"), BAD)
def test_a_wrong_value_names_what_was_expected(parser, text):
    with pytest.raises(Expected, match="expected ") as caught:
        parser(text)
    assert isinstance(caught.value, ValueError)
    assert caught.value.expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        (":1", False),
        ("[::]:1", False),
        ("192.168.1.2:1", False),
        ("myhost:1", False),
    ],
)
def test_loopback(text, want):
    assert units.address(text).loopback is want


def test_zone():
    assert units.zone("Europe/Berlin").key == "Europe/Berlin"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_a_value_or_expected(text):
    for parser in (
        *(units.duration, units.size, units.count, units.rate, units.window, units.amount),
        *(units.address, units.url, units.glob, units.zone, units.dollars),
    ):
        with contextlib.suppress(Expected):
            parser(text)
