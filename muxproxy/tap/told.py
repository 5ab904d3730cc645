"""The usage objects of the four common APIs, read straight into typed fields.

Short cuts for the bulk of answers: what a decoder here does not accept (a member it does not
know, a number that is no count) and figures that contradict each other are left to `usage`,
which reads every shape and is the reference for these.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from muxproxy.dialects.usage import MOST, less, lives
from muxproxy.exchange import Usage

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class _Exact(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Members that no figure comes from are there to be accepted."""


class _ChatInput(_Exact):
    cached_tokens: Count | None = None
    audio_tokens: Count | None = None
    text_tokens: Any = None


class _ChatOutput(_Exact):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    text_tokens: Any = None
    accepted_prediction_tokens: Any = None
    rejected_prediction_tokens: Any = None


class ChatTold(_Exact):
    """OpenAI chat and completions; the compatibles that add nothing of their own."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: _ChatInput | None = None
    completion_tokens_details: _ChatOutput | None = None

    def usage(self) -> Usage | None:
        """The figures; None when they do not add up and `usage.normalise` must judge."""
        prompt, output = self.prompt_tokens, self.completion_tokens
        read = audio_in = reasoning = audio_out = None
        if (ins := self.prompt_tokens_details) is not None:
            read, audio_in = ins.cached_tokens, ins.audio_tokens
        if (outs := self.completion_tokens_details) is not None:
            reasoning, audio_out = outs.reasoning_tokens, outs.audio_tokens
        fresh, said = prompt - (read or 0), output - (reasoning or 0)
        if fresh < 0 or said < 0 or self.total_tokens != prompt + output:
            return None
        if audio_in is not None and audio_in > prompt:
            return None
        return Usage(
            input=fresh,
            cache_read=read,
            output=said,
            reasoning=reasoning,
            audio_in=audio_in,
            audio_out=audio_out,
        )


class _ResponsesInput(_Exact):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _ResponsesOutput(_Exact):
    reasoning_tokens: Count | None = None


class ResponsesTold(_Exact):
    """OpenAI's Responses API: cached tokens are part of the input."""

    input_tokens: Count
    input_tokens_details: _ResponsesInput
    output_tokens: Count
    total_tokens: Count
    output_tokens_details: _ResponsesOutput | None = None

    def usage(self) -> Usage | None:
        """The figures; None when they do not add up and `usage.normalise` must judge."""
        prompt, output = self.input_tokens, self.output_tokens
        ins, outs = self.input_tokens_details, self.output_tokens_details
        read, written = ins.cached_tokens, ins.cache_write_tokens
        reasoning = None if outs is None else outs.reasoning_tokens
        fresh, said = prompt - (read or 0) - (written or 0), output - (reasoning or 0)
        if fresh < 0 or said < 0 or self.total_tokens != prompt + output:
            return None
        return Usage(
            input=fresh, cache_read=read, cache_write_5m=written, output=said, reasoning=reasoning
        )


class _Lives(_Exact):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class _Thinking(_Exact):
    thinking_tokens: Count | None = None


class _Searches(_Exact):
    web_search_requests: Count | None = None
    web_fetch_requests: Any = None


class AnthropicTold(_Exact):
    """Anthropic's messages: cache reads and writes lie outside the input."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: _Lives | None = None
    output_tokens_details: _Thinking | None = None
    server_tool_use: _Searches | None = None
    service_tier: str | None = None
    inference_geo: Any = None

    def usage(self) -> Usage | None:
        """The figures; None when they do not add up and `usage.normalise` must judge."""
        prompt, output = self.input_tokens, self.output_tokens
        if prompt is None or output is None:
            return None
        split, thought = self.cache_creation, self.output_tokens_details
        tools = self.server_tool_use
        short = long = None
        if split is not None:
            short, long = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
        if self.cache_creation_input_tokens is not None:
            short = lives(self.cache_creation_input_tokens, short, long)
        reasoning = None if thought is None else thought.thinking_tokens
        said = output - (reasoning or 0)
        tier = self.service_tier or None
        if said < 0 or (tier is not None and len(tier) > 64):
            return None
        return Usage(
            input=prompt,
            cache_read=self.cache_read_input_tokens,
            cache_write_5m=short,
            cache_write_1h=long,
            output=said,
            reasoning=reasoning,
            requests=None if tools is None else tools.web_search_requests,
            tier=tier,
        )


class _Modality(_Exact):
    modality: str
    tokenCount: Count | None = None


class GeminiTold(_Exact):
    """Gemini's usageMetadata: the prompt includes what was cached, the output excludes thoughts."""

    promptTokenCount: Count
    totalTokenCount: Count | None = None
    candidatesTokenCount: Count | None = None
    thoughtsTokenCount: Count | None = None
    cachedContentTokenCount: Count | None = None
    toolUsePromptTokenCount: Count | None = None
    promptTokensDetails: list[_Modality] | None = None
    candidatesTokensDetails: list[_Modality] | None = None
    cacheTokensDetails: list[_Modality] | None = None
    toolUsePromptTokensDetails: Any = None
    trafficType: str | None = None
    serviceTier: str | None = None

    def usage(self) -> Usage | None:
        """The figures; None when they do not add up and `usage.normalise` must judge."""
        cached = self.cachedContentTokenCount
        audio_in, images = _apart(self.promptTokensDetails)
        audio_out, images_out = _apart(self.candidatesTokensDetails)
        audio_read, _ = _apart(self.cacheTokensDetails)
        tier = self.serviceTier or self.trafficType or None
        if tier is not None and len(tier) > 64:
            return None
        return Usage(
            input=less(self.promptTokenCount, cached) + (self.toolUsePromptTokenCount or 0),
            cache_read=cached,
            output=self.candidatesTokenCount or 0,
            reasoning=self.thoughtsTokenCount,
            audio_in=audio_in,
            audio_out=audio_out,
            images=images,
            images_out=images_out,
            cache_read_audio=audio_read,
            tier=tier,
        )


def _apart(details: list[_Modality] | None) -> tuple[int | None, int | None]:
    """(audio, image) tokens among the modalities; None for one that is not listed."""
    audio = image = None
    for entry in details or ():
        kind = entry.modality
        if kind in ("AUDIO", "audio"):
            audio = (audio or 0) + (entry.tokenCount or 0)
        elif kind in ("IMAGE", "image"):
            image = (image or 0) + (entry.tokenCount or 0)
    return audio, image


Told = ChatTold | ResponsesTold | AnthropicTold | GeminiTold


def covers(new: Told, old: Told) -> bool:
    """Whether every member that `old` told is told by `new` too, so that it replaces it."""
    if new.__class__ is not old.__class__:
        return False
    for value, before in zip(astuple(new), astuple(old), strict=True):
        if value is None and before is not None:
            return False
    return True


def merged(old: Told, new: Told) -> Told | None:
    """Member by member the newer value that was told; None for two that are not of a kind."""
    if new.__class__ is not old.__class__:
        return None
    pairs = zip(astuple(old), astuple(new), strict=True)
    return new.__class__(*[before if value is None else value for before, value in pairs])


def reader(chat: bool, kind: object, sort: object) -> msgspec.json.Decoder[Any] | None:
    """The reader that may fit the usage of an event: has it choices, its `type`, its `object`."""
    if chat:
        return CHAT
    if sort == "response":
        return RESPONSES
    return None if kind is None else ANTHROPIC


CHAT = msgspec.json.Decoder(ChatTold)
RESPONSES = msgspec.json.Decoder(ResponsesTold)
ANTHROPIC = msgspec.json.Decoder(AnthropicTold)
GEMINI = msgspec.json.Decoder(GeminiTold)
