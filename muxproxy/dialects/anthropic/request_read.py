"""An Anthropic Messages request as a neutral Request."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic.blocks_read import Message, conversation, texts
from muxproxy.dialects.effort import EFFORTS
from muxproxy.dialects.reading import cache_of, document, safe, text_of, typed, wrong

_NAMED = {
    "parallel": "tool_choice.disable_parallel_tool_use",
    "stop": "stop_sequences",
    "format": "output_config.format",
    "reasoning": "thinking",
    "user": "metadata.user_id",
    "tier": "service_tier",
    "thinking": "messages.content.thinking",
    "media": "messages.content",
    "prefill": "messages.prefill",
    "strict": "tools.strict",
}
# Change nothing in the answer, or belong to the transport (Vertex, Bedrock).
_HARMLESS = frozenset(
    {"anthropic_version", "anthropic_beta", "betas", "diagnostics", "inference_geo", "speed"}
)


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Output(msgspec.Struct):
    effort: str | None = None
    format: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    messages: list[Message]
    model: str | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    output_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    stream: bool | None = None
    cache_control: dict[str, Any] | None = None


_KNOWN = frozenset(_Body.__struct_fields__) | _HARMLESS


def read(body: bytes, model: str | None = None, stream: bool = False) -> n.Request:
    """Raises MuxError invalid_json or invalid_request, which names the field."""
    raw = document(body)
    asked = typed(raw, _Body)
    request = n.Request(
        model=asked.model or model,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=asked.stop_sequences or [],
        user=text_of((asked.metadata or {}).get("user_id")) or None,
        tier=asked.service_tier,
        stream=bool(asked.stream) or stream,
        stream_usage=True,
        cache=cache_of(asked.cache_control),
        named=_NAMED,
    )
    request.dropped = [
        safe(name)
        for name, value in raw.items()
        if name not in _KNOWN and value is not None and value != [] and not _idle(name, value)
    ]
    if asked.system is not None:
        request.system = texts(asked.system)
    _tools(request, asked)
    form = asked.output_format
    if asked.output_config is not None and asked.output_config.format is not None:
        form = asked.output_config.format
    if form is not None:
        request.format = _format(form)
    request.reasoning = _reasoning(asked)
    conversation(request, asked.messages)
    return request


def _idle(name: str, value: object) -> bool:
    """Context management that only says what becomes of old thoughts, as Claude Code sends it
    with every request: other providers are never sent them all."""
    edits = value.get("edits") if name == "context_management" and isinstance(value, dict) else None
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and text_of(edit.get("type")).startswith("clear_thinking")
        for edit in edits
    )


def _tools(request: n.Request, asked: _Body) -> None:
    for tool in asked.tools or ():
        if tool.type not in {None, "custom"} or not tool.name:
            request.dropped.append(f"tools.{safe(tool.type or 'unnamed')}")  # a server tool
            continue
        request.tools.append(
            n.Tool(
                name=tool.name,
                description=tool.description,
                schema=tool.input_schema,
                strict=tool.strict,
                cache=cache_of(tool.cache_control),
            )
        )
    choice = asked.tool_choice
    if choice is None:
        return
    if choice.disable_parallel_tool_use is not None:
        request.parallel = not choice.disable_parallel_tool_use
    if choice.type == "tool":
        if not choice.name:
            raise wrong("tool_choice.name", "name the tool")
        request.tool_choice = n.Choice(mode="tool", tool=choice.name)
    elif choice.type in {"auto", "none"}:
        request.tool_choice = n.Choice(mode=choice.type)  # type: ignore[arg-type]
    elif choice.type == "any":
        request.tool_choice = n.Choice(mode="required")
    else:
        raise wrong("tool_choice.type", "give auto, any, none or tool")


def _format(native: dict[str, Any]) -> n.Format:
    schema = native.get("schema")
    if native.get("type") != "json_schema" or not isinstance(schema, dict):
        raise wrong("output_config.format", "give {type: json_schema, schema: {...}}")
    return n.Format(kind="schema", schema=schema, strict=True)


def _reasoning(asked: _Body) -> n.Reasoning | None:
    """thinking and output_config.effort together."""
    word = asked.output_config.effort if asked.output_config is not None else None
    if word is not None and word not in EFFORTS:
        raise wrong("output_config.effort", "give low, medium, high, xhigh or max")
    thinking = asked.thinking
    if thinking is None:
        return None if word is None else n.Reasoning(effort=word)
    if thinking.type in {"disabled", "between_tools"}:
        return n.Reasoning(budget=0)
    show = None if thinking.display is None else thinking.display != "omitted"
    if thinking.type == "enabled":
        return n.Reasoning(
            effort=word,
            budget=thinking.budget_tokens,
            adaptive=thinking.budget_tokens is None,
            show=show,
        )
    return n.Reasoning(effort=word, adaptive=True, show=show)
