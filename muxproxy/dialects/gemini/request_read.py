"""A Gemini generateContent request as a neutral Request.

ai.google.dev/api/generate-content; both camelCase and snake_case names are read.
"""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini.contents_read import conversation, texts
from muxproxy.dialects.gemini.schema import json_schema
from muxproxy.dialects.gemini.words import camel
from muxproxy.dialects.reading import document, safe, text_of, wrong

_NAMED = {
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "n": "generationConfig.candidateCount",
    "seed": "generationConfig.seed",
    "stop": "generationConfig.stopSequences",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "format": "generationConfig.responseMimeType",
    "modalities": "generationConfig.responseModalities",
    "reasoning": "generationConfig.thinkingConfig",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tier": "serviceTier",
    "thinking": "contents.parts.thought",
    "media": "contents.parts.inlineData",
    "metadata": "labels",
}
# Read here, or changing nothing in the answer.
_KNOWN = frozenset(
    {
        "contents",
        "generationConfig",
        "labels",
        "model",
        "safetySettings",
        "serviceTier",
        "store",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
_MODES: dict[str, Any] = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
_LEVELS: dict[str, n.Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}


def read(body: bytes, model: str | None = None, stream: bool = False) -> n.Request:
    """Raises MuxError invalid_json or invalid_request."""
    given = camel(document(body))
    request = n.Request(model=model, stream=stream, stream_usage=True, named=dict(_NAMED))
    if (system := given.get("systemInstruction")) is not None:
        request.system = texts(system)
    contents = given.get("contents")
    if isinstance(contents, dict | str):
        contents = [contents]
    if not isinstance(contents, list):
        raise wrong("contents", "expected an array of contents")
    conversation(request, contents)
    _tools(request, given.get("tools"))
    _choice(request, given.get("toolConfig"))
    config = given.get("generationConfig")
    if config is not None:
        if not isinstance(config, dict):
            raise wrong("generationConfig", "expected an object")
        _config(request, camel(config))
    if isinstance(labels := given.get("labels"), dict):
        request.metadata = {str(k): str(v) for k, v in labels.items()}
    request.tier = text_of(given.get("serviceTier")).lower() or None
    request.dropped += [safe(name) for name in given if name not in _KNOWN]
    return request


def _tools(request: n.Request, tools: object) -> None:
    for tool in tools if isinstance(tools, list) else [tools] if isinstance(tools, dict) else ():
        if not isinstance(tool, dict):
            raise wrong("tools", "expected an array of objects")
        for name, value in camel(tool).items():
            if name != "functionDeclarations":
                request.dropped.append(f"tools.{safe(name)}")
                continue
            for declared in value if isinstance(value, list) else ():
                request.tools.append(_tool(declared))


def _tool(declared: object) -> n.Tool:
    if not isinstance(declared, dict) or not isinstance(declared.get("name"), str):
        raise wrong("tools.functionDeclarations", "each needs a name")
    given = camel(declared)
    schema = given.get("parametersJsonSchema")
    if schema is None and isinstance(native := given.get("parameters"), dict):
        schema = json_schema(native)
    return n.Tool(
        name=given["name"],
        description=text_of(given.get("description")) or None,
        schema=schema if isinstance(schema, dict) else None,
    )


def _choice(request: n.Request, config: object) -> None:
    if not isinstance(config, dict):
        return
    given = camel(config)
    calling = given.get("functionCallingConfig")
    request.dropped += [f"toolConfig.{safe(x)}" for x in given if x != "functionCallingConfig"]
    if not isinstance(calling, dict):
        return
    calling = camel(calling)
    word = text_of(calling.get("mode")).upper()
    if not word or word == "MODE_UNSPECIFIED":
        return
    if word not in _MODES:
        raise wrong("toolConfig.functionCallingConfig.mode", "give AUTO, ANY, NONE or VALIDATED")
    names = calling.get("allowedFunctionNames")
    names = [x for x in names if isinstance(x, str)] if isinstance(names, list) else []
    if word == "ANY" and len(names) == 1:
        request.tool_choice = n.Choice(mode="tool", tool=names[0])
    else:
        request.tool_choice = n.Choice(mode=_MODES[word], allowed=names or None)


def _config(request: n.Request, given: dict[str, Any]) -> None:
    """generationConfig."""
    numbers = _Numbers(given)
    request.max_tokens = numbers.whole("maxOutputTokens")
    request.temperature = numbers.real("temperature")
    request.top_p = numbers.real("topP")
    request.top_k = numbers.whole("topK")
    request.n = numbers.whole("candidateCount")
    request.seed = numbers.whole("seed")
    request.presence_penalty = numbers.real("presencePenalty")
    request.frequency_penalty = numbers.real("frequencyPenalty")
    request.top_logprobs = numbers.whole("logprobs")
    logprobs = given.get("responseLogprobs")
    request.logprobs = logprobs if isinstance(logprobs, bool) else None
    stop = given.get("stopSequences")
    if stop is not None:
        if not isinstance(stop, list) or not all(isinstance(x, str) for x in stop):
            raise wrong("generationConfig.stopSequences", "expected an array of strings")
        request.stop = stop
    request.format = _format(given)
    modalities = given.get("responseModalities")
    if isinstance(modalities, list):
        request.modalities = [str(x).lower() for x in modalities]
        if request.modalities == ["text"]:
            request.modalities = None
    thinking = given.get("thinkingConfig")
    if isinstance(thinking, dict):
        request.reasoning = _reasoning(camel(thinking))
    request.dropped += [
        f"generationConfig.{safe(name)}" for name in given if name not in _CONFIG_KNOWN
    ]


_CONFIG_KNOWN = frozenset(
    {
        "candidateCount",
        "frequencyPenalty",
        "logprobs",
        "maxOutputTokens",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    }
)


class _Numbers:
    """Typed look-ups in generationConfig."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def real(self, name: str) -> float | None:
        """A number, or None where the caller said nothing."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(f"generationConfig.{name}", "expected a number")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number; topK comes as 40.0 from some clients."""
        value = self.real(name)
        if value is not None and value != int(value):
            raise wrong(f"generationConfig.{name}", "expected a whole number")
        return None if value is None else int(value)


def _format(given: dict[str, Any]) -> n.Format | None:
    schema = given.get("responseJsonSchema")
    if schema is None and isinstance(native := given.get("responseSchema"), dict):
        schema = json_schema(native)
    if isinstance(schema, dict):
        return n.Format(kind="schema", schema=schema)
    if text_of(given.get("responseMimeType")) == "application/json":
        return n.Format(kind="json")
    return None


def _reasoning(given: dict[str, Any]) -> n.Reasoning:
    budget = given.get("thinkingBudget")
    show = given.get("includeThoughts")
    return n.Reasoning(
        effort=_LEVELS.get(text_of(given.get("thinkingLevel")).upper()),
        budget=budget if budget.__class__ is int else None,
        show=show if isinstance(show, bool) else None,
    )
