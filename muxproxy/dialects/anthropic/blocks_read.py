"""The messages of an Anthropic request as neutral turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from muxproxy.dialects import ids, seals
from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import cache_of, safe, text_of, wrong

_encode = msgspec.json.encode
Native = dict[str, Any]


class Message(msgspec.Struct):
    """One message; content blocks are read one by one, so that new kinds do no harm."""

    role: str
    content: str | list[Native] | None = None


def conversation(request: n.Request, messages: list[Message]) -> None:
    """Fills request.turns."""
    names: dict[str, str] = {}
    for at, message in enumerate(messages):
        if message.role not in {"user", "assistant", "system"}:
            raise wrong(f"messages[{at}].role", "give user or assistant")
        content = message.content
        parts: list[n.Part] = []
        if isinstance(content, str):
            parts.append(n.Text(text=content))
        else:
            for block in content or ():
                parts += _block(request, block, names)
        request.turns.append(n.Turn(role=message.role, parts=parts))  # type: ignore[arg-type]


def texts(system: str | list[Native]) -> list[n.Text]:
    """The system prompt's blocks."""
    if isinstance(system, str):
        return [n.Text(text=system)] if system else []
    return [
        n.Text(text=text_of(block.get("text")), cache=cache_of(block.get("cache_control")))
        for block in system
        if block.get("type") == "text"
    ]


def _block(request: n.Request, block: Native, names: dict[str, str]) -> list[n.Part]:
    kind = block.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is not None:
        return reader(request, block)
    if kind == "tool_use":
        return [_call(block, names)]
    if kind == "tool_result":
        return [_result(request, block, names)]
    request.dropped.append(f"messages.content.{safe(kind)}")
    return []


def _text(request: n.Request, block: Native) -> list[n.Part]:
    return [n.Text(text=text_of(block.get("text")), cache=cache_of(block.get("cache_control")))]


def _call(block: Native, names: dict[str, str]) -> n.Call:
    name, tool = ids.original(text_of(block.get("id"))), text_of(block.get("name"))
    names[name] = tool
    arguments = block.get("input")
    return n.Call(
        id=name,
        name=tool,
        arguments="{}" if arguments is None else _encode(arguments).decode(),
        cache=cache_of(block.get("cache_control")),
    )


def _result(request: n.Request, block: Native, names: dict[str, str]) -> n.Result:
    name = ids.original(text_of(block.get("tool_use_id")))
    content = block.get("content")
    parts: list[n.Part] = []
    if isinstance(content, str):
        parts.append(n.Text(text=content))
    elif isinstance(content, list):
        for inner in content:
            if isinstance(inner, dict):
                parts += _block(request, inner, {})
    return n.Result(
        id=name,
        name=names.get(name),
        parts=[part for part in parts if isinstance(part, n.Text | n.Media)],
        error=block.get("is_error") is True,
        cache=cache_of(block.get("cache_control")),
    )


def _thinking(request: n.Request, block: Native) -> list[n.Part]:
    found = n.Thinking(text=text_of(block.get("thinking")))
    signature = text_of(block.get("signature"))
    if signature and not seals.untag(found, signature):
        found.signature, found.maker = signature, "anthropic"
    return [found]


def _redacted(request: n.Request, block: Native) -> list[n.Part]:
    found = n.Thinking()
    data = text_of(block.get("data"))
    if not seals.untag(found, data):
        found.sealed, found.maker = data, "anthropic"
    return [found]


def _image(request: n.Request, block: Native) -> list[n.Part]:
    return _media(request, block, "image", None)


def _document(request: n.Request, block: Native) -> list[n.Part]:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        request.dropped.append("messages.content.citations")
    parts = _media(request, block, "file", text_of(block.get("title")) or None)
    context = text_of(block.get("context"))
    return [n.Text(text=context), *parts] if context else parts


def _media(request: n.Request, block: Native, kind: Any, name: str | None) -> list[n.Part]:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    made = n.Media(kind=kind, name=name, cache=cache_of(block.get("cache_control")))
    made.media_type = text_of(source.get("media_type")) or None
    form = source.get("type")
    if form == "base64":
        made.data = text_of(source.get("data"))
    elif form == "url":
        made.url = text_of(source.get("url"))
    elif form == "file":
        made.file_id = text_of(source.get("file_id"))
    elif form == "text":
        made.text = text_of(source.get("data"))
    elif form == "content":  # blocks of the caller's own cutting
        inner = source.get("content")
        if isinstance(inner, str):
            made.text = inner
        else:
            blocks = inner if isinstance(inner, list) else ()
            return [p for b in blocks if isinstance(b, dict) for p in _block(request, b, {})]
    else:
        request.dropped.append(f"messages.content.{kind}")
        return []
    return [made]


def _found(request: n.Request, block: Native) -> list[n.Part]:
    """A search result: its text, with where it is from."""
    content = block.get("content")
    told = [text_of(block.get("title")), text_of(block.get("source"))]
    told += [
        text_of(inner.get("text"))
        for inner in (content if isinstance(content, list) else ())
        if isinstance(inner, dict)
    ]
    text = "\n".join(line for line in told if line)
    return [n.Text(text=text, cache=cache_of(block.get("cache_control")))]


_READERS: dict[str, Callable[[n.Request, Native], list[n.Part]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "search_result": _found,
}
