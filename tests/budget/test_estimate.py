"""What a call may take: expected and worst case, and what models taught us."""

from __future__ import annotations

from muxproxy.budget import Outputs, estimate
from muxproxy.budget.estimate import ENOUGH, MEDIA_TOKENS, SEEN, UNLEARNED_OUTPUT
from muxproxy.prices import price_of
from tests.budget.support import PRICE, ask


def test_expected_output_is_1024_until_something_was_learned() -> None:
    assert estimate(ask(100, None), PRICE, None).tokens_out == UNLEARNED_OUTPUT
    assert estimate(ask(100, 50), PRICE, None).tokens_out == 50
    assert estimate(ask(100, 50_000), PRICE, None).tokens_out == UNLEARNED_OUTPUT
    assert estimate(ask(100, 50_000), PRICE, 300).tokens_out == 300
    assert estimate(ask(100, 200), PRICE, 300).tokens_out == 200


def test_worst_case_is_bytes_media_and_n_times_max_tokens() -> None:
    est = estimate(ask(100, 500, n=3, body_bytes=9000, media=2, media_bytes=5000), PRICE, 10)
    assert est.worst_in == 4000 + 2 * MEDIA_TOKENS
    assert est.worst_out == 1500
    assert est.tokens_out == 30


def test_without_max_tokens_the_models_own_limit_is_the_worst() -> None:
    price = price_of({"input": 1, "output": 1}, context_window=200_000, max_output=64_000)
    assert estimate(ask(1, None), price, None).worst_out == 64_000
    windowed = price_of({"input": 1, "output": 1}, context_window=32_000)
    assert estimate(ask(1, None), windowed, None).worst_out == 32_000


def test_embeddings_put_out_nothing() -> None:
    est = estimate(ask(100, None, endpoint="embeddings"), PRICE, None)
    assert (est.tokens_out, est.worst_out) == (0, 0)


def test_p95_of_the_last_answers() -> None:
    outputs = Outputs()
    for tokens in range(1, 101):
        outputs.observe("m", tokens)
    assert outputs.p95("m") == 95
    for _ in range(SEEN):
        outputs.observe("m", 7)
    assert outputs.p95("m") == 7, "old answers are forgotten"
    assert outputs.p95("other") is None


def test_few_answers_teach_nothing() -> None:
    outputs = Outputs()
    for _ in range(ENOUGH - 1):
        outputs.observe("m", 5)
    assert outputs.p95("m") is None
    outputs.observe("m", 10, n=2)
    assert outputs.p95("m") == 5


def test_models_remembered_are_bounded() -> None:
    outputs = Outputs()
    for i in range(3000):
        outputs.observe(f"m{i}", 5)
    assert len(outputs._seen) <= 1024
