"""Requests, tokens and concurrency per scope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.budget import Call
from muxproxy.config.model import Limit
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Plan
from muxproxy.limits import Limits, limit_faults, parse_rate
from muxproxy.limits.rates import SCOPES, show_seconds
from tests.budget.support import NOW, ask, call


def limits(**terms: Any) -> Limits:
    return Limits([Limit(name="fair", **terms)])


def tokens(total: int, **more: Any) -> Call:
    return call(ask(total, 0), **more)


def refused(one: Limits, c: Call, now: float = NOW) -> MuxError:
    with pytest.raises(MuxError) as caught:
        one.admit(c, now)
    assert (caught.value.status, caught.value.retryable) == (429, True)
    return caught.value


RATES = [
    ("600/min", 600, 60), ("200k/hour", 200_000, 3600), ("1M/day", 1_000_000, 86_400),
    ("10/s", 10, 1), ("5 per minute", 5, 60), ("1.5k / h", 1500, 3600),
]  # fmt: skip


@pytest.mark.parametrize(("text", "count", "seconds"), RATES)
def test_rates(text: str, count: int, seconds: int) -> None:
    assert parse_rate(text) == (count, seconds)


@pytest.mark.parametrize("text", ["", "600", "600/fortnight", "/min", "-1/min"])
def test_unreadable_rates_are_named(text: str) -> None:
    (fault,) = limit_faults([Limit(name="x", requests=text)])
    assert fault[0] == "limits.0.requests"


def test_requests_per_minute() -> None:
    one = limits(per="key", requests="2/min")
    for _ in range(2):
        one.admit(call(), NOW).settle(1, NOW)
    error = refused(one, call(), NOW + 10)
    headers = dict(error.headers)
    assert headers[b"x-ratelimit-limit-requests"] == b"2"
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"51s"
    assert headers[b"retry-after"] == b"51"
    assert error.details["kind"] == "requests"
    one.admit(call(caller=Caller(key="other")), NOW)
    one.admit(call(), NOW + 10 + 51)


def test_concurrent_requests_cannot_take_663_tokens_of_100() -> None:
    """BerriAI/litellm #18730, #5783."""
    one = limits(tokens="100/min")
    admitted = []
    for _ in range(20):
        try:
            admitted.append(one.admit(call(ask(13, 20)), NOW))
        except MuxError as error:
            assert error.details["kind"] == "tokens"
    assert len(admitted) == 3
    for ticket in admitted:
        ticket.settle(33, NOW)
    assert refused(one, call(ask(13, 20)), NOW + 1).details["kind"] == "tokens"


def test_streams_count_while_they_run_and_after() -> None:
    """BerriAI/litellm #41610: token limits were never enforced for streams."""
    one = limits(tokens="100/min")
    stream = one.admit(call(ask(10, 90, stream=True)), NOW)
    refused(one, tokens(1), NOW + 3000)
    stream.settle(40, NOW + 3000)
    one.admit(tokens(60), NOW + 3000)
    refused(one, tokens(1), NOW + 3000)


def test_without_max_tokens_a_small_limit_admits_one_at_a_time() -> None:
    one = limits(tokens="100/min")
    ticket = one.admit(call(ask(10, None)), NOW)
    refused(one, call(ask(10, None)))
    ticket.settle(30, NOW)
    refused(one, call(ask(10, None)))
    one.admit(call(ask(10, None)), NOW + 62)


def test_concurrency() -> None:
    one = limits(per="user", concurrent=2)
    first = one.admit(call(), NOW)
    second = one.admit(call(), NOW)
    assert refused(one, call()).details["kind"] == "concurrent"
    first.settle(1, NOW)
    first.settle(1, NOW)
    first.release()
    one.admit(call(), NOW)
    refused(one, call())
    second.release()
    one.admit(call(), NOW)


def test_all_limits_or_none() -> None:
    one = Limits([Limit(name="a", requests="9/min"), Limit(name="b", per="key", concurrent=0)])
    refused(one, call())
    assert one._rules["a"].meters["all"].requests.total == 0  # type: ignore[union-attr]
    assert one._rules["a"].meters["all"].flying == 0


def test_a_further_candidate_gives_back_the_first_ones_place() -> None:
    one = limits(per="model", concurrent=1)
    ticket = one.admit(call(model="a"), NOW)
    refused(one, call(model="a"))
    ticket.enter(call(model="b"), NOW)
    other = one.admit(call(model="a"), NOW)
    with pytest.raises(MuxError):
        ticket.enter(call(model="a"), NOW)
    other.release()
    ticket.release()
    one.admit(call(model="b"), NOW)


SCOPED = [
    ("all", Caller(), Plan(), 1), ("key", Caller(), Plan(), 1), ("user", Caller(), Plan(), 1),
    ("team", Caller(), Plan(), 0), ("team", Caller(team="t"), Plan(), 1),
    ("run", Caller(), Plan(), 0), ("run", Caller(run="r"), Plan(), 1),
    ("tag", Caller(tags=("a",)), Plan(tags=("a", "b")), 2), ("model", Caller(), Plan(), 1),
    ("rule", Caller(), Plan(rule="x"), 1), ("rule", Caller(), Plan(), 0),
    ("provider", Caller(), Plan(), 1),
]  # fmt: skip


@pytest.mark.parametrize(("per", "caller", "plan", "meters"), SCOPED)
def test_scopes(per: str, caller: Caller, plan: Plan, meters: int) -> None:
    one = limits(per=per, requests="1/min")
    one.admit(call(caller=caller, plan=plan), NOW)
    assert len(one._rules["fair"].meters) == meters
    if meters:
        refused(one, call(caller=caller, plan=plan))


def test_a_reload_keeps_the_counts() -> None:
    one = limits(requests="2/min")
    ticket = one.admit(call(), NOW)
    one.rebuild([Limit(name="fair", requests="1/min")])
    refused(one, call())
    ticket.settle(1, NOW)
    one.rebuild([Limit(name="fair", requests="100/hour")])
    one.admit(call(), NOW)


def test_idle_scopes_are_forgotten() -> None:
    one = limits(per="key", requests="1/min")
    for i in range(3 * SCOPES):
        one.admit(call(caller=Caller(key=f"{i}")), NOW + i).settle(1, NOW + i)
    assert len(one._rules["fair"].meters) <= SCOPES + 100


@given(
    steps=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 60)), max_size=60),
    limit=st.integers(1, 100),
)
def test_no_stretch_of_a_minute_holds_more_than_the_limit(
    steps: list[tuple[float, int]], limit: int
) -> None:
    one = limits(tokens=f"{limit}/min")
    now, taken = NOW, []
    for pause, amount in steps:
        now += pause
        try:
            ticket = one.admit(tokens(amount), now)
        except MuxError as error:
            wait = error.details["retry_after"]
            assert isinstance(wait, int)
            now += wait + 1
            one.admit(tokens(min(amount, limit)), now).release()
            continue
        ticket.settle(min(amount, limit), now)
        taken.append((now, min(amount, limit)))
    for at, _ in taken:
        assert sum(amount for when, amount in taken if at <= when <= at + 60) <= limit


DURATIONS = [(0.12, "120ms"), (2.05, "2.05s"), (1, "1s"), (360, "6m0s"), (3661, "1h1m1s")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_are_written_as_sdks_read_them(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text
