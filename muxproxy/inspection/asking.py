"""One partial decode per endpoint, and the Ask made of it.

How prompt tokens are estimated: bytes of the body without inline media and without the JSON
around the whole and each message, divided by BYTES_PER_TOKEN, plus MEDIA_TOKENS for each picture
or file (a 1024 x 1024 photograph costs 765 to 1,500 with the providers we know). UTF-8 makes
this fair to every script: a CJK character is 3 bytes and about 0.75 tokens. ASCII escapes
(`\\u4e2d`, 6 bytes) count as 3 bytes. Encrypted reasoning and signatures count a quarter: OpenAI
drops most of them unbilled, others bill what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from muxproxy import exchange as words
from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask
from muxproxy.inspection import shapes
from muxproxy.inspection.faults import check_text, explain
from muxproxy.inspection.fields import answers, count, filled, is_gemini_json, is_json, prompts
from muxproxy.inspection.media import Media
from muxproxy.inspection.shapes import ABSENT, GeminiContent, Message
from muxproxy.inspection.text import (
    TEXT_LIMIT,
    authored,
    contents_of,
    gemini_authored,
    gemini_parts,
    generate_of,
    prompt_texts,
)

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 1000
# JSON around the whole ("model", "stream" ...), and around one message less the handful of tokens
# that every provider adds to it: bytes that are no prompt.
_HEAD = 64
_FRAME = 16
_MESSAGE_TOKENS = 4
# Anthropic's own system prompt for tools, as its documentation gives it for tool_choice auto.
_TOOL_TOKENS = 346
BOM = b"\xef\xbb\xbf"
_ESCAPE_SAMPLE = 8 * 1024  # bytes looked at for ASCII escapes


class Seen(msgspec.Struct, gc=False):
    """What a body says beyond the members that all dialects share."""

    text: str = ""
    messages: int = 0
    media: Media | None = None
    tools: bool = False
    json: bool = False
    max_tokens: int | None = None
    max_tokens_field: str | None = None
    n: int = 1
    user: object = None
    stream_options: object = None
    tokens: int = 0  # prompt tokens given as numbers


def inspect(route: Route, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Ask:
    """What `body` asks for at an INSPECTED endpoint.

    Raises MuxError: `invalid_json` (with position and fix) for what is no JSON object in UTF-8,
    `invalid_request` for a model that is neither a string nor null. Everything else is the
    provider's to judge. The Ask keeps the body (`parts`) until it is dropped itself.
    """
    read, reader = _READERS.get((route.dialect, route.endpoint), _DEFAULT)
    try:
        shape = reader.decode(memoryview(body)[3:] if body[:3] == BOM else body)
        seen: Seen = read(shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(body, error, headers) from None
    if not body.isascii():
        check_text(body)
    model, present = _model(route, shape.model)
    text = seen.text
    tools = seen.tools or (shape.tools is not ABSENT and filled(shape.tools))
    # Fifteen names: with more, Python builds a dict for the call.
    ask = Ask(
        dialect=route.dialect,
        endpoint=route.endpoint,
        path=route.path,
        model=model,
        model_present=present,
        stream=route.stream if route.dialect == words.GEMINI else shape.stream is True,
        tools=tools,
        messages=seen.messages,
        prompt_chars=len(text),
        prompt_tokens=_tokens(route, body, seen, tools),
        body_bytes=len(body),
        max_tokens=seen.max_tokens,
        max_tokens_field=None if seen.max_tokens is None else seen.max_tokens_field,
        text=text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT],
        parts=body,
    )
    _rarely(ask, shape, seen)
    return ask


def _rarely(ask: Ask, shape: Any, seen: Seen) -> None:
    """What most requests do not say."""
    if seen.n != 1:
        ask.n = seen.n
    if seen.json:
        ask.json = True
    if seen.user.__class__ is str:
        ask.user = seen.user
    options = seen.stream_options
    if options is not None:
        ask.stream_options = True
        include = options.get("include_usage") if isinstance(options, dict) else None
        ask.include_usage = include if isinstance(include, bool) else None
    media = seen.media
    if media is not None and media.count:
        ask.images = media.images > 0
        ask.media = media.count
        ask.media_bytes = media.size
    tier = shape.service_tier or shape.serviceTier
    if tier.__class__ is str:
        ask.service_tier = tier
    if shape.max_budget is not None:
        ask.max_budget = shape.max_budget
    if shape.cascade_config is not None:
        ask.cascade_config = shape.cascade_config


# -- one reader per endpoint -----------------------------------------------------------------


def _chat(shape: shapes.Chat) -> Seen:
    messages = shape.messages
    text, media = _last_user_text(messages)
    most, field = shape.max_completion_tokens, "max_completion_tokens"
    if most is None or (most := count(most)) is None:
        most, field = count(shape.max_tokens), "max_tokens"
    return Seen(
        text=text,
        messages=len(messages),
        media=media,
        tools=shape.functions is not ABSENT and filled(shape.functions),
        json=shape.response_format is not ABSENT and is_json(shape.response_format),
        max_tokens=most,
        max_tokens_field=field,
        n=1 if shape.n is None else answers(shape.n),
        user=shape.user or shape.safety_identifier,
        stream_options=shape.stream_options,
    )


def _completions(shape: shapes.Completions) -> Seen:
    texts = prompt_texts(shape.prompt)
    given, tokens = prompts(shape.prompt)
    return Seen(
        text=texts[-1] if texts else "",
        messages=given,
        json=is_json(shape.response_format),
        max_tokens=count(shape.max_tokens),
        max_tokens_field="max_tokens",
        # n answers to each prompt; of best_of all are generated and paid for
        n=max(answers(shape.n, given), answers(shape.best_of, given)),
        user=shape.user,
        stream_options=shape.stream_options,
        tokens=tokens,
    )


def _embeddings(shape: shapes.Embeddings) -> Seen:
    texts = prompt_texts(shape.input)
    inputs, tokens = prompts(shape.input)
    return Seen(text=texts[-1] if texts else "", messages=inputs, user=shape.user, tokens=tokens)


def _responses(shape: shapes.Responses) -> Seen:
    media: Media | None = None
    given = shape.input
    if isinstance(given, str):
        text, messages = given, 1
    else:
        items = given or []
        messages = len(items)
        text, media = _last_user_text(items)
    return Seen(
        text=text,
        messages=messages,
        media=media,
        json=is_json(shape.text),
        max_tokens=count(shape.max_output_tokens),
        max_tokens_field="max_output_tokens",
        user=shape.user or shape.safety_identifier,
        stream_options=shape.stream_options,
    )


def _anthropic(shape: shapes.Messages) -> Seen:
    text, media = _last_user_text(shape.messages)
    metadata = shape.metadata
    return Seen(
        text=text,
        messages=len(shape.messages),
        media=media,
        json=is_json(shape.output_config) or is_json(shape.output_format),
        max_tokens=count(shape.max_tokens),
        max_tokens_field="max_tokens",
        user=metadata.get("user_id") if isinstance(metadata, dict) else None,
    )


def _generate(shape: shapes.Generate) -> Seen:
    shape = generate_of(shape)
    contents = contents_of(shape)
    media = Media()
    last: GeminiContent | None = None
    for content in contents:
        for part in gemini_parts(content):
            media.gemini(part)
        if content.role is None or content.role == "user":
            last = content if gemini_authored(content) else last
    config = shape.generationConfig or shape.generation_config or _NO_CONFIG
    outer = "generationConfig" if shape.generationConfig is not None else "generation_config"
    most = count(config.maxOutputTokens)
    return Seen(
        text=gemini_authored(last) if last is not None else "",
        messages=len(contents),
        media=media,
        tools=filled(shape.tools),
        json=is_gemini_json(config),
        max_tokens=count(config.max_output_tokens) if most is None else most,
        max_tokens_field=outer + (".max_output_tokens" if most is None else ".maxOutputTokens"),
        n=answers(config.candidateCount or config.candidate_count),
    )


_NO_CONFIG = shapes.GenerationConfig()

_Read = Callable[[Any], Seen]
_DEFAULT: tuple[_Read, Any] = (_chat, shapes.CHAT)
_READERS: dict[tuple[str, str], tuple[_Read, Any]] = {
    (words.OPENAI, words.CHAT): _DEFAULT,
    (words.OPENAI, words.COMPLETIONS): (_completions, shapes.COMPLETIONS),
    (words.OPENAI, words.EMBEDDINGS): (_embeddings, shapes.EMBEDDINGS),
    (words.RESPONSES, words.RESPOND): (_responses, shapes.RESPONSES),
    (words.RESPONSES, words.COUNT_TOKENS): (_responses, shapes.RESPONSES),
    (words.ANTHROPIC, words.MESSAGES): (_anthropic, shapes.MESSAGES),
    (words.ANTHROPIC, words.COUNT_TOKENS): (_anthropic, shapes.MESSAGES),
    (words.GEMINI, words.GENERATE): (_generate, shapes.GENERATE),
    (words.GEMINI, words.COUNT_TOKENS): (_generate, shapes.GENERATE),
    (words.GEMINI, words.EMBEDDINGS): (_generate, shapes.GENERATE),
}


# -- details ---------------------------------------------------------------------------------


def _last_user_text(messages: list[Message]) -> tuple[str, Media | None]:
    """The newest non-empty text that a user wrote, and the media of all messages."""
    last: object = None
    media: Media | None = None
    for message in messages:
        content = message.content
        plain = content.__class__ is str
        if not plain or message.output is not None or message.result is not ABSENT:
            media = media or Media()
            _media(message, media)
        elif message.encrypted_content is not ABSENT:
            media = media or Media()
            media.opaque += len(message.encrypted_content)
        if message.role == "user" and content and (plain or authored(content)):
            last = content
    return authored(last) if last is not None else "", media


def _media(message: Message, media: Media) -> None:
    """Counts a message's media."""
    media.content(message.content)
    if message.output is not None:
        media.content(message.output)
    media.opaque += len(message.encrypted_content)
    if len(message.result):
        media.picture(message.result)


def _model(route: Route, value: object) -> tuple[str | None, bool]:
    """The model as named by the path (gemini) or the body, and whether it is there at all."""
    if route.model is not None and route.dialect == words.GEMINI:
        return route.model, True
    if value is msgspec.UNSET:
        return route.model, route.model is not None
    if value is None or isinstance(value, str):
        return value if value is not None else route.model, True
    raise MuxError(
        "invalid_request",
        "model must be a string (or null, or left out): the name of a model or an alias.",
        details={"param": "model"},
    )


def _tokens(route: Route, body: bytes, seen: Seen, tools: bool) -> int:
    """An estimate of the prompt's tokens; see the module's docstring."""
    media = seen.media
    size = len(body) - _HEAD - _FRAME * seen.messages
    extra = _TOOL_TOKENS if tools and route.dialect == words.ANTHROPIC else 0
    least = _MESSAGE_TOKENS * seen.messages or 1
    if media is not None:
        size -= media.size + media.opaque * 3 // 4
        extra += MEDIA_TOKENS * media.count
    if seen.tokens:
        return seen.tokens
    if body.find(b"\\", 0, _ESCAPE_SAMPLE) >= 0:
        escapes = body.count(b"\\u", 0, _ESCAPE_SAMPLE)
        size -= 3 * escapes * max(1, size // _ESCAPE_SAMPLE)
    found = size // BYTES_PER_TOKEN
    return (found if found > least else least) + extra
