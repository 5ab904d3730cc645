"""Scopes, verdicts, windows, reloads, events and headers of budgets."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.budget import Downgrade, Event, Held, budget_faults, budget_headers
from muxproxy.budget.windows import TOP_UP_WINDOW
from muxproxy.config.model import Budget, Provider
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Plan
from muxproxy.prices import FREE, price_of
from tests.budget.support import (
    DOLLAR,
    NOW,
    PRICE,
    ask,
    budgets,
    call,
    config,
    free_call,
    hold,
    row,
)

DAY = 86_400
# One call of ask(100, 100) holds 100 * 1000 + 100 * 2000 nano-dollars.
COST = 300_000


def refused(b: Any, c: Any = None, now: float = NOW) -> MuxError:
    with pytest.raises(MuxError) as caught:
        b.hold(c or call(), now)
    assert caught.value.status == 402
    return caught.value


# per, caller, plan, the scopes that must appear
SCOPES = [
    ("all", Caller(), Plan(), {"all"}),
    ("key", Caller(key="k1"), Plan(), {"k1"}),
    ("user", Caller(user="ann"), Plan(), {"ann"}),
    ("user", Caller(), Plan(), {"anonymous"}),
    ("team", Caller(team="t"), Plan(), {"t"}),
    ("team", Caller(), Plan(), set()),
    ("tag", Caller(tags=("a", "b")), Plan(tags=("b", "c")), {"a", "b", "c"}),
    ("tag", Caller(), Plan(), set()),
    ("model", Caller(), Plan(), {"acme/m"}),
    ("provider", Caller(), Plan(), {"acme"}),
    ("rule", Caller(), Plan(rule="r"), {"r"}),
    ("rule", Caller(), Plan(), set()),
    ("run", Caller(run="7"), Plan(), {"7"}),
    ("run", Caller(), Plan(), set()),
]


@pytest.mark.parametrize(("per", "caller", "plan", "scopes"), SCOPES)
def test_scopes(per: Any, caller: Caller, plan: Plan, scopes: set[str]) -> None:
    b = budgets(Budget(name="b", per=per, limit="$1"))
    held = hold(b, call(caller=caller, plan=plan))
    assert {c.scope for c, _, _ in held.entries} == scopes
    spends = held.settle(5, 6, NOW)
    assert {s.scope for s in spends} == scopes
    assert all((s.nano, s.tokens) == (5, 6) for s in spends)


def test_a_run_window_counts_per_run_whatever_it_is_per() -> None:
    b = budgets(
        Budget(name="b", limit="$1", window="run"),
        Budget(name="k", per="key", limit="$1", window="run"),
    )
    held = hold(b, call(caller=Caller(key="k1", run="r1")))
    assert {c.scope for c, _, _ in held.entries} == {"r1", "k1/r1"}
    assert hold(b, call(caller=Caller())).entries == []


def test_one_step_or_not_at_all() -> None:
    b = budgets(
        Budget(name="wide", limit="$1"), Budget(name="narrow", per="key", limit="$0.0000001")
    )
    refused(b)
    assert row(b, "wide")["held"] == 0
    assert not b.open


def test_a_hold_is_visible_until_it_ends_and_then_only_the_cost() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    held = hold(b)
    assert row(b, "b") | {"held": COST / DOLLAR, "spent": 0} == row(b, "b")
    held.settle(1234, 50, NOW)
    assert row(b, "b")["held"] == 0
    assert row(b, "b")["spent"] == 1234 / DOLLAR


def test_token_limits_count_tokens() -> None:
    b = budgets(Budget(name="b", limit="250 tokens"))
    held = hold(b)
    error = refused(b)
    assert error.details["needed"] == 200
    assert error.details["unit"] == "tokens"
    held.settle(None, 40, NOW)
    assert row(b, "b")["remaining"] == 210


def test_a_refusal_says_everything_and_names_the_fix() -> None:
    b = budgets(Budget(name="daily", per="key", limit="$0.0005", window="day", tz="Europe/Berlin"))
    hold(b)
    error = refused(b)
    assert error.code == "budget_exceeded"
    assert not error.retryable
    assert error.details == {
        "budget": "daily",
        "scope": "anonymous",
        "unit": "usd",
        "limit": 0.0005,
        "spent": 0.0,
        "held": 0.0003,
        "needed": 0.0003,
        "resets_at": "2026-11-18T23:00:00Z",
        "alternatives": [],
    }
    for word in ("daily", "max_tokens", "cheaper", "limit"):
        assert word in error.message


def test_warn_lets_pass_and_tells_once() -> None:
    heard: list[Event] = []
    b = budgets(Budget(name="b", limit="$0.0001", on_exceed="warn"), tell=heard.append)
    assert hold(b).warned == ("b",)
    hold(b)
    assert [e.kind for e in heard] == ["exceeded"]


def test_downgrade_is_a_verdict_and_then_lets_the_alias_pass() -> None:
    b = budgets(Budget(name="b", limit="$0.0001", on_exceed={"downgrade": "small"}))
    verdict = b.hold(call(), NOW)
    assert isinstance(verdict, Downgrade)
    assert (verdict.alias, verdict.budget) == ("small", "b")
    assert not b.open
    held = hold(b, call(downgraded=frozenset({"b"})))
    held.settle(7, 7, NOW)
    assert row(b, "b")["spent"] == 7 / DOLLAR, "it still counts"


def test_a_hard_budget_beside_a_downgrading_one_refuses() -> None:
    b = budgets(
        Budget(name="soft", limit="$0.0001", on_exceed={"downgrade": "small"}),
        Budget(name="hard", limit="$0.0002"),
    )
    assert refused(b, call(downgraded=frozenset({"soft"}))).details["budget"] == "hard"


def test_shadow_budgets_count_and_refuse_nothing() -> None:
    heard: list[Event] = []
    b = budgets(Budget(name="b", limit="$0.0001", shadow=True), tell=heard.append)
    held = hold(b)
    held.settle(COST, 200, NOW)
    assert row(b, "b")["spent"] == COST / DOLLAR
    assert heard[0].kind == "shadow"
    assert budget_headers(held, NOW) == []


def test_when_decides_what_a_budget_covers() -> None:
    b = budgets(
        Budget(name="b", limit="$0.0001", when={"header.x": "1"}),
        predicates={"b": lambda who, flag: flag},
    )
    assert hold(b, call(context=("ann", False))).entries == []
    refused(b, call(context=("ann", True)))


def test_thresholds_fire_once_per_window() -> None:
    heard: list[Event] = []
    b = budgets(Budget(name="b", limit="$0.001"), tell=heard.append)
    for _ in range(3):
        hold(b).settle(COST, 200, NOW)
    assert [e.percent for e in heard] == [50, 80]
    hold(b, call(ask(10, 10))).settle(100_000, 20, NOW)
    assert [e.percent for e in heard] == [50, 80, 100]
    hold(b, now=NOW + DAY).settle(600_000, 1, NOW + DAY)
    assert [e.percent for e in heard if e.kind == "threshold"] == [50, 80, 100, 50]


def test_thresholds_passed_before_a_restart_do_not_fire_again() -> None:
    heard: list[Event] = []
    start = hold(budgets(Budget(name="b", limit="$0.001"))).settle(900_000, 1, NOW)[0].window
    b = budgets(
        Budget(name="b", limit="$0.001"), rows=[("b", "all", start, 900_000, 1)], tell=heard.append
    )
    hold(b, call(ask(1, 1))).settle(3000, 2, NOW)
    assert heard == []


def test_a_call_is_booked_in_the_window_in_which_it_was_held() -> None:
    b = budgets(Budget(name="b", limit="$1", window="day"))
    held = hold(b)
    fresh = hold(b, now=NOW + DAY)
    spend = held.settle(COST, 200, NOW + DAY)[0]
    assert spend.window == fresh.entries[0][0].start - DAY
    assert row(b, "b", now=NOW + DAY)["spent"] == 0


def test_time_that_goes_backwards_opens_no_old_window() -> None:
    b = budgets(Budget(name="b", limit="$0.0005", window="day"))
    hold(b, now=NOW + DAY)
    assert refused(b, now=NOW - 5).details["budget"] == "b"


def test_rolling_windows_forget_bit_by_bit() -> None:
    b = budgets(Budget(name="b", limit="$0.0007", window="rolling 24h"))
    hold(b).settle(COST, 200, NOW)
    hold(b, now=NOW + 7200).settle(COST, 200, NOW + 7200)
    assert refused(b, now=NOW + 7200).details["resets_at"] == "2026-11-19T11:15:00Z"
    refused(b, now=NOW + DAY)
    hold(b, now=NOW + DAY + 900)
    assert row(b, "b", now=NOW + DAY + 900)["spent"] == COST / DOLLAR


def test_clamp_lowers_max_tokens_to_what_is_left() -> None:
    b = budgets(Budget(name="b", limit="$0.0005", clamp=True))
    held = hold(b, call(ask(100, 10_000)))
    assert held.max_tokens == 200, "(500_000 - 100 * 1000) / 2000"
    assert held.nano == 500_000
    refused(b)


def test_clamp_is_per_choice_and_not_worth_a_few_tokens() -> None:
    b = budgets(Budget(name="b", limit="$0.0005", clamp=True))
    assert hold(b, call(ask(100, 10_000, n=4))).max_tokens == 50
    b = budgets(Budget(name="b", limit="$0.00012", clamp=True))
    refused(b, call(ask(100, 10_000)))


def test_clamp_leaves_a_call_that_fits_alone() -> None:
    b = budgets(Budget(name="b", limit="$10", clamp=True))
    assert hold(b, call(ask(100, 1000))).max_tokens is None


def test_the_callers_own_ceiling() -> None:
    b = budgets()
    assert hold(b, call(ceiling=COST)).nano == COST
    error = refused(b, call(ceiling=COST - 1))
    assert error.details["budget"] == "x-max-budget"
    assert hold(b, free_call(ceiling=1)).nano == 0


POLICIES: list[tuple[str, Any, Any, str]] = [
    ("deny is the default", "deny", None, "402"),
    ("allow passes with the cost unknown", "allow", None, "unknown"),
    ("an assumed price", {"input": "$3", "output": "$15"}, None, "1800000"),
    ("the provider's own policy wins", "deny", "allow", "unknown"),
    ("in either direction", "allow", "deny", "402"),
]


@pytest.mark.parametrize(
    ("policy", "own", "want"), [p[1:] for p in POLICIES], ids=[p[0] for p in POLICIES]
)
def test_unknown_prices_under_a_dollar_budget(policy: Any, own: Any, want: str) -> None:
    provider = Provider(dialect="openai", base_url="http://127.0.0.1:1", unknown_price=own)
    b = budgets(Budget(name="b", limit="$1"), unknown_price=policy, providers={"acme": provider})
    if want == "402":
        error = refused(b, call(price=None))
        assert error.code == "unknown_price"
        assert "acme/m" in error.message
        return
    held = hold(b, call(price=None))
    if want == "unknown":
        assert held.nano is None
        assert held.settle(None, 200, NOW)[0].nano == 0
    else:
        assert held.nano == int(want)
        assert held.price is not None
        assert held.price.assumed


def test_unknown_prices_elsewhere_are_only_unknown() -> None:
    for terms in (
        [],
        [Budget(name="t", limit="1k tokens")],
        [Budget(name="s", limit="$1", shadow=True)],
    ):
        held = hold(budgets(*terms), call(price=None))
        assert held.nano is None
        held.settle(None, 10, NOW)


def test_what_a_provider_reports_for_an_unknown_model_is_booked() -> None:
    b = budgets(Budget(name="b", limit="$1"), unknown_price="allow")
    hold(b, call(price=None)).settle(5000, 10, NOW)
    assert row(b, "b")["spent"] == 5000 / DOLLAR


def test_a_dearer_service_tier_is_held_at_its_own_price() -> None:
    raw = {"input": DOLLAR, "output": 2 * DOLLAR}
    service = {"priority": {"input": 2 * DOLLAR, "output": 4 * DOLLAR}, "flex": {"output": DOLLAR}}
    price = price_of(raw, service=service)
    b = budgets(Budget(name="b", limit="$1"))
    for tier, nano in ((None, COST), ("priority", 2 * COST), ("flex", COST), ("auto", COST)):
        held = hold(b, call(ask(100, 100, service_tier=tier), price=price))
        assert held.nano == nano, tier
        assert held.price is price, "settled by the tier that the answer reports"


def test_an_exhausted_budget_is_exhausted_for_unknown_prices_too() -> None:
    b = budgets(Budget(name="b", limit="$0.0003"), unknown_price="allow")
    hold(b).settle(COST, 200, NOW)
    refused(b, call(price=None))


def test_metered_only_endpoints_hold_nothing() -> None:
    b = budgets(Budget(name="b", limit="$0"))
    for endpoint in ("count_tokens", "models"):
        assert hold(b, call(ask(endpoint=endpoint))).entries == []


def test_overrun_is_booked_in_full_named_and_blocks_the_next() -> None:
    heard: list[Event] = []
    b = budgets(Budget(name="b", limit="$0.0005", hold="worst", thresholds=[]), tell=heard.append)
    held = hold(b, call(ask(10, 10, body_bytes=10)))
    held.settle(900_000, 5000, NOW)
    assert held.overrun == 900_000 - 30_000
    assert [e.kind for e in heard] == ["overrun"]
    assert row(b, "b") | {"spent": 0.0009, "remaining": 0} == row(b, "b")
    refused(b, call(ask(1, 1, body_bytes=1)))


def test_a_changed_limit_keeps_its_usage() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    hold(b).settle(COST, 200, NOW)
    open_hold = hold(b)
    b.rebuild(config(Budget(name="b", limit="$2"), Budget(name="new", limit="$1")), NOW)
    assert row(b, "b") | {"limit": 2.0, "spent": 0.0003, "held": 0.0003} == row(b, "b")
    open_hold.settle(COST, 200, NOW)
    assert row(b, "b")["spent"] == 0.0006


def test_a_limit_that_changes_its_unit_keeps_both() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    hold(b).settle(COST, 200, NOW)
    held = hold(b)
    b.rebuild(config(Budget(name="b", limit="1k tokens")), NOW)
    assert row(b, "b") | {"spent": 200, "held": 200, "unit": "tokens"} == row(b, "b")
    held.release()
    assert row(b, "b")["held"] == 0


def test_a_budget_that_left_and_came_back_remembers() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    hold(b).settle(COST, 200, NOW)
    b.rebuild(config(), NOW)
    assert b.status(NOW) == []
    b.rebuild(config(Budget(name="b", limit="$1")), NOW)
    assert row(b, "b")["spent"] == 0.0003


def test_bad_terms_change_nothing() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    with pytest.raises(ValueError, match="dollars"):
        b.rebuild(config(Budget(name="b", limit="$2"), Budget(name="c", limit="plenty")), NOW)
    assert row(b, "b")["limit"] == 1.0
    faults = list(budget_faults([Budget(name="c", limit="plenty"), Budget(name="d", limit=1)], NOW))
    assert [path for path, _ in faults] == ["budgets.0"]


def test_sums_of_other_windows_and_budgets_are_passed_over() -> None:
    rows = [("b", "all", 5, 10**9, 1), ("gone", "all", 0, 1, 1), ("p", "all", 0, 250_000, 9)]
    b = budgets(
        Budget(name="b", limit="$1"), Budget(name="p", limit="$1", window="prepaid"), rows=rows
    )
    assert row(b, "b")["spent"] == 0
    assert row(b, "p")["spent"] == 0.00025


def test_runs_are_forgotten_when_idle_for_a_week() -> None:
    b = budgets(Budget(name="b", per="run", limit="$1", window="run"))
    hold(b, call(caller=Caller(run="old"))).settle(1, 1, NOW)
    later = NOW + 8 * DAY
    hold(b, call(caller=Caller(run="new")), now=later)
    assert [r["scope"] for r in b.status(later)] == ["new"]


def test_stop_stream_extends_a_running_stream_up_to_the_limit() -> None:
    b = budgets(Budget(name="b", limit="$0.01", stop_stream=True))
    held = hold(b, call(ask(1000, 100_000), learned=100))
    assert held.allowance == 100
    assert held.extend(101) == 101 + 256
    limit = (10_000_000 - 1_000_000) // 2000
    assert held.extend(100_000) == limit, "the rest of the budget and not a token more"
    assert held.extend(100_000) == limit
    assert row(b, "b")["remaining"] == 0
    held.settle(PRICE.ceiling(1000, limit), 1000 + limit, NOW)
    assert row(b, "b") | {"spent": 0.01, "held": 0} == row(b, "b")


def test_two_streams_share_what_is_left_exactly() -> None:
    b = budgets(Budget(name="b", limit="10k tokens", stop_stream=True))
    one, two = (hold(b, call(ask(0, 100_000), learned=10)) for _ in range(2))
    one.extend(7000)
    assert two.extend(7000) == 10_000 - 7256
    assert row(b, "b")["remaining"] == 0


def test_without_stop_stream_a_stream_is_never_stopped() -> None:
    held = hold(budgets(Budget(name="b", limit="$0.001")))
    assert held.extend(10**12) == held.allowance > 10**12


def test_what_an_attempt_owes_unseen_is_what_it_held() -> None:
    b = budgets(Budget(name="b", limit="$1"))
    old, young = hold(b), hold(b, now=NOW + 100)
    (spend,) = old.settle_at_hold(NOW + 100)
    assert spend.nano == COST
    assert b.open == {young}


def test_headers_show_the_tightest_budget_in_whole() -> None:
    b = budgets(Budget(name="wide", limit="$10"), Budget(name="tight\n€", limit="$0.001"))
    headers = dict(budget_headers(hold(b), NOW))
    assert headers == {
        b"x-budget-name": b"tight????",
        b"x-budget-limit": b"0.001000",
        b"x-budget-remaining": b"0.000700",
        b"x-budget-reset": b"2026-11-19T00:00:00Z",
    }


def test_fits_tells_what_a_refusal_may_offer() -> None:
    b = budgets(Budget(name="b", limit="$0.0001"))
    assert not b.fits(call(), NOW)
    assert b.fits(call(ask(10, 10)), NOW)
    assert b.fits(free_call(), NOW)
    assert row(b, "b")["held"] == 0


def test_rules_see_the_share_of_the_callers_own_scope() -> None:
    b = budgets(
        Budget(name="b", per="key", limit="$0.001"), Budget(name="m", per="model", limit="$1")
    )
    hold(b, call(caller=Caller(key="a"))).settle(COST, 1, NOW)
    hold(b, call(caller=Caller(key="a")))
    view = b.view(NOW)
    assert view.share("b", Caller(key="a"), ask()) == pytest.approx(0.6)
    assert view.share("b", Caller(key="z"), ask()) == 0
    assert view.share("m", Caller(), ask()) is None
    assert view.share("none", Caller(), ask()) is None


def test_the_journal_names_the_counters() -> None:
    b = budgets(Budget(name="b", per="key", limit="$1", hold="worst"))
    held = hold(b, call(ask(10, 100, body_bytes=77), Caller(key="a|b")))
    name, _, rest = held.scopes[0].partition("|")
    scope, _, window = rest.rpartition("|")
    assert (name, scope, int(window)) == ("b", "a|b", held.entries[0][0].start)
    assert held.reserved == (77, 100)


def test_top_up_of_an_unknown_budget_is_not_found() -> None:
    with pytest.raises(MuxError) as caught:
        budgets().top_up("b", "all", 1, NOW)
    assert caught.value.status == 404


def test_top_ups_outlive_a_restart() -> None:
    terms = Budget(name="b", limit="$1", window="prepaid")
    spend = budgets(terms).top_up("b", "all", DOLLAR, NOW)
    assert spend.window == TOP_UP_WINDOW
    again = budgets(
        terms, rows=[(spend.budget, spend.scope, spend.window, spend.nano, spend.tokens)]
    )
    assert row(again, "b") | {"limit": 2.0, "spent": 0} == row(again, "b")


def test_no_budgets_cost_next_to_nothing() -> None:
    held = budgets().hold(call(), NOW)
    assert isinstance(held, Held)
    assert held.nano == COST
    assert held.settle(5, 5, NOW) == []
    assert hold(budgets(), call(price=FREE)).nano == 0


def test_asking_whether_a_call_would_fit_tells_nobody() -> None:
    """The alternatives of a refusal are looked at, not made: no event, and none is used up."""
    heard: list[Event] = []
    b = budgets(Budget(name="b", limit="$0", on_exceed="warn", thresholds=[]), tell=heard.append)
    assert b.fits(call(), NOW)
    assert heard == []
    hold(b)
    assert [event.kind for event in heard] == ["exceeded"]
