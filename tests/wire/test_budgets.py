"""What budgets do to calls, over real sockets: refuse, downgrade, clamp, count, and outlive us."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from muxproxy.dialects.paths import classify
from muxproxy.inspection import inspect
from tests.http_client import Answer, encode
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, sums, tokens_of

PRICES = """
prices:
  "*/dear": {input: 10, output: 20}
  "*/cheap": {input: 1, output: 2}
"""
PROVIDERS = """
  openai:    {dialect: openai,    base_url: "SIM/v1", api_key: k}
  anthropic: {dialect: anthropic, base_url: "SIM",    api_key: k}
  google:    {dialect: gemini,    base_url: "SIM",    api_key: k}
  local:     {dialect: openai,    base_url: "SIM/v1", price: free}
"""
USER = {"role": "user", "content": "Tell me a story"}
CHAT: dict[str, Any] = {"model": "dear", "messages": [USER], "max_tokens": 20}
PATH = "/v1/chat/completions"
GENERATE: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}],
    "generationConfig": {"maxOutputTokens": 20},
}
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATH, CHAT),
    "responses": ("/v1/responses", {"model": "dear", "input": "Tell", "max_output_tokens": 20}),
    "anthropic": ("/v1/messages", CHAT),
    "gemini": ("/v1beta/models/dear:generateContent", GENERATE),
}
BYTES = 200  # of every body, since the estimate of its tokens goes by its length


def wire(body: dict[str, Any]) -> bytes:
    """JSON of BYTES bytes."""
    data = encode(body)
    assert len(data) <= BYTES
    return data + b" " * (BYTES - len(data))


# What is expected of a call of CHAT, and what the simulator then reports.
IN, OUT = inspect(classify("POST", PATH), wire(CHAT)).prompt_tokens, 20
DEAR = IN * 10_000 + OUT * 20_000
CHEAP = DEAR // 10
USED = {"x-sim-input": str(IN), "x-sim-tokens": str(OUT)}


def budget(limit: str, **more: str) -> str:
    """The configuration with one budget."""
    fields = {"name": "purse", "limit": limit, "window": "month", **more}
    return f"{PRICES}budgets:\n  - {{{', '.join(f'{k}: {v}' for k, v in fields.items())}}}\n"


def error_of(answer: Answer, kind: str = "chat") -> dict[str, Any]:
    """The members of a refusal, wherever the dialect keeps them."""
    body = answer.json()
    error = body["error"]
    details = error["details"][0]["metadata"] if kind == "gemini" else error
    return {**details, "code": code_in(body, kind)}


async def spend(proxy: Stack, times: int = 1, **more: Any) -> list[Answer]:
    """So many calls of CHAT, one after the other."""
    return [await fetch(proxy.port, PATH, wire({**CHAT, **more}), USED) for _ in range(times)]


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKS)
async def test_a_refusal_tells_all_in_the_callers_dialect(tmp_path: Path, kind: str) -> None:
    path, body = ASKS[kind]
    async with stack(tmp_path, budget("$0"), providers=PROVIDERS) as proxy:
        answer = await fetch(proxy.port, path, body)
        assert answer.status == 402
        assert answer.headers["x-should-retry"] == "false"
        assert "x-muxproxy-id" in answer.headers
        told = error_of(answer, kind)
        assert told["code"] == "budget_exceeded"
        assert (told["budget"], told["scope"], told["unit"]) == ("purse", "all", "usd")
        assert [float(told[name]) for name in ("limit", "spent", "held")] == [0, 0, 0]
        assert float(told["needed"]) > 0
        assert told["resets_at"].endswith("-01T00:00:00Z")
        assert not proxy.sim.requests
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.status, receipt.cost) == ("refused", 402, 0)


async def test_a_refusal_names_cheaper_models_that_would_fit(tmp_path: Path) -> None:
    yaml = budget(f"${CHEAP * 2 / 1e9:.9f}") + "models:\n  small: [openai/cheap]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        (answer,) = await spend(proxy)
        assert answer.status == 402
        (other,) = error_of(answer)["alternatives"]
        assert other == {"model": "openai/cheap", "estimated_cost": CHEAP / 1e9}
        # above its own ceiling too
        more = {"x-max-budget": f"{CHEAP * 2 / 1e9:.9f}"}
        asked = await fetch(proxy.port, PATH, wire(CHAT), more)
        assert [a["model"] for a in error_of(asked)["alternatives"]] == ["openai/cheap"]
        await balanced(proxy, 2)


async def test_a_token_budget_counts_tokens(tmp_path: Path) -> None:
    async with stack(
        tmp_path, budget(f"{2 * (IN + OUT) + 2} tokens"), providers=PROVIDERS
    ) as proxy:
        answers = await spend(proxy, 3)
        assert [a.status for a in answers] == [200, 200, 402]
        each = IN + OUT
        assert answers[0].headers["x-budget-limit"] == str(2 * each + 2)
        assert answers[0].headers["x-budget-remaining"] == str(each + 2)
        told = error_of(answers[2])
        assert (told["unit"], told["limit"], told["held"]) == ("tokens", 2 * each + 2, 0)
        assert (told["spent"], told["needed"]) == (2 * each, each)
        receipts = await balanced(proxy, 3)
        assert sums(proxy, "purse")["all"][1] == 2 * each == sum(map(tokens_of, receipts))


async def test_every_choice_is_held_and_paid(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("$0.001700"), providers=PROVIDERS) as proxy:
        (answer,) = await spend(proxy, n=3)
        assert answer.status == 200
        (refused,) = await spend(proxy, n=4)
        assert refused.status == 402
        receipts = await balanced(proxy, 2)
        assert receipts[0].held == IN * 10_000 + 3 * OUT * 20_000


async def test_lists_and_token_counts_pass_when_nothing_is_left(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("$0"), providers=PROVIDERS) as proxy:
        counted = await fetch(proxy.port, "/v1/messages/count_tokens", CHAT)
        listed = await fetch(proxy.port, "/p/openai/v1/models", None, method="GET")
        assert (counted.status, listed.status) == (200, 200)
        await balanced(proxy, 2)
        assert sums(proxy, "purse") == {}


# -- headers and the table -----------------------------------------------------------------------


async def test_headers_tell_of_the_tightest_budget(tmp_path: Path) -> None:
    yaml = f"""{PRICES}
budgets:
  - {{name: wide, limit: $1, window: day}}
  - {{name: "tight né", limit: $0.01, window: day, tz: Europe/Berlin}}
  - {{name: unseen, limit: $0.000001, window: day, shadow: true}}
"""
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        for number, answer in enumerate(await spend(proxy, 2), 1):
            assert answer.headers["x-budget-name"].startswith("tight n")
            assert answer.headers["x-budget-limit"] == "0.010000"
            left = 10_000_000 - number * DEAR
            assert answer.headers["x-budget-remaining"] == f"{left / 1e9:.6f}"
            assert answer.headers["x-budget-reset"].endswith(("T22:00:00Z", "T23:00:00Z"))


async def test_a_hold_is_visible_while_the_call_runs(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("$1"), providers=PROVIDERS) as proxy:
        silent = {"x-sim-hang-after": "0"}
        call = asyncio.create_task(fetch(proxy.port, PATH, wire(CHAT), silent))
        await proxy.sim.until(lambda sim: len(sim.requests) == 1)
        (row,) = (await proxy.get("/v1/analytics/budgets")).json()["budgets"]
        assert (row["spent"], row["held"]) == (0, DEAR / 1e9)
        assert row["remaining"] == (10**9 - DEAR) / 1e9
        call.cancel()
        await asyncio.wait([call])
        await balanced(proxy, 1)
        (row,) = (await proxy.get("/v1/analytics/budgets")).json()["budgets"]
        # It was sent, so it may have cost money: hanging up is not a way to pay nothing.
        assert (row["spent"], row["held"]) == (DEAR / 1e9, 0)


async def test_thresholds_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("muxproxy").propagate = True
    async with stack(tmp_path, budget(f"${DEAR * 4 / 1e9:.9f}"), providers=PROVIDERS) as proxy:
        await spend(proxy, 6)
        told = [r.percent for r in caplog.records if r.message == "budget threshold"]
        assert told == [50, 80, 100]


# -- what else a budget may do -------------------------------------------------------------------


async def test_downgrade_goes_on_with_the_models_of_an_alias(tmp_path: Path) -> None:
    yaml = budget(f"${DEAR / 1e9:.9f}", on_exceed="{downgrade: small}")
    yaml += "models:\n  small: [openai/cheap, anthropic/cheap]\ntranslation: off\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        answers = await spend(proxy, 3)
        assert [a.status for a in answers] == [200, 200, 200]
        models = [json.loads(r.body or b"")["model"] for r in proxy.sim.requests]
        assert models == ["dear", "cheap", "cheap"]
        receipts = await balanced(proxy, 3)
        assert [r.cost for r in receipts] == [DEAR, CHEAP, CHEAP]
        assert "downgraded to small" in receipts[1].reason
        assert sums(proxy, "purse")["all"][0] == DEAR + 2 * CHEAP
        claude = await fetch(proxy.port, "/v1/messages", CHAT)
        assert claude.headers["x-muxproxy-provider"] == "anthropic"
        assert claude.headers["x-muxproxy-model"] == "cheap"


async def test_a_downgrade_that_another_budget_refuses_is_a_402(tmp_path: Path) -> None:
    yaml = budget("$0", on_exceed="{downgrade: small}")
    yaml += "  - {name: hard, limit: $0, window: day}\nmodels:\n  small: [openai/cheap]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        (answer,) = await spend(proxy)
        assert answer.status == 402
        assert not proxy.sim.requests
        await balanced(proxy, 1)


@pytest.mark.parametrize("terms", [{"on_exceed": "warn"}, {"shadow": "true"}])
async def test_warn_and_shadow_count_and_let_pass(
    tmp_path: Path, terms: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("muxproxy").propagate = True
    async with stack(tmp_path, budget("$0.000001", **terms), providers=PROVIDERS) as proxy:
        assert [a.status for a in await spend(proxy, 3)] == [200, 200, 200]
        await balanced(proxy, 3)
        assert sums(proxy, "purse")["all"][0] == 3 * DEAR
        kind = "budget shadow" if "shadow" in terms else "budget exceeded"
        assert [r.message for r in caplog.records].count(kind) == 1


@pytest.mark.parametrize("kind", ASKS)
async def test_clamp_lowers_max_tokens_to_what_is_left(tmp_path: Path, kind: str) -> None:
    fields = {"chat": "max_tokens", "responses": "max_output_tokens", "anthropic": "max_tokens"}
    path, body = ASKS[kind]
    if kind == "gemini":
        body = {**body, "generationConfig": {"maxOutputTokens": 5000, "topK": 3}}
    else:
        body = {**body, fields[kind]: 5000}
    terms = budget("$0.01", clamp="true", hold="worst")
    async with stack(tmp_path, terms, providers=PROVIDERS) as proxy:
        answer = await fetch(proxy.port, path, wire(body))
        assert answer.status == 200
        (seen,) = proxy.sim.requests
        sent = json.loads(seen.body or b"")
        if kind == "gemini":
            assert sent["generationConfig"].pop("topK") == 3
            lowered = sent["generationConfig"]["maxOutputTokens"]
        else:
            lowered = sent[fields[kind]]
        room = 10_000_000 - BYTES * 10_000
        assert lowered == room // 20_000
        (receipt,) = await balanced(proxy, 1)
        assert receipt.held is not None and 0 <= 10_000_000 - receipt.held < 20_000
        assert receipt.edits


async def test_clamp_refuses_what_leaves_no_room_for_an_answer(tmp_path: Path) -> None:
    async with stack(
        tmp_path, budget(f"${(DEAR - 5 * 20_000) / 1e9:.9f}", clamp="true"), providers=PROVIDERS
    ) as proxy:
        (answer,) = await spend(proxy)
        assert answer.status == 402


# -- the caller's own ceiling --------------------------------------------------------------------

CEILINGS = {
    "in dollars": (f"${DEAR / 1e9:.9f}", "dear"),
    "as a number": (f"{DEAR / 1e9:.9f}", "dear"),
    "room for the cheap one": (f"${CHEAP / 1e9:.9f}", "cheap"),
    "room for none": (f"${(CHEAP - 1) / 1e9:.9f}", None),
}


@pytest.mark.parametrize("where", ["header", "body"])
@pytest.mark.parametrize(("ceiling", "model"), CEILINGS.values(), ids=CEILINGS)
async def test_a_ceiling_skips_candidates_that_may_cost_more(
    tmp_path: Path, ceiling: str, model: str | None, where: str
) -> None:
    yaml = PRICES + "models:\n  both: [openai/dear, openai/cheap]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        body = {**CHAT, "model": "both"}
        if where == "header":
            answer = await fetch(proxy.port, PATH, wire(body), {"x-max-budget": ceiling})
        else:
            body["max_budget"] = ceiling
            answer = await fetch(proxy.port, PATH + "/enhanced", wire(body))
        (receipt,) = await balanced(proxy, 1)
        if model is None:
            assert answer.status == 402
            told = error_of(answer)
            assert (told["code"], told["budget"]) == ("budget_exceeded", "x-max-budget")
            assert not proxy.sim.requests
            return
        assert answer.headers["x-muxproxy-model"] == model
        assert receipt.attempts == 1
        (seen,) = proxy.sim.requests
        assert seen.get("x-max-budget") is None
        assert "max_budget" not in json.loads(seen.body or b"")


async def test_a_ceiling_that_is_no_amount_is_a_400(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES, providers=PROVIDERS) as proxy:
        answer = await fetch(proxy.port, PATH, CHAT, {"x-max-budget": "a lot"})
        assert (answer.status, error_of(answer)["code"]) == (400, "invalid_request")


# -- prices nobody knows, and none ---------------------------------------------------------------

UNKNOWN = {
    "deny": ("deny", "$1", 402, None),
    "allow": ("allow", "$1", 200, None),
    "allow, but nothing is left": ("allow", "$0", 402, None),
    "an assumed price": ("{input: $3, output: $15}", "$1", 200, IN * 3_000 + OUT * 15_000),
    "deny, without a dollar budget": ("deny", "1M tokens", 200, None),
}


@pytest.mark.parametrize(("policy", "limit", "status", "cost"), UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("place", ["everywhere", "provider"])
async def test_unknown_price(
    tmp_path: Path, policy: str, limit: str, status: int, cost: int | None, place: str
) -> None:
    providers, yaml = PROVIDERS, budget(limit)
    if place == "everywhere":
        yaml += f"unknown_price: {policy}\n"
    else:
        yaml += f"unknown_price: {'allow' if policy == 'deny' else 'deny'}\n"
        providers = providers.replace("api_key: k}", f"api_key: k, unknown_price: {policy}}}", 1)
    async with stack(tmp_path, yaml, providers=providers) as proxy:
        (answer,) = await spend(proxy, model="nobody-knows")
        assert answer.status == status
        (receipt,) = await balanced(proxy, 1)
        if status == 200:
            assert receipt.cost == cost  # None, never 0
            assert tokens_of(receipt) == IN + OUT
        elif policy == "deny":
            assert error_of(answer)["code"] == "unknown_price"
            assert "openai/nobody-knows" in error_of(answer)["message"]


async def test_a_free_provider_works_when_nothing_is_left(tmp_path: Path) -> None:
    async with stack(tmp_path, budget("$0"), providers=PROVIDERS) as proxy:
        (answer,) = await spend(proxy, model="local/llama")
        assert answer.status == 200
        assert "x-budget-name" not in answer.headers
        (receipt,) = await balanced(proxy, 1)
        assert receipt.cost == 0


async def test_a_candidate_that_does_not_fit_is_skipped(tmp_path: Path) -> None:
    yaml = budget(f"${CHEAP / 1e9:.9f}") + "models:\n  both: [openai/dear, local/llama]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        (answer,) = await spend(proxy, model="both")
        assert answer.headers["x-muxproxy-provider"] == "local"
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.attempts, receipt.cost) == (1, 0)


async def test_when_no_other_candidate_fits_the_providers_own_answer_stands(tmp_path: Path) -> None:
    yaml = budget(f"${CHEAP / 1e9:.9f}") + "models:\n  both: [local/llama, openai/dear]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        body = {**CHAT, "model": "both"}
        answer = await fetch(proxy.port, PATH, wire(body), {"x-sim-status": "503"})
        await balanced(proxy, 1)
        assert answer.status == 503
