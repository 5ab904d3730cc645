"""Counting delivered text: by vocabulary, by a scaled one, by characters; and learning."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from muxproxy.exchange import COUNTED, PROVIDER
from muxproxy.tap import Tap, TokenCounter, make_tap
from muxproxy.tap.counting import MODELS, RATIO, SCALED, TOKENIZER
from muxproxy.tap.families import family_of

PROSE = "The quick brown fox jumps over the lazy dog and then it sleeps for a while. " * 40


def answer(text: str, usage: dict[str, int] | None, model: str = "m") -> Tap:
    tap = make_tap("chat", "openai", b"text/event-stream", None, 200)
    events: list[object] = [
        {"model": model, "choices": [{"delta": {"content": text[i : i + 9]}}]}
        for i in range(0, len(text), 9)
    ]
    if usage is not None:
        events.append({"model": model, "choices": [], "usage": usage})
    for event in events:
        tap.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    tap.finish()
    return tap


@pytest.mark.parametrize(
    ("model", "vocabulary", "exact"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base", True),
        ("openai/gpt-4.1", "o200k_base", True),
        ("gpt-5-nano", "o200k_base", True),
        ("o3-mini", "o200k_base", True),
        ("openai/o4-mini", "o200k_base", True),
        ("gpt-4-0613", "cl100k_base", True),
        ("gpt-35-turbo", "cl100k_base", True),
        ("gpt-oss:120b", "gpt-oss", True),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3", True),
        ("deepseek-chat", "deepseek_v3", True),
        ("mistral-small-latest", "mistral_v3", True),
        ("mixtral-8x7b-instruct", "mistral_v1", True),
        ("qwen3-max", "qwen3", True),
        ("moonshotai/kimi-k2", "kimi", True),
        ("glm-4.7-flash", "glm4", True),
        ("claude-sonnet-4-5", "o200k_base", False),
        ("gemini-2.5-flash", "o200k_base", False),
        ("never-heard-of-it", "o200k_base", False),
    ],
)
def test_families(model: str, vocabulary: str, exact: bool) -> None:
    family = family_of(model)
    assert (family.vocabulary, family.exact) == (vocabulary, exact)


def test_the_new_anthropic_tokenizer_is_told_by_name() -> None:
    new = family_of("claude-sonnet-5").factor
    assert new > 1.3
    for model in ("claude-opus-4-8", "claude-fable-5", "us.anthropic.claude-opus-4-7-v1:0"):
        assert family_of(model).factor == new
    for model in (
        "claude-sonnet-4-20250514",
        "claude-opus-4-1",
        "claude-haiku-4-5",
        "claude-3-opus",
    ):
        assert family_of(model).factor < 1.2


def test_a_vocabulary_counts_exactly() -> None:
    pytest.importorskip("splintr")
    counter = TokenCounter()
    assert counter.count("gpt-4o", ["Hello", " world"]) == (2, TOKENIZER)
    assert counter.count("gpt-4o", ["<|endoftext|>"])[0] > 1  # text that spells a special token
    assert counter.count("claude-sonnet-4-5", [PROSE])[1] == SCALED


def test_a_sample_is_scaled_to_the_whole() -> None:
    pytest.importorskip("splintr")
    counter = TokenCounter()
    whole, _ = counter.count("gpt-4o", [PROSE])
    part, _ = counter.count("gpt-4o", [PROSE[: len(PROSE) // 2]], chars=len(PROSE))
    assert abs(part - whole) <= whole * 0.02


def test_long_answers_are_sampled_evenly() -> None:
    """Half prose, half code: the sample must hold both."""
    pytest.importorskip("splintr")
    text = PROSE * 10 + 'if (x["a"]!=0){y+=1;}\n' * 1500
    counter = TokenCounter()
    whole, _ = counter.count("gpt-4o", [text])
    tap = answer(text, None)
    assert len("".join(tap.delivered_text())) <= 8192 + 2 * 64 * 9
    counted, _ = counter.delivered("gpt-4o", tap)
    assert abs(counted - whole) <= whole * 0.05


def test_without_the_extra_a_ratio_is_learned() -> None:
    counter = TokenCounter(tokenizers=False)
    before, how = counter.count("some-model", [PROSE])
    assert how == RATIO
    assert before == pytest.approx(len(PROSE) / 4.0 + 1, rel=0.01)
    for _ in range(50):
        counter.observe("some-model", 3000, 1000)
    after, _ = counter.count("some-model", [PROSE])
    assert after == pytest.approx(len(PROSE) / 3.0, rel=0.05)
    assert counter.estimate_tokens("some-model", 300) == pytest.approx(100, rel=0.05)
    assert counter.count("other-model", [PROSE])[0] == before


def test_a_missing_package_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "splintr", None)
    assert TokenCounter().count("gpt-4o", [PROSE])[1] == RATIO


def test_nonsense_teaches_nothing() -> None:
    counter = TokenCounter(tokenizers=False)
    before = counter.count("m", [PROSE])
    for chars, tokens in ((0, 5), (5, 0), (1, 1000), (100_000, 1), (-1, 1)):
        counter.observe("m", chars, tokens)
    assert counter.count("m", [PROSE]) == before


def test_the_drift_is_known_per_model_and_models_are_bounded() -> None:
    counter = TokenCounter()
    usage = {"prompt_tokens": 1, "completion_tokens": 640}
    tap = answer(PROSE, usage)
    counter.learn("m", tap)
    counted, reported = counter.drift["m"]
    assert reported == 640
    assert counted > 100
    for i in range(MODELS + 5):
        counter.observe(f"model-{i}", 100, 25)
    assert len(counter._models) == MODELS
    assert "m" not in counter.drift


def test_what_is_only_learned_from_waits_for_a_quiet_moment_and_what_is_owed_does_not() -> None:
    pytest.importorskip("splintr")
    looked = threading.Event()

    def never() -> bool:
        looked.set()
        return False

    now, later = TokenCounter(), TokenCounter(quiet=never)
    tap = answer(PROSE, {"prompt_tokens": 1, "completion_tokens": 640})
    for counter in (now, later):
        counter.learn("gpt-4o", tap)
    assert looked.wait(10)
    assert later._pending and not later._encoders
    assert later.count("gpt-4o", [PROSE]) == now.count("gpt-4o", [PROSE])
    assert not later._loading
    assert later.drift == now.drift
    assert not later._pending


def test_a_vocabulary_is_loaded_when_it_is_quiet() -> None:
    pytest.importorskip("splintr")
    counter = TokenCounter(quiet=lambda: True)
    tap = answer(PROSE, {"prompt_tokens": 1, "completion_tokens": 640})
    counter.learn("gpt-4o", tap)
    ((thread, now),) = counter._loading.values()
    thread.join(60)
    assert list(counter._encoders) == ["o200k_base"]
    assert not now.is_set()


def test_a_scale_is_learned_from_reported_usage() -> None:
    pytest.importorskip("splintr")
    counter = TokenCounter()
    start, _ = counter.count("claude-next", [PROSE])
    reported = round(start * 1.3)
    tap = answer(PROSE, {"prompt_tokens": 1, "completion_tokens": reported})
    for _ in range(200):
        counter.learn("claude-next", tap)
    assert counter.count("claude-next", [PROSE])[0] == pytest.approx(reported, rel=0.03)


def test_settling_takes_the_provider_or_what_was_delivered() -> None:
    counter = TokenCounter()
    told = answer(PROSE, {"prompt_tokens": 10, "completion_tokens": 20})
    usage, source = counter.settle("gpt-4o", told, 99)
    assert (usage.input_total, usage.output_total, source) == (10, 20, PROVIDER)
    silent = answer(PROSE, None)
    usage, source = counter.settle("gpt-4o", silent, 99)
    assert (usage.input_total, source) == (99, COUNTED)
    assert usage.output_total == counter.delivered("gpt-4o", silent)[0] > 400
    empty = answer("", None)
    assert counter.settle("gpt-4o", empty, 99)[0].output_total == 0


def test_a_cut_anthropic_answer_settles_with_its_known_input() -> None:
    tap = make_tap("messages", "anthropic", b"text/event-stream", None, 200)
    start = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 50, "output_tokens": 1}},
    }
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": PROSE}}
    for event in (start, delta):
        tap.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    usage, source = TokenCounter().settle("claude-sonnet-4-5", tap, 99)
    assert (usage.input_total, source) == (50, COUNTED)
    assert usage.output_total > 400
