"""An OpenAI chat request as a neutral Request."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai.messages_read import Message, conversation
from muxproxy.dialects.reading import cache_of, document, safe, text_of, typed, wrong

_EFFORTS = frozenset(get_args(n.Effort))

# The caller's words for what a writer may have to drop.
_NAMED = {
    "parallel": "parallel_tool_calls",
    "format": "response_format",
    "reasoning": "reasoning_effort",
    "tier": "service_tier",
    "max_tokens": "max_completion_tokens",
    "name": "messages.name",
    "thinking": "messages.reasoning_content",
    "media": "messages.content",
    "prefill": "messages.prefill",
    "strict": "tools.function.strict",
}
# Change nothing in the answer, or only where it is kept or how fast it comes.
_HARMLESS = frozenset(
    {
        "cache_control",
        "include",
        "obfuscation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "provider",
        "stream_options",
        "transforms",
        "usage",
    }
)


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None
    custom: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    messages: list[Message]
    model: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[_Function] | None = None
    function_call: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    random_seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    response_format: dict[str, Any] | None = None
    verbosity: str | None = None
    reasoning_effort: str | None = None
    reasoning: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    modalities: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    store: bool | None = None


_KNOWN = frozenset(_Body.__struct_fields__) | _HARMLESS


def read(body: bytes, model: str | None = None, stream: bool = False) -> n.Request:
    """Raises MuxError invalid_json or invalid_request, which names the field."""
    raw = document(body)
    asked = typed(raw, _Body)
    request = n.Request(
        model=asked.model or model,
        max_tokens=asked.max_tokens
        if asked.max_completion_tokens is None
        else asked.max_completion_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        n=asked.n,
        seed=asked.random_seed if asked.seed is None else asked.seed,
        stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop or [],
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logprobs=asked.logprobs,
        top_logprobs=asked.top_logprobs,
        logit_bias=asked.logit_bias,
        verbosity=asked.verbosity,
        parallel=asked.parallel_tool_calls,
        modalities=asked.modalities,
        user=asked.user or asked.safety_identifier,
        metadata=asked.metadata,
        tier="default" if asked.service_tier == "on_demand" else asked.service_tier,  # Groq
        stream=bool(asked.stream) or stream,
        stream_usage=bool((asked.stream_options or {}).get("include_usage")),
        cache=cache_of(asked.cache_control),
        named=_NAMED,
    )
    request.dropped = [
        safe(name) for name, value in raw.items() if name not in _KNOWN and value is not None
    ]
    if asked.store:
        request.dropped.append("store")
    _tools(request, asked)
    request.format = _format(asked.response_format)
    request.reasoning = _reasoning(request, asked)
    conversation(request, asked.messages)
    return request


def _tools(request: n.Request, asked: _Body) -> None:
    for tool in asked.tools or ():
        if tool.function is not None:
            request.tools.append(_function(tool.function, cache_of(tool.cache_control)))
        else:
            request.dropped.append(f"tools.{safe(tool.type)}")
    if asked.functions and not request.tools:
        request.legacy_functions = True
        request.tools = [_function(function, None) for function in asked.functions]
    choice = asked.tool_choice
    if choice is None and request.legacy_functions:
        choice = asked.function_call
        if isinstance(choice, dict):
            choice = {"type": "function", "function": choice}
    request.tool_choice = None if choice is None else _choice(choice)


def _function(function: _Function, cache: n.Cache | None) -> n.Tool:
    return n.Tool(
        name=function.name,
        description=function.description,
        schema=function.parameters,
        strict=function.strict,
        cache=cache,
    )


def _choice(choice: str | dict[str, Any]) -> n.Choice:
    if isinstance(choice, str):
        if choice in {"auto", "none", "required"}:
            return n.Choice(mode=choice)  # type: ignore[arg-type]
        if choice == "any":  # Mistral
            return n.Choice(mode="required")
        raise wrong("tool_choice", 'give "auto", "none", "required" or a function')
    named = choice.get("function") or choice.get("custom")
    if named.__class__ is dict and isinstance(named.get("name"), str):
        return n.Choice(mode="tool", tool=named["name"])
    allowed = choice.get("allowed_tools")
    if allowed.__class__ is dict:
        names = [
            tool["function"]["name"]
            for tool in allowed.get("tools") or ()
            if isinstance(tool, dict)
            and isinstance(tool.get("function"), dict)
            and isinstance(tool["function"].get("name"), str)
        ]
        mode = "required" if allowed.get("mode") == "required" else "auto"
        return n.Choice(mode=mode, allowed=names)  # type: ignore[arg-type]
    raise wrong("tool_choice", "name the function: {type: function, function: {name: ...}}")


def _format(native: dict[str, Any] | None) -> n.Format | None:
    kind = (native or {}).get("type")
    if native is None or kind == "text":
        return None
    if kind == "json_object":
        return n.Format(kind="json")
    inner = native.get("json_schema")
    if kind != "json_schema" or inner.__class__ is not dict:
        raise wrong("response_format", "give type text, json_object or json_schema")
    schema = inner.get("schema")
    return n.Format(
        kind="schema",
        name=text_of(inner.get("name")) or None,
        description=text_of(inner.get("description")) or None,
        schema=schema if isinstance(schema, dict) else {},
        strict=inner.get("strict") if isinstance(inner.get("strict"), bool) else None,
    )


def _reasoning(request: n.Request, asked: _Body) -> n.Reasoning | None:
    """reasoning_effort (OpenAI), reasoning (OpenRouter) or thinking (DeepSeek, Z.AI)."""
    word = asked.reasoning_effort
    if word is not None:
        return _effort(request, "reasoning_effort", word)
    native = asked.reasoning
    if native is not None:
        request.named = {**_NAMED, "reasoning": "reasoning"}
        tokens = native.get("max_tokens")
        word = native.get("effort")
        if native.get("enabled") is False:
            return n.Reasoning(effort="none")
        found = n.Reasoning(adaptive=tokens is None)
        if word is not None:
            found = _effort(request, "reasoning.effort", word) or found
        found.budget = tokens if tokens.__class__ is int else None
        if native.get("exclude") is not None:
            found.show = not native["exclude"]
        return found
    native = asked.thinking
    if native is None:
        return None
    request.named = {**_NAMED, "reasoning": "thinking"}
    if native.get("type") == "disabled":
        return n.Reasoning(budget=0)
    tokens = native.get("budget_tokens")
    known = tokens.__class__ is int
    return n.Reasoning(budget=tokens if known else None, adaptive=not known)


def _effort(request: n.Request, field: str, word: object) -> n.Reasoning | None:
    if word == "default":  # Groq
        return n.Reasoning(adaptive=True)
    if word in _EFFORTS:
        return n.Reasoning(effort=word)  # type: ignore[arg-type]
    request.dropped.append(field)
    return None
