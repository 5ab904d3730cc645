"""The neutral form: what a conversation, an answer and a stream say, whatever dialect says it.

Every dialect has one reader and one writer for each of them against this form, so that eight
small translators serve all pairs (docs/adr/0011-neutral-form.md). Only translated calls pass
through here: the same dialect on both sides stays bytes.

In each of muxproxy/dialects/{openai,responses,anthropic,gemini}/:

    request.read(body: bytes, model: str | None, stream: bool) -> Request
        model and stream are the path's (gemini); raises MuxError invalid_request
    request.write(request: Request) -> dict          what to encode; loses are request.drop()ped
    answer.read(body: bytes) -> Answer
    answer.write(answer: Answer, request: Request, id: str, created: int) -> dict
    stream.Reader().feed(event: str | None, data: bytes) -> list[Event]     .finish() -> list[Event]
    stream.Writer(request: Request, id: str, created: int).write(event: Event) -> bytes
    fault.read(status: int, body: bytes) -> Failure

Plain data, no I/O, no clock: whoever writes passes the time and the ids in.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from muxproxy.exchange import Usage

# -- a turn's parts ------------------------------------------------------------------------------

Cache = Literal["5m", "1h"]


class Text(msgspec.Struct, kw_only=True):
    """Text of either side."""

    text: str
    cache: Cache | None = None  # a prompt-cache break-point stands behind this part
    signature: str | None = None  # Gemini's thoughtSignature on a text part


class Media(msgspec.Struct, kw_only=True):
    """An image, document or sound: exactly one of `data` (base64), `url`, `file_id` and `text`."""

    kind: Literal["image", "file", "audio"]
    media_type: str | None = None  # "image/png", "application/pdf", "audio/wav"
    data: str | None = None
    url: str | None = None
    file_id: str | None = None  # a file the provider keeps: no other provider has it
    text: str | None = None  # a plain-text document
    name: str | None = None  # file name or title
    detail: str | None = None  # OpenAI's image detail
    cache: Cache | None = None


class Thinking(msgspec.Struct, kw_only=True):
    """Visible reasoning; `signature` proves to its `maker` (a dialect) that it is untouched.

    `sealed`: reasoning that only its maker can read (Anthropic redacted_thinking.data, OpenAI
    reasoning.encrypted_content).
    """

    text: str = ""
    signature: str | None = None
    sealed: str | None = None
    id: str | None = None
    maker: str | None = None


class Call(msgspec.Struct, kw_only=True):
    """The model calls a tool. `arguments` is JSON text, as generated."""

    id: str
    name: str
    arguments: str = "{}"
    signature: str | None = None  # Gemini's thoughtSignature
    cache: Cache | None = None
    custom: bool = False  # OpenAI custom tool: `arguments` is free text


class Result(msgspec.Struct, kw_only=True):
    """What a tool answered. `name` is looked up from the call where the dialect leaves it out."""

    id: str
    name: str | None = None
    parts: list[Text | Media] = []
    error: bool = False
    cache: Cache | None = None


class Refusal(msgspec.Struct, kw_only=True):
    """The model's words of refusal (OpenAI)."""

    text: str


Part = Text | Media | Thinking | Call | Result | Refusal


class Turn(msgspec.Struct, kw_only=True):
    """One message. Consecutive turns of one role may occur; writers join or split as they must.

    `system` turns stand in the middle of the conversation; those at its head are in
    Request.system.
    """

    role: Literal["system", "user", "assistant"]
    parts: list[Part]
    name: str | None = None


# -- a request -----------------------------------------------------------------------------------


class Tool(msgspec.Struct, kw_only=True):
    """A function the model may call; `schema` is JSON Schema. `custom`: the caller's own form is
    an OpenAI custom tool, whose input is free text: `schema` then has the one property `input`.
    `namespace`: OpenAI's, whose name then stands before the tool's own (`clock__sleep`)."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache: Cache | None = None
    custom: bool = False
    namespace: str | None = None


class Choice(msgspec.Struct, kw_only=True):
    """tool_choice: `tool` names the one for mode "tool"; `allowed` narrows the others."""

    mode: Literal["auto", "required", "none", "tool"]
    tool: str | None = None
    allowed: list[str] | None = None


class Format(msgspec.Struct, kw_only=True):
    """The answer's form: `json` any object; `schema` what it must fit."""

    kind: Literal["json", "schema"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(msgspec.Struct, kw_only=True):
    """How much to think. None everywhere: the caller said nothing.

    `budget` tokens: 0 off, -1 as the model likes. `show`: the caller wants to see (a summary of)
    the thoughts.
    """

    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool = False
    show: bool | None = None
    summary: str | None = None  # Responses: auto, concise, detailed


class Request(msgspec.Struct, kw_only=True):
    """What the caller asks for.

    `named` maps a field of this struct (or `Reasoning`, `Format` ... as "reasoning", "format") to
    the caller's own name for it, so that a writer that cannot carry `seed` reports
    "generationConfig.seed" to a Gemini caller: see `drop`. `dropped` collects what is lost, in
    the caller's words, without values: readers put in what this form cannot hold, writers what
    their dialect cannot. Fields that change nothing in the answer (stream_options,
    prompt_cache_key) are not losses.
    """

    model: str | None = None
    system: list[Text] = []
    turns: list[Turn] = []
    tools: list[Tool] = []
    tool_choice: Choice | None = None
    parallel: bool | None = None  # parallel tool calls allowed
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: list[str] = []
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    format: Format | None = None
    verbosity: str | None = None
    reasoning: Reasoning | None = None
    modalities: list[str] | None = None  # answers wanted: "text", "image", "audio"
    user: str | None = None
    metadata: dict[str, str] | None = None
    tier: str | None = None  # "auto", "default", "flex", "priority", "standard_only"
    stream: bool = False
    stream_usage: bool = False  # the caller wants a usage chunk (OpenAI chat)
    cache: Cache | None = None  # break-points where the provider likes (top-level cache_control)
    legacy_functions: bool = False  # OpenAI's `functions`: calls are answered as function_call
    renamed: dict[str, str] = {}  # tool names as the provider takes them -> as the caller has them
    named: dict[str, str] = {}
    dropped: list[str] = []

    def drop(self, field: str) -> None:
        """Notes that `field` cannot be carried, under the caller's name for it."""
        name = self.named.get(field, field)
        if name not in self.dropped:
            self.dropped.append(name)

    def rename(self, name: str, fit: str) -> str:
        """Notes that the tool `name` is `fit` to the provider; answers' writers undo it."""
        if fit != name:
            self.renamed[fit] = name
        return fit


# -- an answer -----------------------------------------------------------------------------------

# Why an answer ended. "tools": the model waits for tool results; "pause": send it back to go on.
Reason = Literal["stop", "stop_sequence", "length", "tools", "filter", "pause", "error"]


class Finish(msgspec.Struct, kw_only=True):
    """The end of one choice; `native` is the provider's own word."""

    choice: int = 0
    reason: Reason = "stop"
    stop_sequence: str | None = None
    native: str | None = None


class Output(msgspec.Struct, kw_only=True):
    """One choice of a whole answer. `logprobs` is OpenAI chat's `content` list."""

    parts: list[Part] = []
    finish: Finish = msgspec.field(default_factory=Finish)
    logprobs: list[Any] | None = None
    citations: list[Citation] = []


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer. `created` is Unix seconds."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    outputs: list[Output] = []
    usage: Usage | None = None
    failure: Failure | None = None  # an answer that says it failed (Responses status failed)


# -- a stream ------------------------------------------------------------------------------------


class Start(msgspec.Struct, kw_only=True):
    """The first event. `usage`: its input side, where the dialect tells it now (Anthropic)."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None


class TextDelta(msgspec.Struct, kw_only=True):
    """More text of a choice; `logprobs` is OpenAI chat's `content` list for it."""

    choice: int = 0
    text: str = ""
    logprobs: list[Any] | None = None


class ThinkingDelta(msgspec.Struct, kw_only=True):
    """More visible reasoning. `part` counts thinking blocks (or summary parts) of the choice."""

    choice: int = 0
    part: int = 0
    text: str = ""


class ThinkingSeal(msgspec.Struct, kw_only=True):
    """A thinking block's signature, or a block that is sealed altogether."""

    choice: int = 0
    part: int = 0
    signature: str | None = None
    sealed: str | None = None
    id: str | None = None
    maker: str | None = None


class RefusalDelta(msgspec.Struct, kw_only=True):
    """More words of refusal."""

    choice: int = 0
    text: str = ""


class CallStart(msgspec.Struct, kw_only=True):
    """A tool call begins; `index` counts the calls of its choice from 0. Ids are made up by the
    reader where the dialect has none."""

    choice: int = 0
    index: int = 0
    id: str = ""
    name: str = ""
    signature: str | None = None
    custom: bool = False


class CallDelta(msgspec.Struct, kw_only=True):
    """A piece of a call's arguments (JSON text)."""

    choice: int = 0
    index: int = 0
    arguments: str = ""


class MediaDelta(msgspec.Struct, kw_only=True):
    """A whole generated image or a piece of sound."""

    choice: int = 0
    media: Media


class Citation(msgspec.Struct, kw_only=True):
    """A source that the answer names. `start` and `end` are characters of the choice's text."""

    choice: int = 0
    url: str | None = None
    title: str | None = None
    quoted: str | None = None
    start: int | None = None
    end: int | None = None


class Totals(msgspec.Struct, kw_only=True):
    """Usage as known so far; a later one replaces an earlier one."""

    usage: Usage


class Failure(msgspec.Struct, kw_only=True):
    """An error, before or inside a stream. `kind`: the provider's type or status word."""

    message: str = ""
    status: int | None = None
    kind: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None  # seconds


class Done(msgspec.Struct, kw_only=True):
    """The stream has ended cleanly, as its dialect says ([DONE], message_stop, ...)."""


Event = (
    Start
    | TextDelta
    | ThinkingDelta
    | ThinkingSeal
    | RefusalDelta
    | CallStart
    | CallDelta
    | MediaDelta
    | Citation
    | Finish
    | Totals
    | Failure
    | Done
)
