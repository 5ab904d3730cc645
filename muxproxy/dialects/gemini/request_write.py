"""A neutral Request as a Gemini generateContent body."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from muxproxy.dialects import effort as efforts
from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini.words import MAKER, STAND_IN

_decode = msgspec.json.decode
_THREE = re.compile(r"gemini-(?:[3-9]|\d\d)")
_THINKS = re.compile(r"gemini-2\.5|gemini-(?:flash|pro)-latest|robotics")
# 2.5 Pro cannot be told not to think (ai.google.dev/gemini-api/docs/thinking).
_ALWAYS_THINKS = re.compile(r"gemini-2\.5-pro")
_LEAST_BUDGET = 128
_LEVELS = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE", "tool": "ANY"}
_TIERS = frozenset({"flex", "priority", "standard"})


def write(request: n.Request) -> dict[str, Any]:
    """The body; the model goes into the path."""
    out: dict[str, Any] = {"contents": _contents(request)}
    if request.system:
        out["systemInstruction"] = {"parts": [{"text": part.text} for part in request.system]}
    if request.tools:
        out["tools"] = [{"functionDeclarations": [_declared(request, t) for t in request.tools]}]
    if request.tool_choice is not None and request.tools:
        out["toolConfig"] = {"functionCallingConfig": _choice(request.tool_choice)}
    config = _config(request)
    if config:
        out["generationConfig"] = config
    if request.tier in _TIERS:
        out["serviceTier"] = request.tier
    if request.parallel is False and request.tools:
        request.drop("parallel")
    if request.logit_bias:
        request.drop("logit_bias")
    if request.verbosity is not None:
        request.drop("verbosity")
    return out


def _declared(request: n.Request, tool: n.Tool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.schema is not None:
        out["parametersJsonSchema"] = tool.schema
    if tool.strict:
        request.drop("strict")
    return out


def _choice(choice: n.Choice) -> dict[str, Any]:
    out: dict[str, Any] = {"mode": _MODES[choice.mode]}
    names = [choice.tool] if choice.tool is not None else choice.allowed
    if names:
        if choice.mode == "auto":
            out["mode"] = "VALIDATED"  # AUTO takes no list of names
        out["allowedFunctionNames"] = names
    return out


def _config(request: n.Request) -> dict[str, Any]:
    given = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "candidateCount": request.n if request.n != 1 else None,
        "seed": request.seed,
        "stopSequences": request.stop or None,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs,
    }
    out: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if request.format is not None:
        out["responseMimeType"] = "application/json"
        if request.format.schema is not None:
            out["responseJsonSchema"] = request.format.schema
    if request.modalities:
        out["responseModalities"] = [one.upper() for one in request.modalities]
    thinking = _thinking(request)
    if thinking:
        out["thinkingConfig"] = thinking
    return out


def _thinking(request: n.Request) -> dict[str, Any]:
    reasoning, model = request.reasoning, request.model or ""
    if reasoning is None:
        return {}
    out: dict[str, Any] = {}
    if reasoning.show:
        out["includeThoughts"] = True
    if _THREE.search(model):
        wanted = efforts.effort(reasoning)
        if wanted is not None:
            out["thinkingLevel"] = _LEVELS[wanted]
    elif _THINKS.search(model):
        budget = efforts.budget(reasoning)
        if budget is not None:
            if _ALWAYS_THINKS.search(model) and 0 <= budget < _LEAST_BUDGET:
                budget = _LEAST_BUDGET
            out["thinkingBudget"] = budget
    else:
        if reasoning.effort != "none" and reasoning.budget != 0:
            request.drop("reasoning")
        return {}
    return out


# -- contents ------------------------------------------------------------------------------------


def _contents(request: n.Request) -> list[dict[str, Any]]:
    """Turns of one role after another become one content."""
    names = {
        part.id: part.name
        for turn in request.turns
        for part in turn.parts
        if isinstance(part, n.Call)
    }
    signs = _THREE.search(request.model or "") is not None
    out: list[dict[str, Any]] = []
    for turn in request.turns:
        role = "model" if turn.role == "assistant" else "user"
        parts: list[dict[str, Any]] = []
        for part in turn.parts:
            parts += _part(request, part, names, signs)
        if not parts:
            continue
        if out and out[-1]["role"] == role:
            out[-1]["parts"] += parts
        else:
            out.append({"role": role, "parts": parts})
    return out


def _part(
    request: n.Request, part: n.Part, names: dict[str, str], signs: bool
) -> list[dict[str, Any]]:
    if isinstance(part, n.Text):
        return [_signed({"text": part.text}, part.signature)] if part.text else []
    if isinstance(part, n.Media):
        return _media(request, part)
    if isinstance(part, n.Call):
        call = {"functionCall": {"id": part.id, "name": part.name, "args": arguments(part)}}
        return [_signed(call, part.signature or (STAND_IN if signs else None))]
    if isinstance(part, n.Result):
        return _result(request, part, names)
    if isinstance(part, n.Refusal):
        return [{"text": part.text}]
    if part.maker != MAKER:
        request.drop("thinking")
        return []
    return [_signed({"text": part.text, "thought": True}, part.signature)]


def _signed(part: dict[str, Any], signature: str | None) -> dict[str, Any]:
    if signature is not None:
        part["thoughtSignature"] = signature
    return part


def arguments(call: n.Call) -> dict[str, Any]:
    """A call's arguments as the object that Gemini wants."""
    if call.custom:
        return {"input": call.arguments}
    try:
        value = _decode(call.arguments or "{}")
    except msgspec.DecodeError:
        return {"input": call.arguments}
    return value if isinstance(value, dict) else {"input": value}


def _result(request: n.Request, result: n.Result, names: dict[str, str]) -> list[dict[str, Any]]:
    text = "\n".join(part.text for part in result.parts if isinstance(part, n.Text))
    response: dict[str, Any] = {"error" if result.error else "result": text}
    if not result.error and text.lstrip().startswith("{"):
        try:
            value = _decode(text)
        except msgspec.DecodeError:
            value = None
        if isinstance(value, dict):
            response = value
    name = result.name or names.get(result.id) or "unknown"
    out = [{"functionResponse": {"id": result.id, "name": name, "response": response}}]
    for part in result.parts:
        if isinstance(part, n.Media):
            out += _media(request, part)
    return out


def _media(request: n.Request, media: n.Media) -> list[dict[str, Any]]:
    if media.text is not None:
        return [{"text": media.text}]
    kind = media.media_type
    if media.data is not None:
        default = {"image": "image/png", "audio": "audio/wav"}.get(media.kind, "application/pdf")
        return [{"inlineData": {"mimeType": kind or default, "data": media.data}}]
    if media.url is not None:
        data: dict[str, Any] = {"fileUri": media.url}
        if kind := kind or _by_ending(media.url):
            data["mimeType"] = kind
        return [{"fileData": data}]
    if media.file_id is not None and "googleapis.com/" in media.file_id:
        return [{"fileData": {"fileUri": media.file_id, **({"mimeType": kind} if kind else {})}}]
    request.drop("media")
    return []


_ENDINGS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}


def _by_ending(url: str) -> str | None:
    path = url.partition("?")[0].partition("#")[0]
    return _ENDINGS.get(path.rpartition(".")[2].lower())
