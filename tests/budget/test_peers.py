"""The field's own bug reports about budgets, each as a test. Numbers: rows of PEERS.md 2.1."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from muxproxy.budget import Downgrade
from muxproxy.config.model import Budget, Provider
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Usage
from muxproxy.prices import Prices, price_of
from tests.budget.support import (
    DOLLAR,
    NOW,
    ask,
    budgets,
    call,
    free_call,
    hold,
    row,
)

COST = 300_000  # of call()


def admitted(b, n, make, *, settle=None):  # type: ignore[no-untyped-def]
    held = []
    for i in range(n):
        try:
            verdict = b.hold(make(i), NOW)
        except MuxError as error:
            assert error.status == 402
        else:
            assert not isinstance(verdict, Downgrade)
            held.append(verdict)
    return held


def test_01_concurrent_requests_cannot_pass_a_budget_together() -> None:
    """BerriAI/litellm #26672: a budget that affords three lets three of a thousand pass."""
    b = budgets(Budget(name="b", limit="$0.001", hold="worst"))
    held = admitted(b, 1000, lambda i: call(ask(100, 100, body_bytes=100)))
    assert len(held) == 3
    for each in held:
        each.settle(COST, 200, NOW)
    assert row(b, "b")["spent"] <= 0.001


@pytest.mark.parametrize("seed", range(5))
def test_02_and_03_no_phantom_spend_after_any_mix_of_endings(seed: int) -> None:
    """BerriAI/litellm #27639, #36926: counters leaked and stood above the recorded spend."""
    dice = random.Random(seed)
    b = budgets(Budget(name="b", limit="$1"), Budget(name="u", per="user", limit="$1"))
    recorded, open_holds = 0, []
    for i in range(500):
        open_holds.append(hold(b, call(caller=Caller(user=f"u{i % 7}"))))
        dice.shuffle(open_holds)
        while open_holds and dice.random() < 0.6:
            held = open_holds.pop()
            if dice.random() < 0.3:
                held.release()
            else:
                cost = dice.randrange(COST)
                recorded += held.settle(cost, 9, NOW)[0].nano
                held.settle(cost, 9, NOW)
                held.release()
    for held in open_holds:
        held.release()
    assert row(b, "b") | {"spent": recorded / DOLLAR, "held": 0} == row(b, "b")
    users = [r for r in b.status(NOW) if r["name"] == "u"]
    assert sum(r["spent"] for r in users) == pytest.approx(recorded / DOLLAR)
    assert all(r["held"] == 0 for r in users)


def test_05_and_11_a_cost_that_cannot_be_estimated_is_refused_not_skipped() -> None:
    """BerriAI/litellm #35524, PR #36561."""
    b = budgets(Budget(name="b", limit="$100"))
    with pytest.raises(MuxError) as caught:
        b.hold(call(price=None), NOW)
    assert caught.value.code == "unknown_price"


def test_06_concurrent_requests_of_one_session_stay_within_its_ceiling() -> None:
    """BerriAI/litellm #34732: check, then increment, let all of them pass."""
    b = budgets(Budget(name="b", per="run", limit="$0.0006", window="run", hold="worst"))
    make = lambda i: call(ask(100, 100, body_bytes=100), Caller(run=f"s{i % 2}"))  # noqa: E731
    assert len(admitted(b, 100, make)) == 4


def test_07_the_first_requests_of_an_unknown_user_count_at_once() -> None:
    """BerriAI/litellm #40095."""
    b = budgets(Budget(name="b", per="user", limit="$0.0003"))
    assert len(admitted(b, 50, lambda i: call(caller=Caller(user="never seen")))) == 1


def test_08_coding_agents_with_huge_max_tokens_are_not_locked_out() -> None:
    """BerriAI/litellm PR #38647: worst-case holds filled a $25 budget at $0 spent."""
    price = price_of({"input": 3 * DOLLAR, "output": 15 * DOLLAR})
    b = budgets(Budget(name="b", limit="$25"))
    for _ in range(20):
        b.outputs.observe("m", 800)
    make = lambda i: call(ask(20_000, 64_000), price=price, learned=b.outputs.p95("m"))  # noqa: E731
    assert len(admitted(b, 100, make)) == 100
    worst = budgets(Budget(name="b", limit="$25", hold="worst"))
    assert len(admitted(worst, 100, make)) < 30, "what `hold: worst` would do"


def test_09_holds_are_priced_at_the_context_tier() -> None:
    """BerriAI/litellm PR #40002: 4 of 5 admitted at the base rate, $0.60 spent on a $0.45 cap."""
    base = DOLLAR // 2
    price = price_of({"input": [base, [272_000, 2 * base]], "output": [base, [272_000, 2 * base]]})
    b = budgets(Budget(name="b", limit="$0.45", hold="worst"))
    held = admitted(b, 5, lambda i: call(ask(299_000, 1000, body_bytes=299_000), price=price))
    assert len(held) == 1
    for each in held:
        each.settle(price.cost(Usage(input=299_000, output=1000)), 300_000, NOW)
    assert row(b, "b")["spent"] == 0.3


def test_10_a_custom_priced_model_is_under_the_budget() -> None:
    """BerriAI/litellm #25874."""
    providers = {"acme": Provider(dialect="openai", base_url="http://127.0.0.1:1")}
    prices = Prices.load({"acme/m": {"input": 1, "output": 2}}, providers)
    b = budgets(Budget(name="b", limit="$0.0003"))
    make = lambda i: call(price=prices.find("acme", "m", int(NOW)))  # noqa: E731
    assert len(admitted(b, 9, make)) == 1


def test_12_free_models_go_on_when_a_paid_budget_is_exhausted() -> None:
    """BerriAI/litellm #29912, #38515, #14004."""
    b = budgets(Budget(name="b", limit="$0.0003"))
    hold(b).settle(COST, 200, NOW)
    with pytest.raises(MuxError):
        b.hold(call(), NOW)
    held = hold(b, free_call())
    assert held.entries == []
    assert held.settle(0, 1000, NOW) == []


def test_18_paths_nobody_knows_are_under_the_budget_too() -> None:
    """maximhq/bifrost #2873: passthrough endpoints let virtual keys escape budgets."""
    b = budgets(Budget(name="b", per="key", limit="$0.0003"))
    with pytest.raises(MuxError):
        b.hold(call(ask(100, None, endpoint="other")), NOW)
    with pytest.raises(MuxError):
        b.hold(call(ask(100, None, endpoint="other"), price=None), NOW)


def test_19_budget_share_is_a_share() -> None:
    """maximhq/bifrost #5770: "used > 99 %" fired at $0.40 of $15."""
    b = budgets(Budget(name="b", limit="$15"))
    hold(b).settle(400_000_000, 1, NOW)
    assert b.view(NOW).share("b", Caller(), ask()) == pytest.approx(0.4 / 15)


def test_20_prepaid_is_topped_up_without_losing_its_usage() -> None:
    """maximhq/bifrost #2683."""
    b = budgets(Budget(name="b", limit="$0.0004", window="prepaid"))
    hold(b).settle(COST, 200, NOW)
    with pytest.raises(MuxError):
        b.hold(call(), NOW)
    b.top_up("b", "all", 1_000_000, NOW)
    hold(b)
    later = NOW + 400 * 86_400
    assert row(b, "b", now=later) | {"limit": 0.0014, "spent": 0.0003} == row(b, "b", now=later)
    assert row(b, "b")["resets_at"] is None


def test_21_a_ceiling_per_run_needs_no_key_per_run() -> None:
    """Vigil-SOC/vigil #593."""
    b = budgets(Budget(name="b", limit="$0.0003", window="run"))
    for run in ("one", "two"):
        assert len(admitted(b, 3, lambda i, run=run: call(caller=Caller(run=run)))) == 1


def test_22_a_stream_is_under_the_limit_while_it_runs() -> None:
    """envoyproxy/ai-gateway #2394: streaming limits applied only after the stream."""
    b = budgets(Budget(name="b", limit="1k tokens", stop_stream=True))
    stream = hold(b, call(ask(100, 50_000), learned=100))
    sent = 0
    while sent < stream.allowance or stream.extend(sent + 1) > sent:
        sent += 1
    assert sent == 900


def test_23_budgets_by_the_month() -> None:
    """envoyproxy/ai-gateway #2469: at most one day."""
    b = budgets(Budget(name="b", limit="$1", window="month", tz="America/New_York"))
    assert row(b, "b")["resets_at"] == "2026-12-01T05:00:00Z"


def test_24_what_remains_goes_down_after_each_call() -> None:
    """envoyproxy/ai-gateway #1754."""
    b = budgets(Budget(name="b", limit="$0.01"))
    seen = []
    for _ in range(3):
        hold(b).settle(COST, 200, NOW)
        seen.append(row(b, "b")["remaining"])
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 3


def test_25_and_28_limits_in_dollars_and_in_tokens() -> None:
    """agentgateway #2626, tensorzero #6262."""
    b = budgets(Budget(name="d", limit="$1"), Budget(name="t", limit="1M tokens"))
    hold(b).settle(COST, 200, NOW)
    assert (row(b, "d")["spent"], row(b, "t")["spent"]) == (0.0003, 200)


def test_27_max_tokens_is_never_required() -> None:
    """tensorzero/tensorzero #3648."""
    b = budgets(Budget(name="t", limit="10k tokens"), Budget(name="d", limit="$1"))
    assert hold(b, call(ask(100, None))).reserved == (100, 1024)


def test_a_day_ends_at_midnight_where_the_team_lives() -> None:
    b = budgets(Budget(name="b", limit="$1", window="day", tz="Asia/Kathmandu"))
    ends = datetime.fromisoformat(row(b, "b")["resets_at"]).astimezone(UTC)
    assert (ends.hour, ends.minute) == (18, 15)
