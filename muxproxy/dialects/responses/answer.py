"""A whole Responses answer, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults
from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import listed, text_of
from muxproxy.dialects.responses.words import (
    annotation,
    call_item,
    citation_of,
    customs_of,
    finish_of,
    reasoning_item,
    spaces_of,
    thinking_of,
    usage,
)
from muxproxy.dialects.usage import normalise
from muxproxy.exchange import Usage

_decode = msgspec.json.Decoder().decode


def read(body: bytes) -> n.Answer:
    """Raises ValueError where it is no such answer."""
    document = _decode(body)
    if not isinstance(document, dict):
        raise ValueError("not a response")
    if document.get("output") is None and isinstance(document.get("error"), dict):
        return n.Answer(failure=faults.of(document))
    return answer_of(document)


def answer_of(document: dict[str, Any]) -> n.Answer:
    """A decoded `response` object."""
    output = n.Output()
    for item in listed(document.get("output")):
        if isinstance(item, dict):
            _item(item, output)
    called = any(isinstance(part, n.Call) for part in output.parts)
    output.finish = finish_of(document, called)
    created = document.get("created_at")
    counts = document.get("usage")
    answer = n.Answer(
        id=text_of(document.get("id")) or None,
        model=text_of(document.get("model")) or None,
        created=int(created) if isinstance(created, int | float) else None,
        outputs=[output],
        usage=normalise(counts) if isinstance(counts, dict) else None,
    )
    if document.get("status") == "failed":
        answer.failure = faults.of(document)
    return answer


def _item(item: dict[str, Any], output: n.Output) -> None:
    kind = item.get("type")
    if kind == "message":
        for native in listed(item.get("content")):
            if isinstance(native, dict):
                _content(native, output)
    elif kind == "reasoning":
        thinking = thinking_of(item)
        if thinking.text or thinking.sealed or thinking.signature:
            output.parts.append(thinking)
    elif kind in ("function_call", "custom_tool_call"):
        custom = kind == "custom_tool_call"
        output.parts.append(
            n.Call(
                id=text_of(item.get("call_id")) or text_of(item.get("id")),
                name=text_of(item.get("name")),
                arguments=text_of(item.get("input" if custom else "arguments")),
                custom=custom,
            )
        )
    elif kind == "image_generation_call" and isinstance(item.get("result"), str):
        form = text_of(item.get("output_format")) or "png"
        picture = n.Media(kind="image", media_type=f"image/{form}", data=item["result"])
        output.parts.append(picture)


def _content(native: dict[str, Any], output: n.Output) -> None:
    kind = native.get("type")
    if kind == "output_text":
        output.parts.append(n.Text(text=text_of(native.get("text"))))
        logprobs = native.get("logprobs")
        if isinstance(logprobs, list) and logprobs:
            output.logprobs = [*(output.logprobs or []), *logprobs]
        for note in listed(native.get("annotations")):
            if (found := citation_of(note)) is not None:
                output.citations.append(found)
    elif kind == "refusal":
        output.parts.append(n.Refusal(text=text_of(native.get("refusal"))))


def write(answer: n.Answer, request: n.Request, id: str, created: int) -> dict[str, Any]:
    """The whole answer; the first choice, for this API has one."""
    output = answer.outputs[0] if answer.outputs else n.Output()
    items = written_items(output, request, id)
    return response(
        request,
        id,
        answer.created or created,
        model=answer.model,
        finish=output.finish,
        items=items,
        usage_=answer.usage,
    )


def written_items(output: n.Output, request: n.Request, id: str) -> list[dict[str, Any]]:
    """The output items of one choice."""
    stem = id.removeprefix("resp_")
    customs, spaces = customs_of(request), spaces_of(request)
    items: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []

    def message() -> None:
        if content:
            items.append(message_item(f"msg_{stem}_{len(items)}", list(content), "completed"))
            content.clear()

    for part in output.parts:
        at = f"{stem}_{len(items)}"
        if isinstance(part, n.Text):
            piece = text_part(part.text, output.logprobs)
            if not content:
                piece["annotations"] = [annotation(one) for one in output.citations]
            content.append(piece)
        elif isinstance(part, n.Refusal):
            content.append({"type": "refusal", "refusal": part.text})
        elif isinstance(part, n.Thinking):
            message()
            items.append(reasoning_item(part, f"rs_{at}"))
        elif isinstance(part, n.Call):
            message()
            known = request.renamed.get(part.name, part.name)
            called = msgspec.structs.replace(part, name=known)
            items.append(call_item(called, customs, spaces, at, "completed"))
        elif isinstance(part, n.Media) and part.data is not None:
            message()
            items.append(picture_item(part, f"ig_{at}"))
    message()
    return items


def picture_item(media: n.Media, id: str) -> dict[str, Any]:
    """A generated image."""
    return {
        "id": id,
        "type": "image_generation_call",
        "status": "completed",
        "result": media.data,
        "output_format": (media.media_type or "image/png").partition("/")[2],
    }


def text_part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    """output_text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def message_item(id: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """A message of the model."""
    return {
        "id": id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def response(
    request: n.Request,
    id: str,
    created: int,
    *,
    model: str | None,
    finish: n.Finish | None,
    items: list[dict[str, Any]],
    usage_: Usage | None,
) -> dict[str, Any]:
    """The `response` object with every member that the SDK's type requires; `finish` None: in
    progress."""
    status, details = _status(finish)
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": details,
        "instructions": "\n\n".join(part.text for part in request.system) or None,
        "max_output_tokens": request.max_tokens,
        "model": model or request.model or "",
        "output": items,
        "parallel_tool_calls": request.parallel is not False,
        "previous_response_id": None,
        "reasoning": {
            "effort": request.reasoning.effort if request.reasoning else None,
            "summary": request.reasoning.summary if request.reasoning else None,
        },
        "service_tier": request.tier or "default",
        "store": False,
        "temperature": request.temperature,
        "text": {"format": _format(request.format)},
        "tool_choice": _choice(request.tool_choice),
        "tools": [_tool(tool) for tool in request.tools],
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None if usage_ is None else usage(usage_),
        "user": request.user,
        "metadata": request.metadata or {},
    }


def _status(finish: n.Finish | None) -> tuple[str, dict[str, str] | None]:
    if finish is None:
        return "in_progress", None
    if finish.reason == "length":
        return "incomplete", {"reason": "max_output_tokens"}
    if finish.reason == "filter":
        return "incomplete", {"reason": "content_filter"}
    return "failed" if finish.reason == "error" else "completed", None


def _format(form: n.Format | None) -> dict[str, Any]:
    if form is None:
        return {"type": "text"}
    if form.kind == "json":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": form.name or "answer",
        "schema": form.schema or {},
        "strict": form.strict or False,
    }


def _choice(choice: n.Choice | None) -> str | dict[str, Any]:
    if choice is None:
        return "auto"
    return {"type": "function", "name": choice.tool} if choice.mode == "tool" else choice.mode


def _tool(tool: n.Tool) -> dict[str, Any]:
    if tool.custom:
        return {"type": "custom", "name": tool.name, "description": tool.description or ""}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": tool.strict or False,
    }
