"""What providers say of their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.limits import ProviderHeadroom
from muxproxy.limits.headroom import parse_reset
from tests.budget.support import NOW
from tests.wire_corpus import exchanges, needs_wire

RESETS = [
    ("6m0s", 360.0), ("120ms", 0.12), ("2.05s", 2.05), ("1h2m3s", 3723.0), ("1d2h", 93_600.0),
    ("45", 45.0), ("0.5", 0.5), ("0s", 0.0), (str(int(NOW) + 30), 30.0),
    (str((int(NOW) + 30) * 1000), 30.0), ("2026-11-18T11:07:40Z", 60.0),
    ("2026-11-18T12:07:40+01:00", 60.0), ("2026-11-18T11:00:00Z", 0.0),
    ("", None), ("soon", None), ("-5", None), ("nan", None), ("inf", None), ("1.2.3s", None),
    ("0s, req_1", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), RESETS)
def test_resets_in_every_form(text: str, seconds: float | None) -> None:
    found = parse_reset(text, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


def seen(headers: dict[str, str], status: int = 200) -> ProviderHeadroom:
    room = ProviderHeadroom()
    room.observe("p", "m", [(k.encode(), v.encode()) for k, v in headers.items()], status, NOW)
    return room


OUT = [
    ("openai", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
    ("in the other order",
     {"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "0"}, 2),
    ("azure", {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "10"}, 10),
    ("anthropic", {"anthropic-ratelimit-input-tokens-remaining": "0",
                   "anthropic-ratelimit-input-tokens-reset": "2026-11-18T11:07:40Z"}, 60),
    ("mistral says no reset", {"x-ratelimit-remaining-req-minute": "0"}, 60),
    ("something left",
     {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "9s"}, None),
    ("nonsense", {"x-ratelimit-remaining-requests": "many"}, None),
    ("nothing", {"content-type": "application/json"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "wait"), [o[1:] for o in OUT], ids=[o[0] for o in OUT])
def test_a_candidate_that_is_known_to_be_out(headers: dict[str, str], wait: float | None) -> None:
    until = seen(headers).out_until("p", "m")
    assert until == (0.0 if wait is None else pytest.approx(NOW + wait))


WAITS = [
    (429, {"retry-after": "7"}, 7), (503, {"retry-after": "7"}, 7), (529, {"retry-after": "7"}, 7),
    (200, {"retry-after": "7"}, None), (500, {"retry-after": "7"}, None),
    (429, {"retry-after": "Wed, 18 Nov 2026 11:07:40 GMT"}, 60),
    (429, {"retry-after": "1", "retry-after-ms": "250"}, 0.25),
    (429, {"retry-after": "later"}, None), (429, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "wait"), WAITS)
def test_retry_after_counts_only_with_a_refusal(
    status: int, headers: dict[str, str], wait: float | None
) -> None:
    """Anthropic sends it on 200s too."""
    until = seen(headers, status).out_until("p", "m")
    assert until == (0.0 if wait is None else pytest.approx(NOW + wait))


def test_a_success_lifts_a_refusal() -> None:
    room = seen({"retry-after": "99"}, 429)
    room.observe("p", "m", [], 200, NOW)
    assert room.out_until("p", "m") == 0.0


def test_models_and_keys_are_apart() -> None:
    room = ProviderHeadroom()
    room.observe("p", "m", [(b"retry-after", b"9")], 429, NOW, key="k-1")
    assert room.out_until("p", "m", "k-1") == NOW + 9
    assert room.out_until("p", "m") == room.out_until("p", "x", "k-1") == 0.0


def test_gauges_for_the_metrics() -> None:
    room = seen({"x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "29000"})
    room.observe("p", "m", [(b"x-ratelimit-limit-tokens", b"9")], 200, NOW, "k-of-a-caller")
    ((provider, model, key, kind, gauge),) = room.gauges()
    assert (provider, model, key, kind, gauge.limit, gauge.remaining) == (
        "p",
        "m",
        "",
        "tokens",
        30000,
        29000,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"x-ratelimit-reset-tokens",
                    b"x-ratelimit-remaining-tokens",
                    b"retry-after",
                    b"retry-after-ms",
                    b"anthropic-ratelimit-tokens-reset",
                ]
            ),
            st.binary(max_size=24),
        )
    ),
    st.sampled_from([200, 429]),
)
def test_no_header_upsets_it(headers: list[tuple[bytes, bytes]], status: int) -> None:
    room = ProviderHeadroom()
    room.observe("p", "m", headers, status, NOW)
    assert room.out_until("p", "m") >= 0


@needs_wire
def test_recorded_rate_limit_headers_are_all_read() -> None:
    read = 0
    for exchange in exchanges():
        headers = {k.lower(): v for k, v in exchange.raw["response"]["headers"].items()}
        for name, value in headers.items():
            if "ratelimit" in name and name.rpartition("-")[0] and "reset" in name:
                assert parse_reset(str(value), NOW) is not None, (exchange.id, name, value)
                read += 1
    assert read > 0
