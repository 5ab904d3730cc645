"""Reads a request: which dialect and endpoint its path means, and what it asks for."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

# Endings of paths; whatever stands before (/v1, /openai/v1, /api/v1 ...) does not matter.
_ENDINGS = (
    ("/chat/completions", "openai", "chat"),
    ("/messages/count_tokens", "anthropic", "count_tokens"),
    ("/messages", "anthropic", "messages"),
    ("/responses/input_tokens", "responses", "input_tokens"),
    ("/responses", "responses", "responses"),
    ("/completions", "openai", "completions"),
    ("/embeddings", "openai", "embeddings"),
    ("/v2/chat", "cohere", "chat"),
    ("/api/chat", "ollama", "chat"),
)
_GEMINI = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count_tokens",
    "embedContent": "embed",
    "batchEmbedContents": "embed_batch",
}
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens")
IMAGE_TOKENS = 85


@dataclass(slots=True)
class Tool:
    name: str
    schema: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """One request as a provider reads it. `input_tokens` follows the rule in docs/sim.md."""

    dialect: str
    endpoint: str
    model: str
    stream: bool = False
    sse: bool = True
    body: dict[str, Any] = field(default_factory=dict)
    last_user: str = ""
    input_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    tools: list[Tool] = field(default_factory=list)
    must_call: bool = False


class BadBody(Exception):
    """The body is no JSON object."""


def classify(method: str, target: str) -> tuple[str, str, str]:
    """-> (dialect, endpoint, model in the path); ("echo", "", "") for a path of no provider."""
    path = unquote(target.partition("?")[0])
    if method == "POST":
        stem, colon, verb = path.rpartition(":")
        if colon and verb in _GEMINI:
            return "gemini", _GEMINI[verb], stem.rpartition("/models/")[2]
        for ending, dialect, endpoint in _ENDINGS:
            if path.endswith(ending):
                return dialect, endpoint, ""
    elif method in ("GET", "HEAD"):
        if path.endswith("/models"):
            return "models", "list", ""
        _, found, model = path.rpartition("/models/")
        if found and model and ":" not in model:
            return "models", "get", model
        if path == "/":
            return "root", "", ""
    return "echo", "", ""


def _texts(value: Any) -> list[str]:
    """Every text of a message's content, whatever the dialect calls it."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for key in ("text", "content", "parts", "thinking", "output", "input", "arguments"):
        if key in value:
            found += _texts(value[key])
    for call in value.get("tool_calls") or ():
        if isinstance(call, dict):
            found += _texts(call.get("function"))
    return found


def _tokens(texts: list[str]) -> int:
    return sum((len(text) + 3) // 4 for text in texts)


def _images(value: Any) -> int:
    if isinstance(value, list):
        return sum(_images(item) for item in value)
    if not isinstance(value, dict):
        return 0
    kind = value.get("type")
    if kind in ("image_url", "image", "input_image") or "inlineData" in value:
        return 1
    return sum(_images(value[key]) for key in ("content", "parts") if key in value)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    for key in ("messages", "contents", "input"):
        value = body.get(key)
        if isinstance(value, str):
            return [{"role": "user", "content": value}]
        if isinstance(value, dict):
            return [value]
        if isinstance(value, list):
            return [
                item if isinstance(item, dict) else {"role": "user", "content": item}
                for item in value
            ]
    prompt = body.get("prompt")
    return [{"role": "user", "content": prompt}] if prompt is not None else []


def _tools(body: dict[str, Any]) -> list[Tool]:
    found: list[Tool] = []
    for item in body.get("tools") or ():
        if not isinstance(item, dict):
            continue
        declared = item.get("functionDeclarations") or item.get("function_declarations")
        for one in declared if isinstance(declared, list) else [item.get("function", item)]:
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                schema = (
                    one.get("parameters")
                    or one.get("parametersJsonSchema")
                    or one.get("parameters_json_schema")  # as google-genai spells it
                    or one.get("input_schema")
                )
                found.append(Tool(one["name"], schema if isinstance(schema, dict) else {}))
    return found


def _must_call(body: dict[str, Any]) -> bool:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return choice.get("type") in ("any", "tool", "function")
    if choice in ("required", "any"):
        return True
    config = body.get("toolConfig") or body.get("tool_config") or {}
    calling = config.get("functionCallingConfig") or config.get("function_calling_config") or {}
    return calling.get("mode") == "ANY"


def _limit(body: dict[str, Any]) -> int | None:
    config = body.get("generationConfig") or body.get("generation_config") or {}
    options = body.get("options") or {}
    places = [(body, key) for key in _LIMITS]
    places += [(config, "maxOutputTokens"), (config, "max_output_tokens"), (options, "num_predict")]
    for place, key in places:
        value = place.get(key)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _choices(body: dict[str, Any]) -> int:
    config = body.get("generationConfig") or {}
    n = body.get("n") or config.get("candidateCount") or 1
    return n if isinstance(n, int) and 1 <= n <= 128 else 1


def read_ask(method: str, target: str, raw: bytes) -> Ask:
    """The request as an Ask. Raises BadBody where a known endpoint got no JSON object."""
    dialect, endpoint, model = classify(method, target)
    if dialect in ("echo", "models", "root"):
        return Ask(dialect, endpoint, model)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(body, dict):
        raise BadBody("The body of the request is no JSON object.")
    ask = Ask(dialect, endpoint, model or str(body.get("model") or ""), body=body)
    query = parse_qs(target.partition("?")[2])
    if dialect == "gemini":
        ask.stream = ":streamGenerateContent" in target or "%3AstreamGenerateContent" in target
        ask.sse = query.get("alt") == ["sse"]
    else:
        ask.stream = bool(body.get("stream", dialect == "ollama"))
    messages = _messages(body)
    users = [message for message in messages if message.get("role", "user") == "user"]
    ask.last_user = "".join(_texts(users[-1])) if users else ""
    system = _texts(body.get("system")) + _texts(body.get("instructions"))
    system += _texts(body.get("systemInstruction") or body.get("system_instruction"))
    ask.tools = _tools(body)
    ask.input_tokens = (
        _tokens(system)
        + sum(4 + _tokens(_texts(m)) + IMAGE_TOKENS * _images(m) for m in messages)
        + (_tokens([orjson.dumps(body["tools"]).decode()]) if ask.tools else 0)
    )
    ask.max_tokens = _limit(body)
    ask.n = _choices(body)
    ask.must_call = bool(ask.tools) and _must_call(body)
    return ask
