"""An OpenAI Responses request as a neutral Request."""

from __future__ import annotations

from typing import Any, get_args

from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import document, safe, text_of, wrong
from muxproxy.dialects.responses.input_read import conversation, spaced
from muxproxy.errors import MuxError

_EFFORTS = frozenset(get_args(n.Effort))
_NAMED = {
    "max_tokens": "max_output_tokens",
    "parallel": "parallel_tool_calls",
    "format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
    "tier": "service_tier",
    "thinking": "input.reasoning",
    "media": "input.content",
    "name": "input.name",
    "strict": "tools.strict",
}
# What keeps the conversation at one provider: nobody else has it.
_STATE = ("previous_response_id", "conversation", "background", "prompt")
# Read here, or changing nothing in the answer.
_KNOWN = frozenset(
    {
        "background",
        "client_metadata",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
_MODES = frozenset({"auto", "required", "none"})


def read(body: bytes, model: str | None = None, stream: bool = False) -> n.Request:
    """Raises MuxError invalid_json, invalid_request, or unsupported_translation for state that
    only one provider has."""
    given = document(body)
    held = [name for name in _STATE if given.get(name)]
    if held:
        raise MuxError(
            "unsupported_translation",
            f"{held[0]}: that state is kept by the provider that answered before; send the whole "
            "conversation as input, or name that provider",
            details={"fields": held},
        )
    if model is None:
        model = text_of(given.get("model")) or None
    request = n.Request(model=model, stream=stream, stream_usage=True, named=dict(_NAMED))
    instructions = given.get("instructions")
    if isinstance(instructions, str) and instructions:
        request.system.append(n.Text(text=instructions))
    conversation(request, given.get("input"))
    _tools(request, given.get("tools"))
    _items(request, given.get("input"))
    _choice(request, given.get("tool_choice"))
    _numbers(request, given)
    _text(request, given.get("text"))
    request.reasoning = _reasoning(given.get("reasoning")) or request.reasoning
    parallel = given.get("parallel_tool_calls")
    request.parallel = parallel if isinstance(parallel, bool) else None
    request.user = text_of(given.get("safety_identifier")) or text_of(given.get("user")) or None
    if isinstance(metadata := given.get("metadata"), dict):
        request.metadata = {str(k): str(v) for k, v in metadata.items()}
    request.tier = text_of(given.get("service_tier")) or None
    request.dropped += [
        safe(name) for name, value in given.items() if name not in _KNOWN and value is not None
    ]
    return request


def _numbers(request: n.Request, given: dict[str, Any]) -> None:
    most = _number(given, "max_output_tokens")
    request.max_tokens = None if most is None else int(most)
    request.temperature = _number(given, "temperature")
    request.top_p = _number(given, "top_p")
    top = _number(given, "top_logprobs")
    request.top_logprobs = None if top is None else int(top)
    include = given.get("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        request.logprobs = True


def _number(given: dict[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, "expected a number")
    return value


def _tools(request: n.Request, tools: object, space: str | None = None) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise wrong("tools", "expected an array")
    for at, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong(f"tools[{at}]", "expected an object")
        kind, name = tool.get("type"), tool.get("name")
        if kind == "namespace" and isinstance(name, str):
            _tools(request, tool.get("tools"), name)
            continue
        if kind not in ("function", "custom"):
            request.dropped.append(f"tools.{safe(kind)}")
            continue
        if not isinstance(name, str):
            raise wrong(f"tools[{at}].name", "expected a string")
        made = _tool(tool, spaced(space, name), kind == "custom")
        made.namespace = space
        _put(request.tools, made)


def _put(tools: list[n.Tool], made: n.Tool) -> None:
    """Adds a tool; what is said again later counts."""
    for at, tool in enumerate(tools):
        if tool.name == made.name:
            tools[at] = made
            return
    tools.append(made)


def _items(request: n.Request, given: object) -> None:
    """What Codex says about the whole request amid its items: more tools, other reasoning."""
    for item in given if isinstance(given, list) else ():
        if item.get("type") == "additional_tools":
            _tools(request, item.get("tools"))
        elif item.get("type") == "configuration_update":
            request.reasoning = _reasoning(item.get("reasoning")) or request.reasoning


def _tool(tool: dict[str, Any], name: str, custom: bool) -> n.Tool:
    description = text_of(tool.get("description")) or None
    if custom:
        form = tool.get("format")
        if isinstance(form, dict) and (grammar := text_of(form.get("definition"))):
            syntax = text_of(form.get("syntax")) or "grammar"
            hint = f"The input must match this {syntax}:\n{grammar}"
            description = f"{description}\n\n{hint}" if description else hint
        schema = {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
            "additionalProperties": False,
        }
        return n.Tool(name=name, description=description, schema=schema, custom=True)
    strict, parameters = tool.get("strict"), tool.get("parameters")
    return n.Tool(
        name=name,
        description=description,
        schema=parameters if isinstance(parameters, dict) else None,
        strict=strict if isinstance(strict, bool) else None,
    )


def _choice(request: n.Request, choice: object) -> None:
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in _MODES:
            raise wrong("tool_choice", "give auto, required, none or an object")
        request.tool_choice = n.Choice(mode=choice)  # type: ignore[arg-type]
        return
    if not isinstance(choice, dict):
        raise wrong("tool_choice", "give auto, required, none or an object")
    kind = choice.get("type")
    if kind in ("function", "custom") and isinstance(choice.get("name"), str):
        request.tool_choice = n.Choice(mode="tool", tool=choice["name"])
    elif kind == "allowed_tools":
        tools = choice.get("tools")
        names = [
            tool["name"]
            for tool in (tools if isinstance(tools, list) else ())
            if isinstance(tool, dict) and isinstance(tool.get("name"), str)
        ]
        mode = "required" if choice.get("mode") == "required" else "auto"
        request.tool_choice = n.Choice(mode=mode, allowed=names or None)  # type: ignore[arg-type]
    else:
        request.dropped.append("tool_choice")


def _text(request: n.Request, text: object) -> None:
    if not isinstance(text, dict):
        return
    request.verbosity = text_of(text.get("verbosity")) or None
    form = text.get("format")
    if not isinstance(form, dict):
        return
    kind = form.get("type")
    if kind == "json_object":
        request.format = n.Format(kind="json")
    elif kind == "json_schema":
        strict, schema = form.get("strict"), form.get("schema")
        request.format = n.Format(
            kind="schema",
            name=text_of(form.get("name")) or None,
            description=text_of(form.get("description")) or None,
            schema=schema if isinstance(schema, dict) else {},
            strict=strict if isinstance(strict, bool) else None,
        )
    elif kind not in (None, "text"):
        raise wrong("text.format.type", "give text, json_object or json_schema")


def _reasoning(given: object) -> n.Reasoning | None:
    if not isinstance(given, dict) or not given:
        return None
    effort = given.get("effort")
    if effort is not None and text_of(effort) not in _EFFORTS:
        raise wrong("reasoning.effort", f"give one of {', '.join(get_args(n.Effort))}")
    summary = text_of(given.get("summary")) or text_of(given.get("generate_summary")) or None
    if effort is None and summary is None:
        return None
    return n.Reasoning(effort=effort, summary=summary, show=True if summary else None)
