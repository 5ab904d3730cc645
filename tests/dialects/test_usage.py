"""Each shape of usage object, as one Usage: no token twice, None where nothing was told."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects.usage import normalise
from muxproxy.exchange import Usage


class Case(NamedTuple):
    name: str
    native: dict[str, Any]
    want: Usage | None
    totals: tuple[int, int] = (0, 0)


def chat(prompt: int, output: int, total: int | None, **more: Any) -> dict[str, Any]:
    told = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": total, **more}
    return {key: value for key, value in told.items() if value is not None}


CASES = [
    Case("empty", {}, None),
    Case("nothing_counted", {"trafficType": "ON_DEMAND"}, None),
    Case("zeros", chat(0, 0, 0), Usage()),
    Case(
        "openai_includes_cached_and_reasoning",
        chat(
            100,
            50,
            150,
            prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 10},
            completion_tokens_details={"reasoning_tokens": 20},
        ),
        Usage(input=30, cache_read=60, cache_write_5m=10, output=30, reasoning=20),
        (100, 50),
    ),
    Case(
        "xai_counts_reasoning_beside",
        chat(10, 5, 45, completion_tokens_details={"reasoning_tokens": 30}, cost_in_usd_ticks=15),
        Usage(input=10, output=5, reasoning=30, reported_cost=2),
        (10, 35),
    ),
    Case(
        "reasoning_that_exceeds_output_is_beside_it",
        chat(9, 52, 61, completion_tokens_details={"reasoning_tokens": 232}),
        Usage(input=9, output=52, reasoning=232, stated_output=52),
        (9, 52),
    ),
    Case(
        "gemini_compatible_hides_thoughts",
        chat(66, 6, 100),
        Usage(input=66, output=6, reasoning=28),
        (66, 34),
    ),
    Case(
        "mistral_audio_is_in_the_total_only",
        chat(9, 201, 585, prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 375}),
        Usage(input=9, cache_read=0, output=201),
        (9, 201),
    ),
    Case(
        "azure_grok_leaves_cached_out_of_the_prompt",
        chat(198, 18, 216, prompt_tokens_details={"cached_tokens": 314}),
        Usage(input=198, cache_read=314, output=18, stated_input=198),
        (198, 18),
    ),
    Case(
        "deepseek_hits",
        chat(10, 1, 11, prompt_cache_hit_tokens=4, prompt_cache_miss_tokens=6),
        Usage(input=6, cache_read=4, output=1),
        (10, 1),
    ),
    Case("voyage_total_only", {"total_tokens": 7}, Usage(input=7), (7, 0)),
    Case(
        "openrouter_cost",
        chat(1, 1, 2, cost=0.0000123, server_tool_use_details={"web_search_requests": 2}),
        Usage(input=1, output=1, requests=2, reported_cost=12300),
        (1, 1),
    ),
    Case(
        "perplexity_cost",
        chat(1, 1, 2, cost={"total_cost": 0.006}),
        Usage(input=1, output=1, reported_cost=6_000_000),
        (1, 1),
    ),
    Case(
        "audio_in_and_out",
        chat(
            20,
            30,
            50,
            prompt_tokens_details={"audio_tokens": 12},
            completion_tokens_details={"audio_tokens": 22},
        ),
        Usage(input=20, output=30, audio_in=12, audio_out=22),
        (20, 30),
    ),
    Case(
        "responses",
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 40},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 10},
            "total_tokens": 130,
        },
        Usage(input=60, cache_read=40, output=20, reasoning=10),
        (100, 30),
    ),
    Case(
        "responses_cache_writes_by_life",
        {
            "input_tokens": 100,
            "input_tokens_details": {
                "cache_write_tokens": 30,
                "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
            },
            "output_tokens": 1,
        },
        Usage(input=70, cache_write_5m=10, cache_write_1h=20, output=1),
        (100, 1),
    ),
    Case(
        "anthropic_excludes_cache",
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 20},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 5},
            "service_tier": "priority",
        },
        Usage(
            input=10,
            cache_read=100,
            cache_write_5m=10,
            cache_write_1h=20,
            output=30,
            reasoning=20,
            requests=2,
            tier="priority",
        ),
        (140, 50),
    ),
    Case(
        "anthropic_writes_unsplit",
        {"input_tokens": 1, "cache_creation_input_tokens": 30, "output_tokens": 1},
        Usage(input=1, cache_write_5m=30, output=1),
        (31, 1),
    ),
    Case(
        "anthropic_compaction_is_billed_on_top",
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "iterations": [
                {"type": "compaction", "input_tokens": 1000, "output_tokens": 60},
                {"type": "message", "input_tokens": 10, "output_tokens": 5},
                {"type": "advisor_message", "input_tokens": 7, "output_tokens": 7},
            ],
        },
        Usage(input=1010, output=65),
        (1010, 65),
    ),
    Case(
        "gemini",
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 40,
            "toolUsePromptTokenCount": 7,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 157,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 80},
                {"modality": "AUDIO", "tokenCount": 15},
                {"modality": 2, "tokenCount": 5},
            ],
            "serviceTier": "standard",
        },
        Usage(
            input=67,
            cache_read=40,
            output=20,
            reasoning=30,
            audio_in=15,
            images=5,
            tier="standard",
        ),
        (107, 50),
    ),
    Case(
        "interactions",
        {
            "total_input_tokens": 22,
            "total_output_tokens": 5,
            "total_thought_tokens": 9,
            "total_tool_use_tokens": 198,
            "total_cached_tokens": 2,
            "total_tokens": 234,
        },
        Usage(input=20, cache_read=2, output=5, reasoning=9),
        (22, 14),
    ),
    Case(
        "bedrock",
        {
            "inputTokens": 5,
            "outputTokens": 6,
            "cacheReadInputTokens": 7,
            "cacheWriteInputTokens": 8,
        },
        Usage(input=5, cache_read=7, cache_write_5m=8, output=6),
        (20, 6),
    ),
    Case(
        "cohere_saw_more_than_it_charges",
        {
            "tokens": {"input_tokens": 968, "output_tokens": 20},
            "billed_units": {"input_tokens": 62, "output_tokens": 18},
            "cached_tokens": 900,
        },
        Usage(input=68, cache_read=900, output=20, billed_input=62, billed_output=18),
        (968, 20),
    ),
    Case("cohere_rerank", {"billed_units": {"search_units": 1}}, Usage(requests=1)),
    Case("ollama_with_cached_prompt", {"eval_count": 58}, Usage(output=58), (0, 58)),
]


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
def test_normalise(case: Case) -> None:
    usage = normalise(case.native)
    assert usage == case.want
    if usage is not None:
        assert (usage.input_total, usage.output_total) == case.totals


COUNT = st.integers(-5, 10**6) | st.none() | st.floats() | st.text(max_size=3)
NAMES = sorted({name for case in CASES for name in case.native})


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        COUNT
        | st.dictionaries(
            st.sampled_from(
                [
                    "cached_tokens",
                    "reasoning_tokens",
                    "audio_tokens",
                    "input_tokens",
                    "output_tokens",
                ]
            ),
            COUNT,
        ),
    )
)
def test_no_count_is_ever_negative(native: dict[str, Any]) -> None:
    usage = normalise(native)
    if usage is not None:
        counts = [getattr(usage, name) for name in usage.__struct_fields__ if name != "tier"]
        assert all(count is None or count >= 0 for count in counts)
