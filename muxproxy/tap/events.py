"""What the tap decodes of an event or a body: few fields, the rest skipped by the decoder.

Two small shapes carry nearly all events of a stream (`Chunk`, `Delta`); `Anything` names every
field that any dialect uses for usage, ends, errors and text. Fields whose type differs between
dialects are kept raw or untyped, so that no odd value makes an event unreadable.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

# What a decoder raises for bytes that cannot be read: bad JSON or types, bad UTF-8, deep nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Function(msgspec.Struct, gc=False):
    name: Any = None
    arguments: Any = None


class ToolCall(msgspec.Struct, gc=False):
    function: Function | None = None


class ChatDelta(msgspec.Struct, gc=False):
    """OpenAI chat's delta, with the compatibles' names for visible reasoning."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct, gc=False):
    delta: ChatDelta | None = None  # Azure's content-filter chunks have none
    finish_reason: Any = None
    text: Any = None  # legacy completions
    index: Any = 0


class Chunk(msgspec.Struct, gc=False):
    """The hot shape of OpenAI chat and its compatibles."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


class Piece(msgspec.Struct, gc=False):
    """Anthropic's delta."""

    text: Any = None
    partial_json: Any = None
    thinking: Any = None


class Delta(msgspec.Struct, gc=False):
    """The hot shape of Anthropic messages (delta an object) and OpenAI responses (a string)."""

    type: Any = None
    delta: Piece | str | None = None


class Part(msgspec.Struct, gc=False):
    text: Any = None
    thought: Any = None
    functionCall: Any = None


class Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False):
    content: Content | None = None
    finishReason: Any = None
    finish_reason: Any = None


class GeminiChunk(msgspec.Struct, gc=False):
    """The hot shape of Gemini."""

    candidates: list[Candidate] | None = None
    usageMetadata: Raw = Raw()
    error: Any = None


class Anything(msgspec.Struct, gc=False):
    """Every top-level field that matters in some dialect's event or body."""

    # all
    type: Any = None
    model: Any = None
    error: Any = None
    usage: Raw = Raw()
    service_tier: Any = None
    delta: Any = None
    # OpenAI chat, completions, embeddings
    choices: list[Choice] | None = None
    x_groq: Raw = Raw()
    code: Any = None
    # Anthropic; Bedrock invoke
    message: Raw = Raw()
    content_block: Raw = Raw()
    stop_reason: Any = None
    input_tokens: Any = None
    metrics: Raw = msgspec.field(name="amazon-bedrock-invocationMetrics", default=Raw())
    generation: Any = None
    prompt_token_count: Any = None
    generation_token_count: Any = None
    outputText: Any = None
    # OpenAI responses
    object: Any = None
    response: Raw = Raw()
    status: Any = None
    incomplete_details: Any = None
    item: Raw = Raw()
    # Gemini
    candidates: list[Candidate] | None = None
    usageMetadata: Raw = Raw()
    usage_metadata: Raw = Raw()
    modelVersion: Any = None
    promptFeedback: Any = None
    totalTokens: Any = None
    interaction: Raw = Raw()
    event_type: Any = None
    # Cohere
    meta: Raw = Raw()
    text: Any = None
    finish_reason: Any = None
    # Ollama
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    # Bedrock converse
    stopReason: Any = None
    start: Any = None
    messageStop: Any = None
    contentBlockDelta: Any = None
    metadata: Raw = Raw()


class Bare(msgspec.Struct, gc=False):
    """What is still read of an event whose other fields have types nobody foresaw."""

    usage: Raw = Raw()
    usageMetadata: Raw = Raw()
    error: Any = None
    model: Any = None


class Response(msgspec.Struct, gc=False):
    """The `response` object of an OpenAI responses event, and Gemini's `interaction`."""

    model: Any = None
    usage: Raw = Raw()
    status: Any = None
    incomplete_details: Any = None
    error: Any = None
    service_tier: Any = None
    meta: Raw = Raw()  # Cohere v1's stream-end


class Started(msgspec.Struct, gc=False):
    """The `message` object of Anthropic's message_start and Ollama's chat lines."""

    model: Any = None
    usage: Raw = Raw()
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None


class Named(msgspec.Struct, gc=False):
    """An output item or content block, as far as it names a tool."""

    type: Any = None
    name: Any = None
    text: Any = None


class Holder(msgspec.Struct, gc=False):
    usage: Raw = Raw()


CHUNK = msgspec.json.Decoder(Chunk)
DELTA = msgspec.json.Decoder(Delta)
GEMINI = msgspec.json.Decoder(GeminiChunk)
ANYTHING = msgspec.json.Decoder(Anything)
BARE = msgspec.json.Decoder(Bare)
RESPONSE = msgspec.json.Decoder(Response)
STARTED = msgspec.json.Decoder(Started)
NAMED = msgspec.json.Decoder(Named)
HOLDER = msgspec.json.Decoder(Holder)

# Members under which an answer keeps what a model wrote; everything else is not walked into.
_TEXTS = frozenset(
    {
        "text", "content", "reasoning_content", "reasoning", "thinking", "refusal", "partial_json",
        "tool_plan", "output_text", "generation", "outputText", "transcript", "value", "response",
    }
)  # fmt: skip
_CALLS = frozenset({"arguments", "args", "input"})
_HOLDERS = frozenset(
    {
        "message", "choices", "candidates", "parts", "output", "outputs", "summary", "function",
        "functionCall", "function_call", "toolUse", "tool_calls", "tool_call", "steps", "delta",
        "reasoningContent", "reasoningText", "results",
    }
)  # fmt: skip


def collect(value: object, texts: list[str]) -> int:
    """Appends to `texts` what a model wrote in `value`; the number of tool calls found in it."""
    if isinstance(value, str):
        texts.append(value)
        return 0
    if isinstance(value, list):
        return sum(collect(entry, texts) for entry in value)
    if not isinstance(value, dict):
        return 0
    calls = 0
    for key, inner in value.items():
        if not inner:
            continue
        if key in _CALLS:
            texts.append(inner if isinstance(inner, str) else compact(inner))
        elif key in _TEXTS or (key in _HOLDERS and not isinstance(inner, str)):
            calls += collect(inner, texts)
        elif key == "name" and isinstance(inner, str):
            calls += 1
            texts.append(inner)
    return calls


def piece(delta: object) -> object:
    """An object as the Piece that the hot shape makes of it; anything else as it is."""
    if not isinstance(delta, dict):
        return delta
    return Piece(delta.get("text"), delta.get("partial_json"), delta.get("thinking"))


def mend(payload: bytes) -> bytes:
    """`payload` with broken text replaced: some providers cut an emoji between two chunks."""
    return _SURROGATE.sub(rb"\\ufffd", payload.decode("utf-8", "replace").encode())


def compact(value: object) -> str:
    """`value` as compact JSON text."""
    return msgspec.json.encode(value).decode()
