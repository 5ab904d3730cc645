"""A provider's usage object, whatever its shape, as one `exchange.Usage`.

Read by shape, not by provider: each family of field names has one reader, and each reader knows
what that family's numbers include. Numbers that a provider left out stay None; zeros stay zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from muxproxy.exchange import Usage
from muxproxy.money import NANO

Native = Mapping[str, Any]

MOST = 2**53  # a larger count is nonsense and must not reach the books
TICKS = 10_000_000_000  # xAI's cost_in_usd_ticks in a dollar
_AUDIO = frozenset({"AUDIO", "audio", 4})  # Vertex's protobuf JSON numbers its modalities
_IMAGE = frozenset({"IMAGE", "image", 2})


def normalise(native: Native) -> Usage | None:
    """`native` with every token counted once; None when it holds no count at all."""
    for reader in _READERS:
        usage = reader(native)
        if usage is not None:
            usage.reported_cost = _cost(native)
            if usage.tier is None:
                usage.tier = _word(native, "service_tier", "serviceTier")
            return usage
    return None


def number(value: object) -> int | None:
    """A count, or None: not a number, negative, absurd, or not whole."""
    if value is None:
        return None
    if value.__class__ is int:
        return value if 0 <= value <= MOST else None
    if isinstance(value, float) and 0 <= value <= MOST and value.is_integer():
        return int(value)
    return None


def first(native: Native, *names: str) -> int | None:
    """The first of `names` that holds a count."""
    for name in names:
        value = native.get(name)
        if value is not None and (count := number(value)) is not None:
            return count
    return None


def part(native: Native, *names: str) -> Native:
    """The first of `names` that is an object; an empty one otherwise."""
    for name in names:
        value = native.get(name)
        if value.__class__ is dict:
            return value
    return {}


def _gemini(native: Native) -> Usage | None:
    """usageMetadata: the prompt includes what was cached, candidates exclude thoughts.

    ai.google.dev/api/generate-content#UsageMetadata. Tokens of tool results are billed as input.
    """
    prompt = first(native, "promptTokenCount", "prompt_token_count")
    output = first(native, "candidatesTokenCount", "candidates_token_count")
    total = first(native, "totalTokenCount", "total_token_count")
    if (prompt is None and output is None and total is None) or "generation_token_count" in native:
        return None  # nothing, or Llama on Bedrock, which shares one name
    if prompt is None and output is None:
        prompt = total  # countTokens
    cached = first(native, "cachedContentTokenCount", "cached_content_token_count")
    thoughts = first(native, "thoughtsTokenCount", "thoughts_token_count")
    tool = first(native, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    prompts = native.get("promptTokensDetails", native.get("prompt_tokens_details"))
    outputs = native.get("candidatesTokensDetails", native.get("candidates_tokens_details"))
    caches = native.get("cacheTokensDetails", native.get("cache_tokens_details"))
    return Usage(
        input=less(prompt or 0, cached) + (tool or 0),
        cache_read=cached,
        output=output or 0,
        reasoning=thoughts,
        audio_in=_modality(prompts, _AUDIO),
        audio_out=_modality(outputs, _AUDIO),
        images=_modality(prompts, _IMAGE),
        images_out=_modality(outputs, _IMAGE),
        cache_read_audio=_modality(caches, _AUDIO),
        tier=_word(native, "serviceTier", "service_tier", "trafficType", "traffic_type"),
    )


def _interactions(native: Native) -> Usage | None:
    """Gemini's Interactions API: total_* names.

    total_tool_use_tokens stay out of the input: what the API's own input total leaves out is
    priced by the search or fetch call, not by the token.
    """
    prompt = number(native.get("total_input_tokens"))
    output = number(native.get("total_output_tokens"))
    if prompt is None and output is None:
        return None
    cached = number(native.get("total_cached_tokens"))
    return Usage(
        input=less(prompt or 0, cached),
        cache_read=cached,
        output=output or 0,
        reasoning=number(native.get("total_thought_tokens")),
        audio_in=_modality(native.get("input_tokens_by_modality"), _AUDIO),
        audio_out=_modality(native.get("output_tokens_by_modality"), _AUDIO),
        images=_modality(native.get("input_tokens_by_modality"), _IMAGE),
    )


def _chat(native: Native) -> Usage | None:
    """OpenAI chat, completions and embeddings, and everything that calls itself compatible."""
    prompt = number(native.get("prompt_tokens"))
    output = number(native.get("completion_tokens"))
    total = number(native.get("total_tokens"))
    if prompt is None and output is None:
        if total is None or "input_tokens" in native:
            return None
        prompt = total  # embeddings that only tell the total (Voyage)
    details = part(native, "prompt_tokens_details", "prompt_token_details")
    outs = part(native, "completion_tokens_details", "completion_token_details")
    read = number(details.get("cached_tokens"))
    if read is None:
        read = first(
            native,
            "cached_tokens",
            "prompt_cache_hit_tokens",
            "num_cached_tokens",
            "cache_read_input_tokens",
        )
    usage = _inclusive(
        prompt or 0, read, _writes(details, number(native.get("cache_creation_input_tokens")))
    )
    reasoning = number(outs.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = number(native.get("reasoning_tokens"))
    audio = number(details.get("audio_tokens"))
    usage.audio_in = audio if audio is None or audio <= (prompt or 0) else None
    usage.audio_out = number(outs.get("audio_tokens"))
    usage.images = number(details.get("image_tokens"))
    if usage.images is not None and usage.images > (prompt or 0):
        usage.images = None
    usage.images_out = number(outs.get("image_tokens"))
    usage.requests = first(
        part(native, "server_tool_use_details", "server_tool_use"), "web_search_requests"
    )
    if usage.requests is None:
        usage.requests = number(native.get("num_search_queries"))
    _split(usage, prompt or 0, output, reasoning, total, audio)
    return usage


def _split(
    usage: Usage,
    prompt: int,
    output: int | None,
    reasoning: int | None,
    total: int | None = None,
    audio: int | None = None,
) -> None:
    """Parts `output` from `reasoning`, which mostly is inside it.

    xAI counts it beside: then the total is the sum of the three. Vercel's gateway too, and its
    total leaves it out; that shows only where reasoning exceeds output. Gemini's compatible
    endpoint hides its thoughts: only the total has them (Mistral's total has audio there).
    """
    usage.reasoning = reasoning
    usage.output = output or 0
    if output is None:
        return
    rest = None if total is None else total - prompt - output
    if reasoning:
        if rest == reasoning:
            return
        if reasoning > output:
            usage.stated_output = output
        else:
            usage.output = output - reasoning
    elif rest is not None and rest > 0 and rest != audio:
        usage.reasoning = rest


def _input_output(native: Native) -> Usage | None:
    """input_tokens / output_tokens: OpenAI responses (inclusive) and Anthropic (exclusive).

    Each cache field keeps its own API's meaning: input_tokens_details.cached_tokens is part of
    input_tokens, cache_read_input_tokens and cache_creation_input_tokens are not.
    """
    prompt = number(native.get("input_tokens"))
    output = number(native.get("output_tokens"))
    if prompt is None and output is None:
        return None
    details = part(native, "input_tokens_details", "input_token_details")
    outs = part(native, "output_tokens_details", "output_token_details")
    total = number(native.get("total_tokens"))
    if details or "input_tokens_details" in native:
        read = number(details.get("cached_tokens"))
        usage = _inclusive(prompt or 0, read, _writes(details, None))
    else:
        read = number(native.get("cache_read_input_tokens"))
        usage = Usage(input=prompt or 0, cache_read=read)
        _anthropic_writes(usage, native)
    reasoning = first(outs, "reasoning_tokens", "thinking_tokens")
    _split(usage, prompt or 0, output, reasoning, total if reasoning else None)
    usage.audio_in = number(details.get("audio_tokens"))
    usage.audio_out = number(outs.get("audio_tokens"))
    usage.images = number(details.get("image_tokens"))
    usage.images_out = number(outs.get("image_tokens"))
    usage.requests = _server_tools(native)
    _add_compaction(usage, native.get("iterations"))
    return usage


def _server_tools(native: Native) -> int | None:
    """Billable server-tool calls. Anthropic's web fetches are free, its searches are not."""
    searches = first(part(native, "server_tool_use"), "web_search_requests")
    return number(native.get("num_server_side_tools_used")) if searches is None else searches


def _anthropic_writes(usage: Usage, native: Native) -> None:
    created = number(native.get("cache_creation_input_tokens"))
    split = part(native, "cache_creation")
    short = number(split.get("ephemeral_5m_input_tokens"))
    long = number(split.get("ephemeral_1h_input_tokens"))
    usage.cache_write_5m = short if created is None else lives(created, short, long)
    usage.cache_write_1h = long


def lives(created: int, short: int | None, long: int | None) -> int | None:
    """The short-lived part of `created` cache writes: what is not split has the default life."""
    known = (short or 0) + (long or 0)
    if created > known or short is None:
        return (short or 0) + max(0, created - known)
    return short


def _add_compaction(usage: Usage, iterations: object) -> None:
    """Adds compaction passes, which are billed but left out of the top-level numbers.

    platform.claude.com/docs/en/build-with-claude/compaction ("Understanding usage"). Other
    kinds are in the top level already (message), replaced it (fallback) or are billed at
    another model's rate (advisor_message).
    """
    if not isinstance(iterations, list):
        return
    for entry in iterations:
        if entry.__class__ is not dict or entry.get("type") != "compaction":
            continue
        extra = Usage(input=number(entry.get("input_tokens")) or 0)
        _anthropic_writes(extra, entry)
        usage.input += extra.input
        usage.output += number(entry.get("output_tokens")) or 0
        for name, count in (
            ("cache_read", number(entry.get("cache_read_input_tokens"))),
            ("cache_write_5m", extra.cache_write_5m),
            ("cache_write_1h", extra.cache_write_1h),
        ):
            if count:
                setattr(usage, name, (getattr(usage, name) or 0) + count)


def _bedrock(native: Native) -> Usage | None:
    """Bedrock's Converse (inputTokens, cache outside) and its invocation metrics."""
    prompt = first(native, "inputTokens", "inputTokenCount", "inputTextTokenCount")
    output = first(native, "outputTokens", "outputTokenCount", "totalOutputTextTokenCount")
    if prompt is None and output is None:
        return None
    return Usage(
        input=prompt or 0,
        cache_read=first(native, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        cache_write_5m=first(native, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        output=output or 0,
    )


def _bedrock_llama(native: Native) -> Usage | None:
    output = number(native.get("generation_token_count"))
    prompt = number(native.get("prompt_token_count")) or 0
    return None if output is None else Usage(input=prompt, output=output)


def _cohere(native: Native) -> Usage | None:
    """Cohere: `tokens` is what the model saw, `billed_units` what is charged."""
    tokens = part(native, "tokens")
    billed = part(native, "billed_units")
    if not tokens and not billed:
        return None
    source = tokens or billed
    prompt = number(source.get("input_tokens")) or 0
    output = number(source.get("output_tokens")) or 0
    cached = number(native.get("cached_tokens"))
    usage = _inclusive(prompt, cached, (None, None))
    reasoning = number(tokens.get("reasoning_tokens"))
    _split(usage, prompt, output, reasoning)
    images = number(source.get("image_tokens"))
    usage.images = images if images is None or images <= prompt else None
    usage.requests = number(billed.get("search_units"))
    usage.billed_input = number(billed.get("input_tokens"))
    usage.billed_output = number(billed.get("output_tokens"))
    return usage


def _ollama(native: Native) -> Usage | None:
    """Ollama leaves prompt_eval_count out when the whole prompt was cached."""
    prompt = number(native.get("prompt_eval_count"))
    output = number(native.get("eval_count"))
    if prompt is None and output is None:
        return None
    return Usage(input=prompt or 0, output=output or 0)


_READERS = (
    _interactions,
    _chat,
    _input_output,
    _gemini,
    _bedrock,
    _bedrock_llama,
    _cohere,
    _ollama,
)


def _inclusive(prompt: int, read: int | None, writes: tuple[int | None, int | None]) -> Usage:
    """A prompt count that includes its cached parts.

    Where they exceed it: reads alone do when the prompt count leaves cached tokens out (Azure's
    Grok); reads and writes together do when the same tokens are billed as both (OpenRouter's
    Gemini, whose write is a storage fee).
    """
    short, long = writes
    written = (short or 0) + (long or 0)
    usage = Usage(
        input=prompt - (read or 0) - written,
        cache_read=read,
        cache_write_5m=short,
        cache_write_1h=long,
    )
    if usage.input < 0:
        usage.stated_input = prompt
        most = max(read or 0, written)
        usage.input = prompt - most if most <= prompt else prompt
    return usage


def _writes(details: Native, default: int | None) -> tuple[int | None, int | None]:
    """(short-lived, long-lived) cache writes of OpenAI's details object."""
    written = number(details.get("cache_write_tokens"))
    if written is None:
        return default, None
    long = first(part(details, "cache_write_tokens_details"), "ttl_12h_tokens")
    return less(written, long), long


def less(whole: int, some: int | None) -> int:
    """`whole` without a part of it; a part that exceeds it is none."""
    return whole - some if some and some <= whole else whole


def _modality(details: object, names: frozenset[object]) -> int | None:
    """Tokens of one modality out of Gemini's details lists; None when it is not listed."""
    if not isinstance(details, list):
        return None
    found: int | None = None
    for entry in details:
        word = entry.get("modality") if entry.__class__ is dict else None
        if isinstance(word, str | int) and word in names:
            found = (found or 0) + (first(entry, "tokenCount", "token_count", "tokens") or 0)
    return found


def _cost(native: Native) -> int | None:
    """Nano-dollars the provider itself put on the call."""
    ticks = number(native.get("cost_in_usd_ticks"))
    if ticks is not None:
        return (ticks * NANO + TICKS // 2) // TICKS
    cost = native.get("cost")
    if cost.__class__ is dict:
        cost = cost.get("total_cost")
    if cost is None:
        cost = part(native, "pydantic_ai_gateway").get("cost_estimate")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < 1e9:
        return int((Decimal(repr(cost)) * NANO).to_integral_value())
    return None


def _word(native: Native, *names: str) -> str | None:
    for name in names:
        value = native.get(name)
        if isinstance(value, str) and value and len(value) <= 64:
            return value
    return None
