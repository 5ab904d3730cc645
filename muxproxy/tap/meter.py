"""Reads a provider's events, whatever dialect they are in.

Every dialect is recognised by the shape of its events, never by a provider's name: any path may
be passed through, and relays mix dialects.
"""

from __future__ import annotations

import contextlib

import msgspec
from msgspec import Raw

from muxproxy.tap import events as wire
from muxproxy.tap import told
from muxproxy.tap.state import HINT, METRICS, PLAIN, State, code_of

_CHAT, _DELTAS, _GEMINI = 1, 2, 3  # the shape that the next event most likely has; 0: any

_ENDED = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_DONE = b"[DONE]"
_decode_chunk = wire.CHUNK.decode
_decode_delta = wire.DELTA.decode
_decode_gemini = wire.GEMINI.decode


class Meter(State):
    """The running state of one answer, fed with whole events."""

    __slots__ = ()

    # -- reading ----------------------------------------------------------------------------

    def take(self, name: bytes, payload: bytes) -> None:
        """Reads one event: its name (b"" when the framing has none) and its JSON payload."""
        if not self.quick(payload):
            self.event(name, payload)

    def quick(self, payload: bytes) -> bool:
        """Reads an event of the shape that the last ones had. False: nothing was taken."""
        hot = self.hot
        try:
            if hot == _CHAT:
                chunk = _decode_chunk(payload)
                choices = chunk.choices
                plain = chunk.usage is None and chunk.error is None and chunk.x_groq is None
                if choices and plain:
                    self.events += 1
                    self._choices(choices)
                    return True
            elif hot == _DELTAS:
                delta = _decode_delta(payload)
                if self._delta(delta.type, delta.delta):
                    self.events += 1
                    return True
            elif hot == _GEMINI:
                answer = _decode_gemini(payload)
                if answer.candidates and answer.error is None:
                    self.events += 1
                    self.take_candidates(answer.candidates)
                    if len(answer.usageMetadata) > 4:  # the length of null
                        self._gemini_usage(answer.usageMetadata)
                    return True
        except wire.UNREADABLE:
            pass
        return False

    def event(self, name: bytes, payload: bytes) -> None:
        """Reads one event of any shape."""
        self.events += 1
        if payload == _DONE:
            self.terminal = True
            return
        try:
            self._anything(name, wire.ANYTHING.decode(payload))
        except wire.UNREADABLE:
            if payload.strip() == _DONE:
                self.terminal = True
            else:
                self._salvage(name, wire.mend(payload))

    def _salvage(self, name: bytes, payload: bytes) -> None:
        """Reads what can be read of an event that cannot be read whole."""
        with contextlib.suppress(*wire.UNREADABLE):
            try:
                event = wire.ANYTHING.decode(payload)
            except wire.UNREADABLE:
                bare = wire.BARE.decode(payload)
                event = wire.Anything(
                    usage=bare.usage,
                    usageMetadata=bare.usageMetadata,
                    error=bare.error,
                    model=bare.model,
                )
            self._anything(name, event)

    def _choices(self, choices: list[wire.Choice]) -> None:
        for choice in choices:
            delta = choice.delta
            if delta is not None:
                text = delta.content
                if text:
                    self.text(text)
                text = delta.reasoning_content or delta.reasoning
                if text:
                    self.reasoned = True
                    self.text(text)
                if delta.tool_calls:
                    for call in delta.tool_calls:
                        self._call(call.function)
                elif delta.function_call is not None:
                    self._call(delta.function_call)
                elif delta.refusal:
                    self.text(delta.refusal)
            # Together repeats the delta's text in `text`.
            if choice.text and (delta is None or not delta.content):
                self.text(choice.text)
            if choice.finish_reason is not None:
                self.finish_with(choice.finish_reason)

    def _call(self, function: wire.Function | None) -> None:
        if function is None:
            return
        if function.name:
            self.tool_calls += 1
            self.text(function.name)
        if function.arguments:
            arguments = function.arguments
            self.text(arguments if isinstance(arguments, str) else wire.compact(arguments))

    def _delta(self, kind: object, delta: object) -> bool:
        """An Anthropic or OpenAI responses delta; False when the event is something else."""
        if delta.__class__ is wire.Piece:
            if kind != "content_block_delta":
                return False
            text = delta.text or delta.partial_json
            if not text and (text := delta.thinking):
                self.reasoned = True
            if text:
                self.text(text)
            return True
        if delta.__class__ is str and kind.__class__ is str:
            if not kind.endswith("audio.delta"):
                if kind.startswith("response.reasoning"):
                    self.reasoned = True
                self.text(delta)
            return True
        return False

    def _anything(self, name: bytes, event: wire.Anything) -> None:
        if self.model is None:
            model = event.model or event.modelVersion
            if isinstance(model, str):
                self.model = model
        if len(event.usage) > 4:
            reader = told.reader(event.choices is not None, event.type, event.object)
            self.use(event.usage, PLAIN, reader=reader)
        if event.service_tier:
            self.set_tier(event.service_tier)
        if event.error or name.startswith(b"!") or name == b"error" or event.type == "error":
            self.fail(name, event)
        if event.choices is not None:
            if self.model or self.events > 4:  # Azure's first chunks have an empty model
                self.hot = _CHAT
            self._choices(event.choices)
            if event.x_groq:
                self._groq(event.x_groq)
        elif event.candidates is not None or event.usageMetadata or event.usage_metadata:
            self._gemini(event)
        elif event.type is not None and not isinstance(event.type, str):
            return
        elif event.type is not None and event.object != "response":
            self._typed(event)
        else:
            self._untyped(name, event)

    def _gemini(self, event: wire.Anything) -> None:
        for meta in (event.usageMetadata, event.usage_metadata):
            if len(meta) > 4:
                self._gemini_usage(meta)
        if event.candidates:
            if self.model:
                self.hot = _GEMINI
            self.take_candidates(event.candidates)
        feedback = event.promptFeedback
        if feedback.__class__ is dict and feedback.get("blockReason"):
            self.finish_with(feedback["blockReason"])
            self.terminal = True

    def _gemini_usage(self, meta: Raw) -> None:
        raw = bytes(meta)
        final = raw.find(b"andidates") >= 0 or raw.find(b"houghts") >= 0
        self.use(meta, PLAIN, final, told.GEMINI)

    def take_candidates(self, candidates: list[wire.Candidate]) -> None:
        """Gemini's choices."""
        for candidate in candidates:
            if candidate.content is not None:
                for piece in candidate.content.parts or ():
                    if piece.text:
                        if piece.thought:
                            self.reasoned = True
                        self.text(piece.text)
                    if piece.functionCall:
                        self.collect(piece.functionCall)
            reason = candidate.finishReason or candidate.finish_reason
            if reason:
                self.finish_with(reason)
                self.terminal = True

    def _typed(self, event: wire.Anything) -> None:
        """Events that name themselves in `type`: Anthropic, OpenAI responses, Cohere v2."""
        kind: str = event.type
        delta = event.delta
        if kind == "content_block_delta" or delta.__class__ is str:
            self.hot = _DELTAS
            self._delta(kind, wire.piece(delta))
        elif kind == "message_start":
            self.hot = _DELTAS
            start = wire.STARTED.decode(event.message)
            if isinstance(start.model, str):
                self.model = start.model
            if len(start.usage) > 4:
                self.use(start.usage, PLAIN, False, told.ANTHROPIC)
        elif kind == "content_block_start":
            block = wire.NAMED.decode(event.content_block)
            if block.text:
                self.text(block.text)
            self.name_tool(block)
        elif kind == "message_delta":
            if delta.__class__ is dict and delta.get("stop_reason"):
                self.finish_with(delta["stop_reason"])
        elif kind == "message_stop":
            self.terminal = True
            if event.metrics:
                self.use(event.metrics, METRICS)
        elif kind.startswith("response."):
            self.hot = _DELTAS
            self.responses = True
            self._responses(kind, event)
        elif kind == "message":  # Anthropic's JSON answer
            if event.stop_reason:
                self.finish_with(event.stop_reason)
        elif kind == "message-end":
            self.terminal = True
            self._cohere_end(delta)
        elif delta.__class__ is dict:
            self.collect(delta)

    def _responses(self, kind: str, event: wire.Anything) -> None:
        if kind == "response.output_item.added":
            if event.item:
                self.name_tool(wire.NAMED.decode(event.item))
        elif kind == "response.web_search_call.completed":
            self.searched()
        elif event.response and (kind in _ENDED or self.model is None):
            response = wire.RESPONSE.decode(event.response)
            self._response(response)
            if kind in _ENDED:
                self.terminal = True
                self._status(response)

    def _response(self, response: wire.Response) -> None:
        if self.model is None and isinstance(response.model, str):
            self.model = response.model
        if len(response.usage) > 4:
            self.use(response.usage, PLAIN, reader=told.RESPONSES)
        if response.service_tier:
            self.set_tier(response.service_tier)

    def _status(self, response: wire.Response | wire.Anything) -> None:
        self.end_with(response.status, response.incomplete_details)
        if response.error or response.status == "failed":
            self.error = self.error or code_of(response.error)

    def _cohere_end(self, delta: object) -> None:
        if delta.__class__ is not dict:
            return
        usage = delta.get("usage")
        if usage.__class__ is dict:
            self.use(Raw(msgspec.json.encode(usage)), PLAIN)
        reason = delta.get("finish_reason")
        if reason:
            self.finish_with(reason)
        if delta.get("error") or reason == "ERROR":
            self.error = self.error or code_of(delta.get("error"))

    def _untyped(self, name: bytes, event: wire.Anything) -> None:
        if event.object == "response":  # OpenAI responses' JSON answer
            self._status(event)
        elif isinstance(event.event_type, str):
            self._named(event.event_type, event)
        elif event.interaction:
            self._response(wire.RESPONSE.decode(event.interaction))
        elif event.done is not None or event.eval_count is not None:
            self._ollama(event)
        elif len(event.meta) > 4:  # Cohere's JSON answers
            self.use(event.meta, PLAIN)
        elif name or event.metadata or event.contentBlockDelta or event.messageStop:
            self._bedrock(name, event)
        elif event.generation is not None or event.outputText is not None:
            self._bedrock_model(event)
        elif event.object == "interaction" or event.status:
            self._status(event)
        for reason in (event.finish_reason, event.stop_reason, event.stopReason):
            if reason:
                self.finish_with(reason)
        if event.metrics:
            self.use(event.metrics, METRICS)
        if not self.rank:
            self._count(event)

    def _named(self, kind: str, event: wire.Anything) -> None:
        """Events that name themselves in `event_type`: Gemini interactions, Cohere v1."""
        if event.interaction:
            response = wire.RESPONSE.decode(event.interaction)
            self._response(response)
            if kind in ("interaction.completed", "interaction.complete"):
                self.terminal = True
                self._status(response)
        elif kind == "stream-end":
            self.terminal = True
            if event.response:
                response = wire.RESPONSE.decode(event.response)
                if len(response.meta) > 4:
                    self.use(response.meta, PLAIN)
        elif event.delta.__class__ is dict:
            self.collect(event.delta)
        elif event.text:
            self.text(event.text)

    def _ollama(self, event: wire.Anything) -> None:
        if event.done is True:
            self.terminal = True
            if event.done_reason:
                self.finish_with(event.done_reason)
            native = {"prompt_eval_count": event.prompt_eval_count, "eval_count": event.eval_count}
            counts = {key: value for key, value in native.items() if value is not None}
            if counts:
                self.use(Raw(msgspec.json.encode(counts)), PLAIN)
        if event.response:  # /api/generate: a string
            self.collect(msgspec.json.decode(event.response))
        if len(event.message) > 4:
            message = wire.STARTED.decode(event.message)
            for text in (message.content, message.thinking):
                if text:
                    self.text(text)
            if message.tool_calls:
                self.collect({"tool_calls": message.tool_calls})

    def _bedrock(self, name: bytes, event: wire.Anything) -> None:
        """Converse, as frames (the kind is the frame's name) or as Nova's wrapped events."""
        for wrapped in (event.contentBlockDelta, event.messageStop):
            if wrapped.__class__ is dict:
                self.collect(wrapped.get("delta"))
                if wrapped.get("stopReason"):
                    self.finish_with(wrapped["stopReason"])
        if len(event.metadata) > 4:
            self.use(wire.HOLDER.decode(event.metadata).usage, PLAIN)
            self.terminal = True
        if event.delta.__class__ is dict:
            self.collect(event.delta)
        if event.start.__class__ is dict:
            self.collect({"delta": event.start})
        if name == b"metadata":
            self.terminal = True

    def _bedrock_model(self, event: wire.Anything) -> None:
        """Llama and Titan behind InvokeModel."""
        for text in (event.generation, event.outputText):
            if text:
                self.text(text)
        if event.generation_token_count is not None:
            counts = {
                "prompt_token_count": event.prompt_token_count,
                "generation_token_count": event.generation_token_count,
            }
            self.use(Raw(msgspec.json.encode(counts)), HINT)

    def _count(self, event: wire.Anything) -> None:
        """count_tokens, countTokens and input_tokens answers: a prompt's size, nothing else."""
        if event.input_tokens is not None and event.delta is None:
            self.use(Raw(msgspec.json.encode({"input_tokens": event.input_tokens})), HINT)
        elif event.totalTokens is not None:
            self.use(Raw(msgspec.json.encode({"totalTokenCount": event.totalTokens})), HINT)

    def _groq(self, x_groq: Raw) -> None:
        extra = wire.HOLDER.decode(x_groq)
        if len(extra.usage) > 4:
            self.use(extra.usage, HINT)
