"""The messages of an OpenAI chat request as neutral turns."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai.thoughts import from_details
from muxproxy.dialects.reading import cache_of, data_url, safe, text_of, wrong

Content = str | list[dict[str, Any]] | None


class _Called(msgspec.Struct):
    name: str | None = None
    arguments: Any = None
    input: str | None = None  # of a custom tool


class ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Called | None = None
    custom: _Called | None = None
    extra_content: Any = None


class Message(msgspec.Struct):
    """One message, of any role, with what compatible providers add to it."""

    role: str
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: _Called | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    extra_content: Any = None
    cache_control: dict[str, Any] | None = None


def conversation(request: n.Request, messages: list[Message]) -> None:
    """Fills request.system and request.turns."""
    names: dict[str, str] = {}
    turns = request.turns
    for at, message in enumerate(messages):
        role = message.role
        if role == "user":
            turns.append(
                n.Turn(role="user", parts=_content(request, message, at), name=message.name)
            )
        elif role == "assistant":
            turns.append(
                n.Turn(
                    role="assistant",
                    parts=_assistant(request, message, at, names),
                    name=message.name,
                )
            )
        elif role in {"system", "developer"}:
            parts = _content(request, message, at)
            texts = [p for p in parts if isinstance(p, n.Text)]
            if len(texts) < len(parts):
                request.drop("media")
            if turns:
                turns.append(n.Turn(role="system", parts=[*texts]))
            else:
                request.system += texts
        elif role in {"tool", "function"}:
            turns.append(n.Turn(role="user", parts=[_result(request, message, at, names)]))
        else:
            raise wrong(
                f"messages[{at}].role", "give system, developer, user, assistant, tool or function"
            )


def signature_of(extra: object) -> str | None:
    """Gemini's thoughtSignature, as Google's compatible endpoint carries it."""
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) else None


def arguments_of(value: object) -> str:
    """A call's arguments as JSON text; some providers take and give the object itself."""
    if isinstance(value, str):
        return value or "{}"
    return "{}" if value is None else msgspec.json.encode(value).decode()


def _assistant(
    request: n.Request, message: Message, at: int, names: dict[str, str]
) -> list[n.Part]:
    parts: list[n.Part] = []
    if message.reasoning_details:
        parts += from_details(message.reasoning_details)
    if not parts:
        thought = message.reasoning_content or message.reasoning
        if thought:
            parts.append(n.Thinking(text=thought))
    content = _content(request, message, at)
    signature = signature_of(message.extra_content)
    if signature is not None and content and isinstance(content[-1], n.Text):
        content[-1].signature = signature
    parts += content
    if message.refusal:
        parts.append(n.Refusal(text=message.refusal))
    for index, call in enumerate(message.tool_calls or ()):
        called = call.function or call.custom or _Called()
        if not called.name:
            raise wrong(f"messages[{at}].tool_calls[{index}]", "the function's name is missing")
        name = call.id or ids.made_up(str(at), 0, index)
        names[name] = called.name
        custom = call.function is None
        parts.append(
            n.Call(
                id=name,
                name=called.name,
                arguments=called.input or "" if custom else arguments_of(called.arguments),
                signature=signature_of(call.extra_content),
                custom=custom,
            )
        )
    legacy = message.function_call
    if legacy is not None and legacy.name:
        name = ids.made_up(legacy.name, 0, 0)
        names[name] = legacy.name
        parts.append(n.Call(id=name, name=legacy.name, arguments=arguments_of(legacy.arguments)))
    return parts


def _result(request: n.Request, message: Message, at: int, names: dict[str, str]) -> n.Result:
    name = message.tool_call_id
    if name is None:
        if message.name is not None and message.role == "function":  # the old way, by name
            name = ids.made_up(message.name, 0, 0)
        elif names:
            name = list(names)[-1]
        else:
            raise wrong(f"messages[{at}].tool_call_id", "name the call that this answers")
    parts = [p for p in _content(request, message, at) if isinstance(p, n.Text | n.Media)]
    cache = None
    if parts and parts[-1].cache:
        cache, parts[-1].cache = parts[-1].cache, None
    return n.Result(id=name, name=message.name or names.get(name), parts=parts, cache=cache)


def _content(request: n.Request, message: Message, at: int) -> list[n.Part]:
    content = message.content
    if content is None:
        return []
    if isinstance(content, str):
        text = n.Text(text=content)
        if message.cache_control is not None:
            text.cache = cache_of(message.cache_control)
        return [text] if content else []
    parts: list[n.Part] = []
    for native in content:
        part = _part(native)
        if part is None:
            request.dropped.append(f"messages.content.{safe(native.get('type', 'untyped'))}")
            continue
        mark = native.get("cache_control") or native.get("prompt_cache_breakpoint")
        if mark is not None and isinstance(part, n.Text | n.Media):
            part.cache = cache_of(mark)
        parts.append(part)
    if message.cache_control is not None and parts and isinstance(parts[-1], n.Text | n.Media):
        parts[-1].cache = cache_of(message.cache_control)
    return parts


def _part(native: dict[str, Any]) -> n.Part | None:
    """One content part; None where this form has nothing like it."""
    kind = text_of(native.get("type"))
    if kind in {"text", "input_text", "output_text"}:
        return n.Text(text=text_of(native.get("text")))
    if kind == "refusal":
        return n.Refusal(text=text_of(native.get("refusal")))
    if kind == "image_url":
        return image(native.get("image_url"))
    if kind == "input_audio":
        sound = native.get("input_audio")
        if not isinstance(sound, dict) or not isinstance(sound.get("data"), str):
            return None
        form = text_of(sound.get("format")) or "wav"
        return n.Media(kind="audio", media_type=f"audio/{form}", data=sound["data"])
    if kind == "file" and isinstance(native.get("file"), dict):
        return _file(native["file"])
    if kind == "document_url" and isinstance(native.get("document_url"), str):  # Mistral
        name = text_of(native.get("document_name")) or None
        return _located("file", native["document_url"], name, "application/pdf")
    if kind == "thinking":  # Mistral
        return n.Thinking(text=thinking_text(native.get("thinking")))
    return None


def thinking_text(value: object) -> str:
    """Mistral's thinking: a string, or a list of text parts."""
    if isinstance(value, list):
        return "".join(text_of(p.get("text")) for p in value if isinstance(p, dict))
    return text_of(value)


def image(value: object) -> n.Media | None:
    """image_url: an object, or the string alone (Mistral)."""
    detail = None
    if isinstance(value, dict):
        detail = text_of(value.get("detail")) or None
        value = value.get("url")
    if not isinstance(value, str) or not value:
        return None
    media = _located("image", value, None, None)
    media.detail = detail
    return media


def _file(native: dict[str, Any]) -> n.Media | None:
    name = text_of(native.get("filename")) or None
    if isinstance(native.get("file_id"), str):
        return n.Media(kind="file", file_id=native["file_id"], name=name)
    data = native.get("file_data")
    if not isinstance(data, str) or not data:
        return None
    if "://" in data[:10] or data.startswith("data:"):
        return _located("file", data, name, None)
    return n.Media(kind="file", media_type="application/pdf", data=data, name=name)


def _located(kind: Any, url: str, name: str | None, media_type: str | None) -> n.Media:
    found = data_url(url)
    if found is None:
        return n.Media(kind=kind, media_type=media_type, url=url, name=name)
    return n.Media(kind=kind, media_type=found[0] or media_type, data=found[1], name=name)
