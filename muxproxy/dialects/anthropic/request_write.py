"""A neutral Request as an Anthropic Messages request, as the model named in it takes it."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import effort, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import models, schemas
from muxproxy.dialects.anthropic.blocks_write import Conversation
from muxproxy.dialects.anthropic.words import FORMAT_TOOL, cache_control

_ORDER: tuple[str, ...] = effort.EFFORTS
LEAST_BUDGET = 1024  # thinking.budget_tokens: at least this, and less than max_tokens
JSON_ONLY = "Answer with one JSON object and nothing else: no text before or after it."


def write(request: n.Request) -> dict[str, Any]:
    """The body to encode. What Anthropic cannot take is request.drop()ped. Raises MuxError
    invalid_request where nothing is left to say."""
    model = models.find(request.model)
    talk = Conversation(request, model)
    body: dict[str, Any] = {"model": request.model}
    body["max_tokens"] = request.max_tokens or model.max_tokens
    told = _format(request, model, body)
    system = talk.system(told)
    if system:
        body["system"] = system
    body["messages"] = talk.messages
    _tools(request, model, body)
    thinks = _reasoning(request, model, body, talk)
    _sampling(request, model, body, thinks)
    if request.stop:
        _stop(request, body)
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.metadata:
        request.drop("metadata")
    if request.tier in {"auto", "priority"}:
        body["service_tier"] = "auto"
    elif request.tier in {"default", "standard_only"}:
        body["service_tier"] = "standard_only"
    elif request.tier is not None:
        request.drop("tier")
    if request.cache is not None:
        body["cache_control"] = cache_control(request.cache)
    _unknown(request)
    if request.stream:
        body["stream"] = True
    return body


def _unknown(request: n.Request) -> None:
    """What this API has no word for; a default that is said anyway is no loss."""
    for field, lost in (
        ("n", request.n not in {None, 1}),
        ("seed", request.seed is not None),
        ("logprobs", request.logprobs),
        ("top_logprobs", request.top_logprobs),
        ("logit_bias", request.logit_bias),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("verbosity", request.verbosity),
        ("modalities", request.modalities and request.modalities != ["text"]),
    ):
        if lost:
            request.drop(field)


def _stop(request: n.Request, body: dict[str, Any]) -> None:
    """Stop sequences of nothing but white space are a 400 here."""
    kept = [word for word in request.stop if word.strip()]
    if len(kept) < len(request.stop):
        request.drop("stop")
    if kept:
        body["stop_sequences"] = kept


def _sampling(request: n.Request, model: models.Model, body: dict[str, Any], thinks: bool) -> None:
    """temperature, top_p and top_k: not on the newest models, not while thinking."""
    if not model.sampling or thinks:
        for field, value, default in (
            ("temperature", request.temperature, 1),
            ("top_p", request.top_p, 1),
            ("top_k", request.top_k, None),
        ):
            if value is not None and value != default:
                request.drop(field)
        return
    if request.temperature is not None:
        body["temperature"] = min(1.0, max(0.0, request.temperature))
        if request.temperature > 1:
            request.drop("temperature")  # as near as it goes
    if request.top_p is not None:
        if request.temperature is None or model.both_sampling:
            body["top_p"] = request.top_p
        elif request.top_p != 1:
            request.drop("top_p")
    if request.top_k is not None:
        body["top_k"] = request.top_k


def _format(request: n.Request, model: models.Model, body: dict[str, Any]) -> str | None:
    """Sets output_config.format or the tool that stands in; returns what must be said instead."""
    form = request.format
    if form is None:
        return None
    if form.kind == "json":
        return JSON_ONLY
    schema = form.schema or {}
    if schema.get("type") != "object":
        return f"{JSON_ONLY} It must fit this JSON Schema: {schemas.text(schema)}"
    if model.schema:
        closed = schemas.closed(schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": closed}}
        return None
    body["tools"] = [
        {
            "name": FORMAT_TOOL,
            "description": form.description or "Gives the final answer. Call it once, at the end.",
            "input_schema": schema,
        }
    ]
    return None


def _tools(request: n.Request, model: models.Model, body: dict[str, Any]) -> None:
    stand_in = body.pop("tools", None)
    choice = request.tool_choice
    allowed = None if choice is None else choice.allowed
    tools = []
    for tool in request.tools:
        if allowed is not None and tool.name not in allowed:
            continue
        out: dict[str, Any] = {"name": _name(request, tool.name)}
        if tool.description is not None:
            out["description"] = tool.description
        out["input_schema"] = schemas.of_tool(tool.schema)
        if tool.strict is not None and model.schema:
            out["strict"] = tool.strict
            if tool.strict:
                out["input_schema"] = schemas.closed(out["input_schema"])
        if tool.cache is not None:
            out["cache_control"] = cache_control(tool.cache)
        tools.append(out)
    if stand_in is not None:
        alone = not tools or (choice is not None and choice.mode == "none")
        body["tools"] = tools + stand_in
        if alone:
            body["tool_choice"] = {"type": "tool", "name": FORMAT_TOOL}
        elif choice is not None and choice.mode == "tool":
            body["tool_choice"] = _choice(request, choice, tools)
        else:
            body["tool_choice"] = {"type": "any"}
    elif tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = _choice(request, choice, tools)
    if request.parallel is False and tools:
        picked = body.setdefault("tool_choice", {"type": "auto"})
        if picked["type"] != "none":
            picked["disable_parallel_tool_use"] = True


def _name(request: n.Request, name: str) -> str:
    return request.rename(name, ids.tool(name, ids.ANTHROPIC_TOOL_LENGTH))


def _choice(request: n.Request, choice: n.Choice, tools: list[dict[str, Any]]) -> dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "tool", "name": _name(request, choice.tool or "")}
    if choice.mode == "required":
        if choice.allowed is not None and len(tools) == 1:
            return {"type": "tool", "name": tools[0]["name"]}
        return {"type": "any"}
    return {"type": choice.mode}


def _reasoning(
    request: n.Request, model: models.Model, body: dict[str, Any], talk: Conversation
) -> bool:
    """Sets thinking and effort; whether the model thinks by a budget or as it likes."""
    reasoning = request.reasoning
    if reasoning is None:
        return False
    tokens = effort.budget(reasoning)
    word = effort.effort(reasoning)
    if tokens == 0:
        if model.off is not None and not model.always:
            body["thinking"] = {"type": model.off}
        elif model.always:
            request.drop("reasoning")
            body.setdefault("output_config", {})["effort"] = "low"
        return False
    forced = body.get("tool_choice", {}).get("type") in {"any", "tool"}
    if not model.thinking or (forced and not model.adaptive):
        request.drop("reasoning")  # a forced call and thinking exclude each other
        return False
    if model.efforts and word is not None and reasoning.budget is None:
        body.setdefault("output_config", {})["effort"] = _nearest(word, model)
    if model.adaptive and (not model.budgets or reasoning.budget is None):
        if reasoning.budget is not None and word is not None:
            body.setdefault("output_config", {})["effort"] = _nearest(word, model)
        if forced and not model.always:
            return False
        body["thinking"] = _shown({"type": "adaptive"}, reasoning)
        return True
    return _budget(request, body, talk, tokens, reasoning)


def _budget(
    request: n.Request,
    body: dict[str, Any],
    talk: Conversation,
    tokens: int | None,
    reasoning: n.Reasoning,
) -> bool:
    most = body["max_tokens"] - 1
    if request.max_tokens is not None and reasoning.budget is None:
        most = min(most, max(LEAST_BUDGET, body["max_tokens"] * 4 // 5))  # leave room to answer
    wanted = effort.BUDGETS["medium"] if tokens is None or tokens < 0 else tokens
    budget = min(max(wanted, LEAST_BUDGET), most)
    if budget < LEAST_BUDGET or talk.unsigned_calls:
        # Too small to think in, or within a tool loop whose thoughts have not come back: an
        # assistant turn that calls tools must begin with them.
        request.drop("reasoning")
        return False
    body["thinking"] = _shown({"type": "enabled", "budget_tokens": budget}, reasoning)
    return True


def _shown(thinking: dict[str, Any], reasoning: n.Reasoning) -> dict[str, Any]:
    if reasoning.show is not None:
        thinking["display"] = "summarized" if reasoning.show else "omitted"
    return thinking


def _nearest(word: n.Effort, model: models.Model) -> str:
    """The nearest effort the model knows; the weaker of two."""
    if word in model.efforts:
        return word
    at = effort.EFFORTS.index(word)
    ranked = sorted(
        model.efforts,
        key=lambda e: (abs(_ORDER.index(e) - at), _ORDER.index(e)),
    )
    return ranked[0]
