"""The text of a conversation, newest first and never more than is wanted."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import DecodeError, Raw

from muxproxy import exchange as words
from muxproxy.exchange import Ask
from muxproxy.inspection import shapes
from muxproxy.inspection.shapes import GeminiContent, GeminiPart, Message, Part

# Characters that rules may look at: of the last user text, and of the whole conversation.
TEXT_LIMIT = 64 * 1024
ALL_TEXT_LIMIT = 256 * 1024

_AUTHORED = frozenset({"text", "input_text"})


def all_text(ask: Ask) -> str:
    """Everything written in the conversation: system, users, answers, tool results, in order,
    one piece per line. The newest ALL_TEXT_LIMIT characters. Empty without `ask.parts`."""
    body = ask.parts
    if not isinstance(body, bytes):
        return ""
    pieces: list[str] = []
    room = ALL_TEXT_LIMIT
    try:
        for piece in _newest_first(ask, body):
            if not piece:
                continue
            pieces.append(piece[-room:])
            room -= len(piece) + 1
            if room <= 0:
                break
    except RecursionError:
        pass  # nested as deep as inspection lets pass, read from a deeper stack: what there is
    return "\n".join(reversed(pieces))


def authored(content: object) -> str:
    """What a user wrote in one message: text parts joined by newlines, tool results left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(
        part.text
        for part in content
        if part.text.__class__ is str and (part.type is None or part.type in _AUTHORED)
    )


def gemini_authored(content: GeminiContent) -> str:
    """The same of a Gemini content: text parts that are no thoughts."""
    return "\n".join(
        part.text
        for part in gemini_parts(content)
        if part.text.__class__ is str and part.thought is not True
    )


def gemini_parts(content: GeminiContent) -> list[GeminiPart]:
    parts = content.parts
    if isinstance(parts, list):
        return parts
    return [] if parts is None else [parts]


def contents_of(shape: shapes.Generate) -> list[GeminiContent]:
    """All contents of a Gemini request, those of its sub-requests included."""
    contents = shape.contents
    found = contents if isinstance(contents, list) else [] if contents is None else [contents]
    if shape.content is not None:
        found = [*found, shape.content]
    if shape.requests:
        found = list(found)
        for request in shape.requests:
            found += contents_of(request)
    return found


def prompt_texts(prompt: object) -> list[str]:
    """The strings of a `prompt` or embeddings `input`; token arrays have none."""
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list):
        return []
    return [item for item in prompt if isinstance(item, str)]


def _newest_first(ask: Ask, body: bytes) -> Iterator[str]:
    """Pieces of text from the end of the conversation to its system prompt."""
    payload = memoryview(body)[3:] if body.startswith(b"\xef\xbb\xbf") else body
    if ask.dialect == words.GEMINI:
        gemini = generate_of(shapes.GENERATE.decode(payload))
        for content in reversed(contents_of(gemini)):
            yield from (p.text for p in reversed(gemini_parts(content)) if isinstance(p.text, str))
        yield from _raw_texts(gemini.systemInstruction, GeminiContent)
        yield from _raw_texts(gemini.system_instruction, GeminiContent)
    elif ask.dialect == words.ANTHROPIC:
        anthropic = shapes.MESSAGES.decode(payload)
        yield from _messages(anthropic.messages)
        yield from _raw_texts(anthropic.system, Part)
    elif ask.endpoint == words.CHAT:
        yield from _messages(shapes.CHAT.decode(payload).messages)
    elif ask.endpoint == words.COMPLETIONS:
        yield from reversed(prompt_texts(shapes.COMPLETIONS.decode(payload).prompt))
    elif ask.endpoint == words.EMBEDDINGS:
        yield from reversed(prompt_texts(shapes.EMBEDDINGS.decode(payload).input))
    else:
        responses = shapes.RESPONSES.decode(payload)
        if isinstance(responses.input, str):
            yield responses.input
        else:
            yield from _messages(responses.input or [])
        yield from _raw_texts(responses.instructions, Part)


def generate_of(shape: shapes.Generate) -> shapes.Generate:
    """The request itself, or the one that :countTokens wraps."""
    for raw in (shape.generateContentRequest, shape.generate_content_request):
        if len(raw) > 2:
            try:
                return shapes.GENERATE.decode(raw)
            except DecodeError:
                continue
    return shape


def _messages(messages: list[Message]) -> Iterator[str]:
    for message in reversed(messages):
        for value in (message.output, message.content):
            yield from _texts(value)


def _texts(value: object) -> Iterator[str]:
    """Texts of a content, last first; tool results have theirs one level down."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in reversed(value):
            yield from _texts(part)
    elif isinstance(value, GeminiContent):
        for piece in reversed(gemini_parts(value)):
            if isinstance(piece.text, str):
                yield piece.text
    elif isinstance(value, Part):
        yield from _texts(value.content)
        if isinstance(value.text, str):
            yield value.text


def _raw_texts(raw: Raw, kind: type[Part] | type[GeminiContent]) -> Iterator[str]:
    """A system prompt: a string, one object, or a list of them."""
    if not len(raw):
        return
    try:
        value = shapes.decode_system(raw, kind)
    except DecodeError:
        return
    yield from _texts(value)
