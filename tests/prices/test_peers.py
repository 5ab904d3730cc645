"""The field's bug reports about prices, each as a test. Numbers: rows of PEERS.md 2.1.

Rows 4, 16 and 26 are wire tests: tests/wire/test_ledger_failures.py (a ledger that fails refuses),
tests/wire/test_translation.py and tests/sdk/test_translated.py (usage in message_start and
count_tokens across dialects), tests/wire/test_budget_api.py (budgets made while it runs).
"""

from __future__ import annotations

from muxproxy.dialects.usage import normalise
from muxproxy.exchange import Usage
from muxproxy.prices import price_of

CLAUDE = price_of(
    {
        "input": 3_000_000_000,
        "output": 15_000_000_000,
        "cache_read": 300_000_000,
        "cache_write": 3_750_000_000,
    },
    name="claude",
)


def test_13_cached_tokens_are_priced_as_cached() -> None:
    native = {"input_tokens": 10, "cache_read_input_tokens": 1000, "output_tokens": 1}
    usage = normalise(native | {"cache_creation_input_tokens": 100})
    assert usage is not None
    assert CLAUDE.cost(usage) == 10 * 3000 + 1000 * 300 + 100 * 3750 + 15_000


def test_14_cache_reads_are_not_billed_twice() -> None:
    """OpenAI's prompt_tokens include them, Anthropic's input_tokens do not."""
    native = {
        "prompt_tokens": 1010,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1000},
    }
    usage = normalise(native)
    assert usage is not None
    assert CLAUDE.cost(usage) == 10 * 3000 + 1000 * 300 + 15_000


def test_15_totals_say_the_same_whatever_the_dialect_counts() -> None:
    anthropic = normalise({"input_tokens": 10, "cache_read_input_tokens": 1000, "output_tokens": 5})
    openai = normalise(
        {
            "prompt_tokens": 1010,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1000},
        }
    )
    assert anthropic is not None and openai is not None
    assert anthropic.input_total == openai.input_total == 1010
    assert anthropic.input == openai.input == 10


def test_17_cached_audio_is_not_priced_as_fresh_audio() -> None:
    price = price_of(
        {
            "input": 4_000_000_000,
            "output": 16_000_000_000,
            "audio_in": 32_000_000_000,
            "audio_cache_read": 400_000_000,
            "cache_read": 400_000_000,
        },
        name="realtime",
    )
    usage = Usage(input=0, cache_read=1000, audio_in=1000, cache_read_audio=1000)
    assert price.cost(usage) == 1000 * 400
