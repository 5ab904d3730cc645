"""The few fields of each dialect's request that muxproxy looks at, as msgspec shapes.

Everything else is skipped by the decoder; base64 media stays Raw, a view into the body, so a
10 MB picture is scanned once and copied never. A field that is only looked at has type Any: a
wrong type is for the provider to refuse, not for us. Where a shape must be exact (messages,
parts), `decode` falls back to reading piece by piece and leaves out what does not fit.

Of duplicate members the last one counts, here as in `codec` and in the providers' parsers.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

ABSENT = Raw()  # a Raw member that was not sent

T = TypeVar("T", bound="Shape")


class Part(Struct, gc=False):
    """One part of an OpenAI, Responses or Anthropic content list; also a tool's output."""

    type: Any = None
    text: Any = None
    content: str | list[Part] | Part | None = None  # tool_result, search_result
    image_url: Raw = ABSENT
    source: Raw = ABSENT
    file: Raw = ABSENT
    file_data: Raw = ABSENT
    input_audio: Raw = ABSENT
    video_url: Raw = ABSENT
    document_url: Raw = ABSENT
    signature: Raw = ABSENT  # of a thinking block


class Source(Struct, gc=False):
    """Anthropic's `source` of a document: text is text, everything else is media."""

    type: Any = None


class Message(Struct, gc=False):
    """A chat or messages entry, or an item of the Responses input."""

    role: Any = None
    content: str | list[Part] | None = None
    output: str | list[Part] | Part | None = None  # Responses: what a tool gave back
    result: Raw = ABSENT  # Responses: a generated picture
    encrypted_content: Raw = ABSENT  # Responses: reasoning kept by the caller


class Blob(Struct, gc=False):
    mimeType: Any = None
    mime_type: Any = None
    data: Raw = ABSENT


class FunctionResponse(Struct, gc=False):
    parts: list[GeminiPart] | GeminiPart | None = None


class GeminiPart(Struct, gc=False):
    """Both spellings: the API takes camelCase and snake_case, clients send either."""

    text: Any = None
    thought: Any = None
    thoughtSignature: Raw = ABSENT
    thought_signature: Raw = ABSENT
    inlineData: Blob | None = None
    inline_data: Blob | None = None
    fileData: Blob | None = None
    file_data: Blob | None = None
    functionResponse: FunctionResponse | None = None
    function_response: FunctionResponse | None = None


class GeminiContent(Struct, gc=False):
    role: Any = None
    parts: list[GeminiPart] | GeminiPart | None = None


class GenerationConfig(Struct, gc=False):
    maxOutputTokens: Any = None
    max_output_tokens: Any = None
    candidateCount: Any = None
    candidate_count: Any = None
    responseMimeType: Any = None
    response_mime_type: Any = None
    responseSchema: Raw = ABSENT
    response_schema: Raw = ABSENT
    responseJsonSchema: Raw = ABSENT
    response_json_schema: Raw = ABSENT


class Shape(Struct, gc=False):
    """What every request may have. `max_budget` and `cascade_config` are muxproxy's own."""

    model: Any = msgspec.UNSET
    stream: Any = None
    tools: Raw = ABSENT
    service_tier: Any = None
    serviceTier: Any = None
    max_budget: Any = None
    cascade_config: Any = None


class _OpenAI(Shape):
    functions: Raw = ABSENT
    response_format: Raw = ABSENT
    stream_options: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    user: Any = None
    safety_identifier: Any = None


class Chat(_OpenAI):
    messages: list[Message] = []


class LooseChat(_OpenAI):
    messages: Raw = ABSENT


class Completions(_OpenAI):
    prompt: Any = None
    best_of: Any = None


class Embeddings(_OpenAI):
    input: Any = None


class _Responses(Shape):
    instructions: Raw = ABSENT
    text: Raw = ABSENT
    stream_options: Any = None
    max_output_tokens: Any = None
    user: Any = None
    safety_identifier: Any = None


class Responses(_Responses):
    input: str | list[Message] | None = None


class LooseResponses(_Responses):
    input: Raw = ABSENT


class _Messages(Shape):
    system: Raw = ABSENT
    metadata: Any = None
    max_tokens: Any = None
    output_config: Raw = ABSENT
    output_format: Raw = ABSENT


class Messages(_Messages):
    messages: list[Message] = []


class LooseMessages(_Messages):
    messages: Raw = ABSENT


class _Generate(Shape):
    systemInstruction: Raw = ABSENT
    system_instruction: Raw = ABSENT
    generateContentRequest: Raw = ABSENT  # :countTokens
    generate_content_request: Raw = ABSENT


class Generate(_Generate):
    contents: list[GeminiContent] | GeminiContent | None = None
    content: GeminiContent | None = None  # :embedContent
    requests: list[Generate] = []  # :batchEmbedContents
    generationConfig: GenerationConfig | None = None
    generation_config: GenerationConfig | None = None


class LooseGenerate(_Generate):
    contents: Raw = ABSENT
    content: Raw = ABSENT
    requests: Raw = ABSENT
    generationConfig: Raw = ABSENT
    generation_config: Raw = ABSENT


class Format(Struct, gc=False):
    """`response_format`, Responses' `text.format`, Anthropic's `output_config.format`."""

    type: Any = None
    format: Any = None


class Reader(Generic[T]):
    """Decodes one endpoint's bodies: strictly, and loosely where the strict way fails.

    `loose` has Raw members where `strict` has exact ones; `parts` says what each of them is made
    of, and whether it is a list of these.
    """

    __slots__ = ("_loose", "_parts", "_strict")

    def __init__(
        self,
        strict: type[T],
        loose: type[Shape] | None = None,
        parts: dict[str, tuple[type[Struct], bool]] | None = None,
    ) -> None:
        self._strict = msgspec.json.Decoder(strict)
        self._loose = msgspec.json.Decoder(loose) if loose is not None else None
        self._parts = {
            name: (msgspec.json.Decoder(kind), many) for name, (kind, many) in (parts or {}).items()
        }

    def decode(self, body: bytes | memoryview | Raw) -> T:
        """Raises msgspec.DecodeError (ValidationError for what is no object), UnicodeDecodeError
        and RecursionError."""
        try:
            return self._strict.decode(body)
        except msgspec.ValidationError:
            if self._loose is None:
                raise
        found: Any = self._loose.decode(body)
        for name, (decoder, many) in self._parts.items():
            raw = getattr(found, name)
            setattr(found, name, _fit_all(decoder, raw) if many else _fit(decoder, raw))
        fitted: T = found
        return fitted


def _fit_all(decoder: msgspec.json.Decoder[Any], raw: Raw) -> list[Any]:
    """The elements of a list; what does not fit becomes an empty element, so that counts stay
    right. A single object counts as a list of one."""
    first = bytes(memoryview(raw)[:1])
    elements = _RAWS.decode(raw) if first == b"[" else [raw] if first == b"{" else []
    return [_fit(decoder, element) or decoder.decode(b"{}") for element in elements]


def _fit(decoder: msgspec.json.Decoder[Any], raw: Raw) -> Any:
    try:
        return decoder.decode(raw) if len(raw) else None
    except msgspec.ValidationError:
        return None


def decode_system(raw: Raw, kind: type[Part] | type[GeminiContent]) -> object:
    """A system prompt: a string, one object, or a list of them. Raises msgspec.DecodeError."""
    return _SYSTEMS[kind].decode(raw)


_RAWS = msgspec.json.Decoder(list[Raw])
_SYSTEMS: dict[type[Struct], msgspec.json.Decoder[Any]] = {
    Part: msgspec.json.Decoder(str | list[Part] | Part),
    GeminiContent: msgspec.json.Decoder(str | list[GeminiContent] | GeminiContent),
}

CHAT: Reader[Chat] = Reader(Chat, LooseChat, {"messages": (Message, True)})
COMPLETIONS: Reader[Completions] = Reader(Completions)
EMBEDDINGS: Reader[Embeddings] = Reader(Embeddings)
RESPONSES: Reader[Responses] = Reader(Responses, LooseResponses, {"input": (Message, True)})
MESSAGES: Reader[Messages] = Reader(Messages, LooseMessages, {"messages": (Message, True)})
GENERATE: Reader[Generate] = Reader(
    Generate,
    LooseGenerate,
    {
        "contents": (GeminiContent, True),
        "content": (GeminiContent, False),
        "requests": (Generate, True),
        "generationConfig": (GenerationConfig, False),
        "generation_config": (GenerationConfig, False),
    },
)
