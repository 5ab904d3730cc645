"""Neutral turns as the messages of an OpenAI chat request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muxproxy.dialects import ids, seals
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai.thoughts import details
from muxproxy.dialects.quirks import Quirks


def messages(request: n.Request, quirks: Quirks, told: str | None = None) -> list[dict[str, Any]]:
    """The whole list; `told` is one more instruction for the system prompt."""
    name_of = ids.mistral if quirks.ids == "mistral" else ids.openai
    role = "developer" if quirks.developer else "system"
    out: list[dict[str, Any]] = []
    shown: list[n.Part] = []  # what tools showed, until all results are out
    system = request.system
    if told is not None:
        system = [*system, n.Text(text=told)]
    if system:
        out.append({"role": role, "content": _content(request, system, quirks)})
    for turn in request.turns:
        if turn.role == "user":
            shown = _user(request, turn, quirks, out, (shown, name_of))
            continue
        if shown:
            out.append({"role": "user", "content": _content(request, shown, quirks)})
            shown = []
        if turn.role == "assistant":
            out.append(_assistant(request, turn, quirks, name_of))
        elif turn.parts:
            out.append({"role": role, "content": _content(request, turn.parts, quirks)})
    if shown:
        out.append({"role": "user", "content": _content(request, shown, quirks)})
    _prefill(request, quirks, out)
    return out


def _prefill(request: n.Request, quirks: Quirks, out: list[dict[str, Any]]) -> None:
    """A last assistant message is the beginning of the answer to Anthropic; few others go on
    with it."""
    if not out or out[-1]["role"] != "assistant" or out[-1].get("tool_calls"):
        return
    if quirks.prefix:
        out[-1]["prefix"] = True
    else:
        request.drop("prefill")


def _user(
    request: n.Request,
    turn: n.Turn,
    quirks: Quirks,
    out: list[dict[str, Any]],
    carried: tuple[list[n.Part], Callable[[str], str]],
) -> list[n.Part]:
    """Tool results become messages of their own, before what the user says. Returns what the
    tools showed and nobody has said yet: role tool takes text only."""
    shown, name_of = carried
    rest: list[n.Part] = []
    for part in turn.parts:
        if not isinstance(part, n.Result):
            rest.append(part)
            continue
        texts = [p for p in part.parts if isinstance(p, n.Text)]
        media = [p for p in part.parts if isinstance(p, n.Media)]
        content: Any = _result(texts, media)
        if part.cache is not None and quirks.cache_control:
            control = {"type": "ephemeral", "ttl": part.cache}
            content = [{"type": "text", "text": content, "cache_control": control}]
        out.append({"role": "tool", "tool_call_id": name_of(part.id), "content": content})
        shown = [*shown, *media]
    if rest or not turn.parts:
        said = _content(request, [*shown, *rest], quirks)
        message: dict[str, Any] = {"role": "user", "content": said}
        _name(request, turn, quirks, message)
        out.append(message)
        return []
    return shown


def _result(texts: list[Any], media: list[Any]) -> str:
    text = "\n".join(part.text for part in texts)
    if not media:
        return text
    note = "(The tool's images and files are in the next user message.)"
    return f"{text}\n{note}" if text else note


def _assistant(request: n.Request, turn: n.Turn, quirks: Quirks, name_of: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    texts: list[n.Part] = []
    calls = []
    thoughts: list[n.Thinking] = []
    for part in turn.parts:
        if isinstance(part, n.Text):
            texts.append(part)
        elif isinstance(part, n.Call):
            calls.append(_call(part, name_of(part.id), quirks))
        elif isinstance(part, n.Thinking):
            thoughts.append(part)
        elif isinstance(part, n.Refusal):
            message["refusal"] = part.text
        else:
            request.drop("media")
    if texts:
        message["content"] = _content(request, texts, quirks)
    elif not calls and "refusal" not in message:
        message["content"] = ""
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        _thoughts(request, thoughts, quirks, message)
    _name(request, turn, quirks, message)
    return message


def _thoughts(
    request: n.Request, thoughts: list[n.Thinking], quirks: Quirks, message: dict[str, Any]
) -> None:
    text = "".join(part.text for part in thoughts)
    if quirks.thoughts == "reasoning_details":
        message["reasoning_details"] = details(thoughts)
    elif quirks.thoughts == "none" or not text:
        if any(seals.proven(part) for part in thoughts):  # bare thoughts nobody asks for again
            request.drop("thinking")
    elif quirks.thoughts == "content":
        content = message["content"]
        said = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        message["content"] = [thought, *(part for part in said if part.get("text"))]
    else:
        message[quirks.thoughts] = text


def _call(part: n.Call, name: str, quirks: Quirks) -> dict[str, Any]:
    tool = ids.tool(part.name, ids.OPENAI_TOOL_LENGTH)
    if part.custom:
        return {
            "id": name,
            "type": "custom",
            "custom": {"name": tool, "input": part.arguments},
        }
    call: dict[str, Any] = {
        "id": name,
        "type": "function",
        "function": {"name": tool, "arguments": part.arguments},
    }
    if part.signature is not None and quirks.google:
        call["extra_content"] = {"google": {"thought_signature": part.signature}}
    return call


def _name(request: n.Request, turn: n.Turn, quirks: Quirks, message: dict[str, Any]) -> None:
    if turn.name is None:
        return
    if "name" in quirks.refuses:
        request.drop("name")
    else:
        message["name"] = turn.name


def _content(request: n.Request, parts: Any, quirks: Quirks) -> str | list[dict[str, Any]]:
    """A string for one plain text, and for several where lists are not taken everywhere; a list
    of parts for anything else."""
    plain = all(part.__class__ is n.Text for part in parts)
    marked = quirks.cache_control and any(part.cache is not None for part in parts)
    if plain and not marked and (len(parts) < 2 or not quirks.lists):
        return "\n\n".join(part.text for part in parts)
    out: list[dict[str, Any]] = []
    for part in parts:
        if part.__class__ is n.Text:
            native: dict[str, Any] | None = {"type": "text", "text": part.text}
        elif part.__class__ is n.Media:
            native = _media(part, quirks)
            if native is None:
                request.drop("media")
        elif part.__class__ is n.Refusal:
            native = {"type": "refusal", "refusal": part.text}
        else:
            native = None
        if native is None:
            continue
        if part.cache is not None and quirks.cache_control:
            native["cache_control"] = {"type": "ephemeral", "ttl": part.cache}
        out.append(native)
    return out


def _media(part: n.Media, quirks: Quirks) -> dict[str, Any] | None:
    """One image, sound or file; None where chat has no place for it."""
    if part.text is not None:
        text = f"{part.name}\n\n{part.text}" if part.name else part.text
        return {"type": "text", "text": text}
    if part.kind == "image":
        url = part.url
        if part.data is not None:
            url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
        if url is None:
            return None
        inner: dict[str, Any] = {"url": url}
        if part.detail is not None:
            inner["detail"] = part.detail
        return {"type": "image_url", "image_url": inner}
    if part.kind == "audio":
        if part.data is None:
            return None
        form = (part.media_type or "audio/wav").partition("/")[2]
        form = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}.get(form, form)
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}}
    return _file(part, quirks)


def _file(part: n.Media, quirks: Quirks) -> dict[str, Any] | None:
    """OpenAI takes files as data; OpenRouter and Mistral also by URL."""
    if not quirks.files:
        return None
    if quirks.name == "mistral":
        url = part.url or _data(part)
        return None if url is None else {"type": "document_url", "document_url": url}
    data = part.url if quirks.name == "openrouter" and part.url else _data(part)
    if data is None:
        return None
    inner: dict[str, Any] = {"filename": part.name or "file.pdf", "file_data": data}
    return {"type": "file", "file": inner}


def _data(part: n.Media) -> str | None:
    if part.data is None:
        return None
    return f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
