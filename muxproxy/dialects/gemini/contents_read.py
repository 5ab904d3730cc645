"""The contents of a Gemini request as neutral turns."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini.words import STAND_IN, camel, unseal
from muxproxy.dialects.reading import listed, safe, text_of, wrong

_encode = msgspec.json.encode
_ALONE = frozenset({"result", "output", "content"})


def texts(system: object) -> list[n.Text]:
    """systemInstruction: a content, its parts, or a string."""
    if isinstance(system, str):
        return [n.Text(text=system)] if system else []
    parts = system.get("parts") if isinstance(system, dict) else system
    if isinstance(parts, dict):
        parts = [parts]
    if isinstance(system, dict) and parts is None and isinstance(system.get("text"), str):
        parts = [system]
    if not isinstance(parts, list):
        raise wrong("systemInstruction", "expected an object with parts")
    found = [
        part if isinstance(part, str) else text_of(part.get("text"))
        for part in parts
        if isinstance(part, str | dict)
    ]
    return [n.Text(text=one) for one in found if one]


def conversation(request: n.Request, contents: list[Any]) -> None:
    """Fills request.turns. Results are matched with the calls before them by id, else by name
    and order: Gemini's calls mostly have no id."""
    waiting: list[n.Call] = []
    for at, given in enumerate(contents):
        content = {"parts": [{"text": given}]} if isinstance(given, str) else given
        if not isinstance(content, dict):
            raise wrong(f"contents[{at}]", "expected an object")
        role = content.get("role") or "user"
        if role not in ("user", "model", "function", "tool", "system"):
            raise wrong(f"contents[{at}].role", "give user or model")
        native = content.get("parts")
        native = [native] if isinstance(native, dict) else native
        if not isinstance(native, list):
            raise wrong(f"contents[{at}].parts", "expected an array")
        parts: list[n.Part] = []
        for index, one in enumerate(native):
            if not isinstance(one, dict):
                raise wrong(f"contents[{at}].parts[{index}]", "expected an object")
            part = _part(request, camel(one), f"{at}.{index}", waiting)
            if part is not None:
                parts.append(part)
        kind: Any = "assistant" if role == "model" else "system" if role == "system" else "user"
        if kind == "system" and not request.turns:
            request.system += [p for p in parts if isinstance(p, n.Text)]
        elif parts:
            request.turns.append(n.Turn(role=kind, parts=parts))


def _part(
    request: n.Request, given: dict[str, Any], place: str, waiting: list[n.Call]
) -> n.Part | None:
    signature = text_of(given.get("thoughtSignature")) or None
    if signature == STAND_IN:
        signature = None
    if isinstance(text := given.get("text"), str):
        if given.get("thought") is True:
            thinking = n.Thinking(text=text)
            if signature is not None:
                unseal(thinking, signature)
            return thinking
        return n.Text(text=text, signature=signature) if text or signature else None
    if isinstance(call := given.get("functionCall"), dict):
        return _call(camel(call), place, signature, waiting)
    if isinstance(answer := given.get("functionResponse"), dict):
        return _result(camel(answer), place, waiting)
    if isinstance(blob := given.get("inlineData"), dict):
        blob = camel(blob)
        media_type = text_of(blob.get("mimeType")) or None
        return n.Media(
            kind=kind_of(media_type),
            media_type=media_type,
            data=_plain(text_of(blob.get("data"))),
            name=text_of(blob.get("displayName")) or None,
        )
    if isinstance(file := given.get("fileData"), dict):
        file = camel(file)
        media_type = text_of(file.get("mimeType")) or None
        uri = text_of(file.get("fileUri"))
        kept = "generativelanguage.googleapis.com/" in uri or uri.startswith("gs://")
        return n.Media(
            kind=kind_of(media_type),
            media_type=media_type,
            url=None if kept else uri,
            file_id=uri if kept else None,
        )
    request.dropped += [f"contents.parts.{safe(x)}" for x in given if x != "thoughtSignature"]
    return None


def _call(call: dict[str, Any], place: str, signature: str | None, waiting: list[n.Call]) -> n.Call:
    args = call.get("args")
    made = n.Call(
        id=text_of(call.get("id")) or ids.made_up(place, 0, 0),
        name=text_of(call.get("name")),
        arguments=_encode(args if isinstance(args, dict) else {}).decode(),
        signature=signature,
    )
    waiting.append(made)
    return made


def _result(answer: dict[str, Any], place: str, waiting: list[n.Call]) -> n.Result:
    name, given = text_of(answer.get("name")), text_of(answer.get("id"))
    found = next((c for c in waiting if given and c.id == given), None)
    if found is None:
        found = next((c for c in waiting if c.name == name), None)
    if found is not None:
        waiting.remove(found)
    response = answer.get("response")
    error = False
    if isinstance(response, dict) and len(response) == 1:
        ((key, inner),) = response.items()
        if key == "error":
            response, error = inner, True
        elif key in _ALONE:
            response = inner
    text = response if isinstance(response, str) else _encode(response).decode()
    parts: list[n.Text | n.Media] = [n.Text(text=text)]
    for part in listed(answer.get("parts")):
        blob = camel(part).get("inlineData") if isinstance(part, dict) else None
        if isinstance(blob, dict):
            blob = camel(blob)
            kind = text_of(blob.get("mimeType")) or None
            data = _plain(text_of(blob.get("data")))
            parts.append(n.Media(kind=kind_of(kind), media_type=kind, data=data))
    return n.Result(
        id=found.id if found is not None else given or ids.made_up(place, 0, 0),
        name=name or (found.name if found is not None else None),
        parts=parts,
        error=error,
    )


def kind_of(media_type: str | None) -> Any:
    """image, audio or file."""
    kind = (media_type or "").partition("/")[0]
    return kind if kind in ("image", "audio") else "file"


def _plain(data: str) -> str:
    """google-genai writes base64 in the URL-safe alphabet; the others read only the plain one."""
    if "-" in data or "_" in data:
        return data.replace("-", "+").replace("_", "/")
    return data
