"""The ways of OpenAI-compatible providers, by the host of their base_url and by model.

Only what the writer of a request must know; the readers of answers and streams take every
recorded shape from anybody. Each entry says what backs it: "rec" a recorded exchange (provider in
the recorded traffic), "doc" the provider's own API reference.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

_SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
    }
)


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider departs from OpenAI's chat API. `refuses`: parameters, by their OpenAI
    names, that it answers with an error or does not know."""

    name: str = "generic"
    refuses: frozenset[str] = frozenset()
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: Literal["seed", "random_seed"] = "seed"
    required: Literal["required", "any"] = "required"  # tool_choice: some tool
    top_k: bool = False
    developer: bool = False  # system prompts are role "developer"
    stream_options: bool = True  # takes include_usage
    effort: Literal["reasoning_effort", "reasoning", "thinking", "none"] = "reasoning_effort"
    efforts: frozenset[str] | None = None  # None: all
    effort_or_tools: bool = False  # not both in one request
    # How an assistant's earlier reasoning is sent back, if at all.
    thoughts: Literal["none", "reasoning_content", "reasoning", "reasoning_details", "content"] = (
        "none"
    )
    cache_control: bool = False  # takes cache_control on content parts
    ids: Literal["openai", "mistral"] = "openai"
    schema: bool = True  # response_format json_schema
    user: str | None = "user"
    files: bool = True  # file parts; False: images only
    lists: bool = False  # texts alone may be a list of parts everywhere; False: one string
    stops: int | None = 4  # stop sequences
    google: bool = False  # takes Gemini's thought signatures back, in extra_content
    prefix: bool = False  # a last assistant message with prefix: true is gone on with


# rec openai: 400 "max_tokens is not supported with this model. Use 'max_completion_tokens'"
OPENAI = Quirks(name="openai", limit="max_completion_tokens", user="safety_identifier", lists=True)
# doc platform.openai.com/docs/guides/reasoning and latest-model: no sampling parameters unless
# effort is none; developer messages.
_REASONING = msgspec.structs.replace(
    OPENAI,
    refuses=_SAMPLING | {"stop"},
    developer=True,
    efforts=frozenset({"low", "medium", "high"}),
)

BY_HOST: dict[str, Quirks] = {
    "api.openai.com": OPENAI,
    # rec azure: the same bodies; older api-versions know neither safety_identifier nor developer
    "openai.azure.com": Quirks(name="azure", limit="max_completion_tokens", lists=True),
    "cognitiveservices.azure.com": Quirks(name="azure", limit="max_completion_tokens", lists=True),
    "services.ai.azure.com": Quirks(name="azure-foundry"),
    # rec mistral: random_seed, tool_choice any, content lists, nine-character ids; unknown fields
    # are a 422. doc docs.mistral.ai/api: no logprobs, logit_bias, user, top_k, stream_options
    "api.mistral.ai": Quirks(
        name="mistral",
        refuses=frozenset(
            {
                "logprobs",
                "top_logprobs",
                "logit_bias",
                "verbosity",
                "service_tier",
                "modalities",
                "name",
            }
        ),
        seed="random_seed",
        required="any",
        stream_options=False,
        effort="none",
        thoughts="content",
        ids="mistral",
        user=None,
        lists=True,
        prefix=True,
    ),
    # rec groq: reasoning, reasoning_format. doc console.groq.com/docs/openai: logprobs,
    # logit_bias, top_logprobs and messages[].name are a 400, n must be 1
    "api.groq.com": Quirks(
        name="groq",
        refuses=frozenset({"logprobs", "top_logprobs", "logit_bias", "n", "name", "modalities"}),
        limit="max_completion_tokens",
        thoughts="reasoning",
        efforts=frozenset({"none", "low", "medium", "high"}),
        files=False,
    ),
    # rec deepseek: thinking {type}, reasoning_content to be sent back within a tool loop. doc
    # api-docs.deepseek.com: json_object only, no seed, n, logit_bias
    "api.deepseek.com": Quirks(
        name="deepseek",
        refuses=frozenset(
            {
                "seed",
                "n",
                "logit_bias",
                "verbosity",
                "service_tier",
                "modalities",
                "parallel_tool_calls",
            }
        ),
        effort="thinking",
        thoughts="reasoning_content",
        schema=False,
        user=None,
        files=False,
    ),
    # rec xai: reasoning_content, max_completion_tokens. doc docs.x.ai: reasoning models refuse
    # penalties and stop
    "api.x.ai": Quirks(
        name="xai",
        refuses=frozenset({"logit_bias", "service_tier", "verbosity"}),
        limit="max_completion_tokens",
        thoughts="reasoning_content",
        efforts=frozenset({"low", "high"}),
    ),
    # doc docs.together.ai/reference/chat-completions
    "api.together.xyz": Quirks(
        name="together",
        refuses=frozenset({"service_tier", "verbosity", "modalities", "parallel_tool_calls"}),
        top_k=True,
        thoughts="reasoning",
        user=None,
        files=False,
    ),
    # rec openrouter: reasoning {effort, max_tokens}, reasoning_details, cache_control, usage in
    # the last chunk, comments
    "openrouter.ai": Quirks(
        name="openrouter",
        top_k=True,
        effort="reasoning",
        thoughts="reasoning_details",
        cache_control=True,
        lists=True,
    ),
    # rec vercel-gateway: reasoning {effort, max_tokens} and reasoning_details as OpenRouter
    "ai-gateway.vercel.sh": Quirks(
        name="vercel-gateway", effort="reasoning", thoughts="reasoning_details", cache_control=True
    ),
    # doc docs.fireworks.ai/api-reference/post-chatcompletions
    "api.fireworks.ai": Quirks(
        name="fireworks",
        refuses=frozenset({"service_tier", "verbosity", "modalities"}),
        top_k=True,
        thoughts="reasoning_content",
        files=False,
    ),
    # doc docs.cohere.com/docs/compatibility-api: unsupported parameters listed there
    "api.cohere.com": Quirks(
        name="cohere",
        refuses=frozenset(
            {
                "n",
                "logit_bias",
                "top_logprobs",
                "service_tier",
                "parallel_tool_calls",
                "modalities",
                "metadata",
                "verbosity",
            }
        ),
        efforts=frozenset({"none", "high"}),
        user=None,
        files=False,
    ),
    # rec gemini (openai.chat): extra_content.google.thought_signature, calls without ids. doc
    # ai.google.dev/gemini-api/docs/openai
    "generativelanguage.googleapis.com": Quirks(
        name="gemini-compat",
        refuses=frozenset({"logit_bias", "service_tier", "verbosity", "user", "metadata"}),
        user=None,
        google=True,
        efforts=frozenset({"none", "minimal", "low", "medium", "high"}),
    ),
    # rec perplexity: usage on every chunk, citations. doc docs.perplexity.ai
    "api.perplexity.ai": Quirks(
        name="perplexity",
        refuses=frozenset({"seed", "n", "logit_bias", "logprobs", "tools", "service_tier"}),
        top_k=True,
        stream_options=False,
        user=None,
    ),
    # rec cerebras, doc inference-docs.cerebras.ai
    "api.cerebras.ai": Quirks(
        name="cerebras",
        refuses=frozenset({"presence_penalty", "frequency_penalty", "logit_bias", "n"}),
        limit="max_completion_tokens",
        thoughts="reasoning",
        files=False,
    ),
    # rec zai: thinking {type}, reasoning_content, request_id
    "api.z.ai": Quirks(
        name="zai",
        refuses=frozenset({"seed", "n", "logit_bias", "logprobs", "top_logprobs"}),
        effort="thinking",
        thoughts="reasoning_content",
        schema=False,
    ),
    # rec moonshot, doc platform.moonshot.ai: reasoning_content
    "api.moonshot.ai": Quirks(
        name="moonshot",
        refuses=frozenset({"seed", "logit_bias", "logprobs", "top_logprobs"}),
        effort="none",
        thoughts="reasoning_content",
    ),
}
# Servers that run on anybody's host: known by their usual ports.
BY_PORT: dict[int, Quirks] = {
    # rec ollama-cloud: reasoning. doc docs.ollama.com/api/openai-compatibility: no n, logprobs,
    # logit_bias, tool_choice
    11434: Quirks(
        name="ollama",
        refuses=frozenset(
            {"n", "logprobs", "top_logprobs", "logit_bias", "user", "tool_choice", "service_tier"}
        ),
        thoughts="reasoning",
        efforts=frozenset({"none", "low", "medium", "high"}),
        user=None,
        files=False,
    ),
    # rec local (gpt-oss): reasoning_content. doc docs.vllm.ai, "OpenAI-Compatible Server"
    8000: Quirks(name="vllm", top_k=True, thoughts="reasoning_content", files=False),
    # rec local (llama-cpp): timings, reasoning_content. doc ggml-org/llama.cpp, tools/server
    8080: Quirks(name="llama.cpp", top_k=True, thoughts="reasoning_content", files=False),
}
GENERIC = Quirks()

_NEWEST = re.compile(r"(?:.*/)?(o[134](?:-|$)|gpt-(?P<major>\d+)(?:\.(?P<minor>\d+))?)")


@lru_cache(maxsize=1024)
def find(host: str, port: int | None, model: str | None) -> Quirks:
    """What is known of `model` at `host` (a provider's base_url)."""
    known = BY_HOST.get(host)
    if known is None:
        for suffix, quirks in BY_HOST.items():
            if host.endswith("." + suffix):
                known = quirks
                break
        else:
            known = BY_PORT.get(port or 0, GENERIC)
    if known.name in {"openai", "azure"}:
        return _openai(known, model or "")
    return known


def _openai(known: Quirks, model: str) -> Quirks:
    """OpenAI's own reasoning models: the o series, and from gpt-5 on all but the -chat ones."""
    match = _NEWEST.match(model)
    if match is None or "-chat" in model:
        return msgspec.structs.replace(known, effort="none")
    if match["major"] is None:
        return msgspec.structs.replace(_REASONING, name=known.name, user=known.user)
    version = (int(match["major"]), int(match["minor"] or 0))
    if version < (5, 0):
        return msgspec.structs.replace(known, effort="none")
    # doc: gpt-5 has minimal; 5.1 and later have none instead, and xhigh from 5.2
    efforts = {"low", "medium", "high", "minimal" if version == (5, 0) else "none"}
    if version >= (5, 2):
        efforts.add("xhigh")
    # its own 400: "Function tools with reasoning_effort are not supported for gpt-5.6-luna in
    # /v1/chat/completions. To use function tools, use /v1/responses ..."
    return msgspec.structs.replace(
        _REASONING,
        name=known.name,
        user=known.user,
        efforts=frozenset(efforts),
        effort_or_tools=version >= (5, 6),
    )
