"""The input items of a Responses request as neutral turns."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import cache_of, data_url, safe, text_of, wrong
from muxproxy.dialects.responses.words import thinking_of
from muxproxy.errors import MuxError

_encode = msgspec.json.encode


def conversation(request: n.Request, given: object) -> None:
    """Fills request.system and request.turns."""
    if given is None:
        return
    if isinstance(given, str):
        request.turns.append(n.Turn(role="user", parts=[n.Text(text=given)]))
        return
    if not isinstance(given, list):
        raise wrong("input", "expected a string or an array of items")
    names: dict[str, str] = {}
    for at, item in enumerate(given):
        if not isinstance(item, dict):
            raise wrong(f"input[{at}]", "expected an object")
        _item(request, item, at, names)


def _item(request: n.Request, item: dict[str, Any], at: int, names: dict[str, str]) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        _message(request, item, at)
    elif kind in ("function_call", "custom_tool_call"):
        call = n.Call(
            id=text_of(item.get("call_id")) or text_of(item.get("id")),
            name=spaced(text_of(item.get("namespace")), text_of(item.get("name"))),
            arguments=text_of(item.get("arguments")) or "{}",
        )
        if kind == "custom_tool_call":  # its tool is declared as a function with one property
            given = {"input": text_of(item.get("input"))}
            call.arguments = _encode(given).decode()
        if not call.id or not call.name:
            raise wrong(f"input[{at}]", "a call needs call_id and name")
        names[call.id] = call.name
        _add(request, "assistant", call)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        called = text_of(item.get("call_id"))
        if not called:
            raise wrong(f"input[{at}].call_id", "name the call that this answers")
        parts = _output(request, item.get("output"))
        result = n.Result(id=called, name=names.get(called), parts=parts)
        _add(request, "user", result)
    elif kind == "reasoning":
        thinking = thinking_of(item)
        if thinking.text or thinking.sealed or thinking.signature:
            _add(request, "assistant", thinking)
    elif kind == "item_reference":
        raise MuxError(
            "unsupported_translation",
            f"input[{at}]: an item_reference points at what one provider keeps; send the item",
            details={"fields": ["input.item_reference"]},
        )
    elif kind not in ("additional_tools", "configuration_update"):  # not of the conversation
        request.dropped.append(f"input.{safe(kind)}")


def spaced(space: str | None, name: str) -> str:
    """A tool's name with its namespace before it: others have no namespaces."""
    return f"{space}__{name}" if space and name else name


def _add(request: n.Request, role: Any, part: n.Part) -> None:
    """Calls, reasoning and results that follow each other belong to one turn."""
    turns = request.turns
    if turns and turns[-1].role == role and (role == "assistant" or _results(turns[-1])):
        turns[-1].parts.append(part)
    else:
        turns.append(n.Turn(role=role, parts=[part]))


def _results(turn: n.Turn) -> bool:
    return all(isinstance(part, n.Result) for part in turn.parts)


def _message(request: n.Request, item: dict[str, Any], at: int) -> None:
    role = item.get("role")
    parts = _content(request, item.get("content"), at)
    if role in ("system", "developer"):
        texts = [part for part in parts if isinstance(part, n.Text)]
        if request.turns:
            request.turns.append(n.Turn(role="system", parts=list(texts)))
        else:
            request.system += texts
    elif role == "assistant":
        for part in parts:
            _add(request, "assistant", part)
    elif role == "user":
        request.turns.append(n.Turn(role="user", parts=parts))
    else:
        raise wrong(f"input[{at}].role", "give user, assistant, system or developer")


def _content(request: n.Request, content: object, at: int) -> list[n.Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [n.Text(text=content)] if content else []
    if not isinstance(content, list):
        raise wrong(f"input[{at}].content", "expected a string or an array")
    parts: list[n.Part] = []
    for native in content:
        part = _part(native) if isinstance(native, dict) else None
        if part is None:
            kind = native.get("type") if isinstance(native, dict) else native
            request.dropped.append(f"input.content.{safe(kind)}")
            continue
        mark = native.get("prompt_cache_breakpoint") or native.get("cache_control")
        if mark is not None and isinstance(part, n.Text | n.Media):
            part.cache = cache_of(mark)
        parts.append(part)
    return parts


def _part(native: dict[str, Any]) -> n.Part | None:
    kind = native.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return n.Text(text=text_of(native.get("text")))
    if kind == "refusal":
        return n.Refusal(text=text_of(native.get("refusal")))
    if kind == "input_image":
        detail = text_of(native.get("detail")) or None
        return _media("image", native, native.get("image_url"), detail)
    if kind == "input_file":
        url = native.get("file_data") or native.get("file_url")
        return _media("file", native, url, None)
    if kind == "input_audio" and isinstance(sound := native.get("input_audio"), dict):
        form = text_of(sound.get("format")) or "wav"
        return n.Media(kind="audio", media_type=f"audio/{form}", data=text_of(sound.get("data")))
    return None


def _media(kind: Any, native: dict[str, Any], url: object, detail: str | None) -> n.Media | None:
    name = text_of(native.get("filename")) or None
    if isinstance(native.get("file_id"), str):
        return n.Media(kind=kind, file_id=native["file_id"], name=name, detail=detail)
    if not isinstance(url, str) or not url:
        return None
    default = "application/pdf" if kind == "file" else None
    found = data_url(url)
    if found is not None:
        media_type, data = found
        media_type = media_type or default
        return n.Media(kind=kind, media_type=media_type, data=data, name=name, detail=detail)
    if kind == "file" and "://" not in url[:10]:  # file_data without its data: head
        return n.Media(kind=kind, media_type=default, data=url, name=name)
    return n.Media(kind=kind, media_type=default, url=url, name=name, detail=detail)


def _output(request: n.Request, output: object) -> list[n.Text | n.Media]:
    """A result: a string, or content parts; anything else as JSON."""
    if isinstance(output, str):
        return [n.Text(text=output)]
    if isinstance(output, list):
        parts = []
        for native in output:
            part = _part(native) if isinstance(native, dict) else None
            if isinstance(part, n.Text | n.Media):
                parts.append(part)
            else:
                request.dropped.append("input.output")
        return parts
    return [] if output is None else [n.Text(text=_encode(output).decode())]
