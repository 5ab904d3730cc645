"""A neutral Request as an OpenAI chat request, in the provider's own ways (dialects.quirks)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from muxproxy.dialects import effort, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai.messages_write import messages
from muxproxy.dialects.quirks import GENERIC, Quirks

_encode = msgspec.json.encode

_ORDER: tuple[str, ...] = effort.EFFORTS
USER_LENGTH = 64  # OpenAI's limit of user and safety_identifier
JSON_ONLY = "Answer with one JSON object and nothing else."
_TIERS = frozenset({"auto", "default", "flex", "priority", "scale", "fast"})


def write(request: n.Request, quirks: Quirks = GENERIC) -> dict[str, Any]:
    """The body to encode. What the provider cannot take is request.drop()ped."""
    body: dict[str, Any] = {"model": request.model}
    told = _format(request, quirks, body)
    body["messages"] = messages(request, quirks, told)
    if request.tools:
        _tools(request, quirks, body)
    if request.max_tokens is not None:
        body[quirks.limit] = request.max_tokens
    _reasoning(request, quirks, body)
    _numbers(request, quirks, body)
    if request.stop:
        if quirks.stops is not None and len(request.stop) > quirks.stops:
            request.drop("stop")
        _put(request, quirks, body, "stop", request.stop[: quirks.stops])
    _identity(request, quirks, body)
    if request.stream:
        body["stream"] = True
        if quirks.stream_options:
            body["stream_options"] = {"include_usage": True}
    return body


def _put(request: n.Request, quirks: Quirks, body: dict[str, Any], field: str, value: Any) -> None:
    if field in quirks.refuses:
        request.drop(field)
    else:
        body[field] = value


def _numbers(request: n.Request, quirks: Quirks, body: dict[str, Any]) -> None:
    """Sampling and what else is a plain value. Defaults that are said anyway are no loss."""
    refuses = quirks.refuses
    # OpenAI's newest models sample only where they do not reason.
    if refuses and body.get("reasoning_effort") == "none" and quirks.developer:
        refuses = frozenset({"stop", "logit_bias", "presence_penalty", "frequency_penalty"})
    for field, value, default in (
        ("temperature", request.temperature, 1),
        ("top_p", request.top_p, 1),
        ("n", request.n, 1),
        ("presence_penalty", request.presence_penalty, 0),
        ("frequency_penalty", request.frequency_penalty, 0),
        ("logprobs", request.logprobs, False),
        ("top_logprobs", request.top_logprobs, 0),
        ("logit_bias", request.logit_bias, {}),
        ("verbosity", request.verbosity, None),
    ):
        if value is None:
            continue
        if field not in refuses:
            body[field] = value
        elif value != default:
            request.drop(field)
    if request.seed is not None:
        if "seed" in refuses:
            request.drop("seed")
        else:
            body[quirks.seed] = request.seed
    if request.top_k is not None:
        if quirks.top_k:
            body["top_k"] = request.top_k
        else:
            request.drop("top_k")
    if request.modalities and request.modalities != ["text"]:
        _put(request, quirks, body, "modalities", request.modalities)


def _tools(request: n.Request, quirks: Quirks, body: dict[str, Any]) -> None:
    if "tools" in quirks.refuses:
        request.drop("tools")
        return
    tools = []
    for tool in request.tools:
        function: dict[str, Any] = {"name": _name(request, tool.name)}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.schema is not None:
            function["parameters"] = tool.schema
        if tool.strict is not None:
            function["strict"] = tool.strict and strict_ready(tool.schema or {})
        out: dict[str, Any] = {"type": "function", "function": function}
        if tool.cache is not None and quirks.cache_control:
            out["cache_control"] = {"type": "ephemeral", "ttl": tool.cache}
        tools.append(out)
    body["tools"] = tools
    choice = request.tool_choice
    if choice is not None:
        _put(request, quirks, body, "tool_choice", _choice(request, choice, quirks))
    if request.parallel is not None:
        if "parallel_tool_calls" not in quirks.refuses:
            body["parallel_tool_calls"] = request.parallel
        elif not request.parallel:
            request.drop("parallel")


def _name(request: n.Request, name: str) -> str:
    return request.rename(name, ids.tool(name, ids.OPENAI_TOOL_LENGTH))


def _choice(request: n.Request, choice: n.Choice, quirks: Quirks) -> Any:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": _name(request, choice.tool or "")}}
    mode = quirks.required if choice.mode == "required" else choice.mode
    if choice.allowed is None or choice.mode == "none":
        return mode
    return {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": choice.mode,
            "tools": [
                {"type": "function", "function": {"name": _name(request, name)}}
                for name in choice.allowed
            ],
        },
    }


def _format(request: n.Request, quirks: Quirks, body: dict[str, Any]) -> str | None:
    """Sets response_format; what has to be said in words instead is returned."""
    form = request.format
    if form is None:
        return None
    if form.kind == "json":
        body["response_format"] = {"type": "json_object"}
        return None
    if not quirks.schema:
        body["response_format"] = {"type": "json_object"}
        return f"{JSON_ONLY} It must fit this JSON Schema: {_encode(form.schema or {}).decode()}"
    schema: dict[str, Any] = {"name": form.name or "answer", "schema": form.schema or {}}
    if form.description is not None:
        schema["description"] = form.description
    if form.strict is not None:
        schema["strict"] = form.strict and strict_ready(form.schema or {})
    body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return None


def _reasoning(request: n.Request, quirks: Quirks, body: dict[str, Any]) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    word = effort.effort(reasoning)
    if quirks.effort_or_tools and "tools" in body and word != "none":
        if word is not None:
            request.drop("reasoning")
    elif quirks.effort == "none":
        if word != "none" and (word is not None or reasoning.adaptive):
            request.drop("reasoning")
    elif quirks.effort == "thinking":
        body["thinking"] = {"type": "disabled" if word == "none" else "enabled"}
    elif quirks.effort == "reasoning":
        native: dict[str, Any] = {}
        if reasoning.budget is not None and reasoning.budget > 0:
            native["max_tokens"] = reasoning.budget
        elif word is not None:
            native["effort"] = word
        else:
            native["enabled"] = True
        if reasoning.show is not None:
            native["exclude"] = not reasoning.show
        body["reasoning"] = native
    elif word is not None:
        _effort(request, quirks, body, word)


def strict_ready(schema: dict[str, Any]) -> bool:
    """Whether `schema` may be strict here: every object closed, every property required
    (platform.openai.com/docs/guides/structured-outputs). Anthropic asks for less."""
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False:
            return False
        required = schema.get("required") or []
        if not isinstance(properties, dict) or not isinstance(required, list):
            return False
        if any(name not in required for name in properties):
            return False
    for key, value in schema.items():
        if key in {"properties", "$defs", "definitions"} and isinstance(value, dict):
            inner = list(value.values())
        elif key in {"anyOf", "allOf"} and isinstance(value, list):
            inner = value
        elif key == "items":
            inner = [value]
        else:
            continue
        if not all(strict_ready(one) for one in inner if isinstance(one, dict)):
            return False
    return True


def _effort(request: n.Request, quirks: Quirks, body: dict[str, Any], word: n.Effort) -> None:
    """The nearest effort that the provider knows."""
    known = quirks.efforts
    if known is None or word in known:
        body["reasoning_effort"] = word
        return
    at = effort.EFFORTS.index(word)
    if word == "none":  # what cannot be turned off is turned down
        near: str | None = next((e for e in effort.EFFORTS[1:] if e in known), None)
        request.drop("reasoning")
    else:
        ranked = sorted(known - {"none"}, key=lambda e: abs(_ORDER.index(e) - at))
        near = ranked[0] if ranked else None
    if near is not None:
        body["reasoning_effort"] = near


def _identity(request: n.Request, quirks: Quirks, body: dict[str, Any]) -> None:
    if request.user is not None and quirks.user is not None:
        user = request.user
        if len(user) > USER_LENGTH:
            user = hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=32).hexdigest()
        body[quirks.user] = user
    if request.metadata:
        _put(request, quirks, body, "metadata", request.metadata)
    tier = "default" if request.tier == "standard_only" else request.tier
    if tier in _TIERS:
        if "service_tier" not in quirks.refuses:
            body["service_tier"] = tier
        elif tier not in {"auto", "default"}:
            request.drop("tier")
