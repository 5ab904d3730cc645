"""A neutral Request as an OpenAI Responses body."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import effort as efforts
from muxproxy.dialects import ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.responses.words import MAKER, reasoning_item

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
# What the Responses API has no word for.
_ABSENT = ("seed", "top_k", "presence_penalty", "frequency_penalty", "logit_bias")


def write(request: n.Request) -> dict[str, Any]:
    """The body. `store: false`: nothing is kept that nobody asked to keep."""
    out: dict[str, Any] = {"model": request.model, "input": _input(request), "store": False}
    if request.system:
        out["instructions"] = "\n\n".join(part.text for part in request.system)
    if request.tools:
        out["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None and request.tools:
        out["tool_choice"] = _choice(request.tool_choice)
    given = {
        "parallel_tool_calls": request.parallel if request.tools else None,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs,
        "safety_identifier": request.user,
        "metadata": request.metadata or None,
        "service_tier": request.tier if request.tier in _TIERS else None,
        "stream": request.stream or None,
    }
    out |= {name: value for name, value in given.items() if value is not None}
    include = []
    if request.logprobs or request.top_logprobs:
        include.append("message.output_text.logprobs")
    _text(request, out)
    if (reasoning := _reasoning(request)) is not None:
        out["reasoning"] = reasoning
        include.append("reasoning.encrypted_content")
    if include:
        out["include"] = include
    for field in _ABSENT:
        if getattr(request, field) is not None:
            request.drop(field)
    if request.stop:
        request.drop("stop")
    if request.n not in (None, 1):
        request.drop("n")
    if request.modalities and request.modalities != ["text"]:
        request.drop("modalities")
    return out


def _text(request: n.Request, out: dict[str, Any]) -> None:
    text: dict[str, Any] = {}
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    form = request.format
    if form is not None and form.kind == "json":
        text["format"] = {"type": "json_object"}
    elif form is not None:
        text["format"] = {
            "type": "json_schema",
            "name": form.name or "answer",
            "schema": form.schema or {},
        }
        if form.strict is not None:
            text["format"]["strict"] = form.strict
        if form.description is not None:
            text["format"]["description"] = form.description
    if text:
        out["text"] = text


def _reasoning(request: n.Request) -> dict[str, Any] | None:
    if request.reasoning is None:
        return None
    out: dict[str, Any] = {}
    wanted = efforts.effort(request.reasoning)
    if wanted is not None:
        out["effort"] = wanted
    summary = request.reasoning.summary or ("auto" if request.reasoning.show else None)
    if summary is not None:
        out["summary"] = summary
    return out or None


def _tool(tool: n.Tool) -> dict[str, Any]:
    if tool.custom:
        out: dict[str, Any] = {"type": "custom", "name": tool.name}
        if tool.description is not None:
            out["description"] = tool.description
        return out
    # Left out, `strict` means true here, which many schemas do not fit.
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema or {"type": "object", "properties": {}},
        "strict": tool.strict or False,
    }


def _choice(choice: n.Choice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "name": choice.tool}
    if choice.allowed:
        tools = [{"type": "function", "name": name} for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
    return choice.mode


# -- input ---------------------------------------------------------------------------------------


def _input(request: n.Request) -> list[dict[str, Any]]:
    customs = {
        part.id
        for turn in request.turns
        for part in turn.parts
        if isinstance(part, n.Call) and part.custom
    }
    items: list[dict[str, Any]] = []
    for turn in request.turns:
        content: list[dict[str, Any]] = []
        role = "developer" if turn.role == "system" else turn.role
        for part in turn.parts:
            piece = _piece(request, part, role)
            if piece is not None:
                content.append(piece)
                continue
            item = _item(request, part, customs)
            if item is not None:
                _message(items, role, content)
                content = []
                items.append(item)
        _message(items, role, content)
    return items


def _message(items: list[dict[str, Any]], role: str, content: list[dict[str, Any]]) -> None:
    if content:
        items.append({"type": "message", "role": role, "content": content})


def _piece(request: n.Request, part: n.Part, role: str) -> dict[str, Any] | None:
    """A part of a message; None for what is an item of its own."""
    if isinstance(part, n.Text):
        kind = "output_text" if role == "assistant" else "input_text"
        piece: dict[str, Any] = {"type": kind, "text": part.text}
        if kind == "output_text":
            piece["annotations"] = []
        return piece
    if isinstance(part, n.Refusal):
        return {"type": "refusal", "refusal": part.text}
    if isinstance(part, n.Media):
        found = media(part)
        if found is None or role == "assistant":
            request.drop("media")
            return None
        return found
    return None


def media(part: n.Media) -> dict[str, Any] | None:
    """An image or file as input; None for sound, which this API does not take."""
    if part.text is not None:
        return {"type": "input_text", "text": part.text}
    url = part.url
    if part.data is not None:
        default = "image/png" if part.kind == "image" else "application/pdf"
        url = f"data:{part.media_type or default};base64,{part.data}"
    if part.kind == "image":
        out: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        return out | ({"file_id": part.file_id} if url is None else {"image_url": url})
    if part.kind == "audio":
        return None
    out = {"type": "input_file"}
    if part.file_id is not None:
        return out | {"file_id": part.file_id}
    if part.data is None:
        return out | {"file_url": url}
    return out | {"filename": part.name or "document.pdf", "file_data": url}


def _item(request: n.Request, part: n.Part, customs: set[str]) -> dict[str, Any] | None:
    if isinstance(part, n.Call):
        called = ids.openai(part.id)
        if part.custom:
            return {
                "type": "custom_tool_call",
                "call_id": called,
                "name": part.name,
                "input": part.arguments,
            }
        return {
            "type": "function_call",
            "call_id": called,
            "name": part.name,
            "arguments": part.arguments or "{}",
        }
    if isinstance(part, n.Result):
        kind = "custom_tool_call_output" if part.id in customs else "function_call_output"
        return {"type": kind, "call_id": ids.openai(part.id), "output": _output(request, part)}
    if isinstance(part, n.Thinking):
        if part.maker == MAKER and part.sealed:
            item = reasoning_item(part, "")
            return item if item["id"] else {k: v for k, v in item.items() if k != "id"}
        request.drop("thinking")
    return None


def _output(request: n.Request, result: n.Result) -> str | list[dict[str, Any]]:
    if all(isinstance(part, n.Text) for part in result.parts):
        text = "\n".join(part.text for part in result.parts if isinstance(part, n.Text))
        return f"Error: {text}" if result.error else text
    out = []
    for part in result.parts:
        if isinstance(part, n.Text):
            out.append({"type": "input_text", "text": part.text})
        elif (found := media(part)) is not None:
            out.append(found)
        else:
            request.drop("media")
    return out
