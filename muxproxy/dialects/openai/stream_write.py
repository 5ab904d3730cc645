"""Neutral events as an OpenAI chat stream."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai import fault, words
from muxproxy.dialects.openai.answer import picture
from muxproxy.dialects.openai.thoughts import details, proofs
from muxproxy.exchange import Usage

_encode = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"


class Writer:
    """One stream to one caller. The usage chunk comes only where it was asked for; after a
    Failure nothing more is written, so that no broken stream looks whole."""

    __slots__ = (
        "_choices",
        "_counts",
        "_created",
        "_dead",
        "_entries",
        "_head",
        "_id",
        "_legacy",
        "_model",
        "_renamed",
        "_tail",
        "_totals",
        "_want_usage",
    )

    def __init__(self, request: n.Request, id: str, created: int) -> None:
        self._id = id
        self._created = created
        self._model = request.model or ""
        self._want_usage = request.stream_usage
        self._legacy = request.legacy_functions
        self._renamed = request.renamed
        self._totals: Usage | None = None
        self._entries: dict[tuple[int, int], int] = {}
        self._choices: set[int] = set()
        self._counts: dict[tuple[int, str], int] = {}
        self._dead = False
        self._head = b""
        # OpenAI tells "usage": null on every chunk of a stream that will have usage.
        self._tail = b'],"usage":null}\n\n' if self._want_usage else b"]}\n\n"

    def write(self, event: n.Event) -> bytes:
        """The bytes for one event; mostly one chunk, sometimes none."""
        if self._dead:
            return b""
        kind = event.__class__
        if kind is n.TextDelta:
            if not event.text and not event.logprobs:  # type: ignore[union-attr]
                return b""
            delta = b'{"content":%b}' % _encode(event.text)  # type: ignore[union-attr]
            return self._chunk(event.choice, delta, event.logprobs)  # type: ignore[union-attr]
        if kind is n.CallDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        out: bytes = _HANDLERS[kind](self, event)
        return out

    def _chunk(self, choice: int, delta: bytes, logprobs: list[Any] | None = None) -> bytes:
        head = b""
        if choice not in self._choices:
            head = self._role(choice)
        told = b"null"
        if logprobs is not None:
            told = _encode({"content": logprobs, "refusal": None})
        return b'%b%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null}%b' % (
            head,
            self._head,
            choice,
            delta,
            told,
            self._tail,
        )

    def _role(self, choice: int) -> bytes:
        if not self._head:
            self._begin(None)
        self._choices.add(choice)
        return (
            b'%b{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},'
            b'"logprobs":null,"finish_reason":null}%b' % (self._head, choice, self._tail)
        )

    def _begin(self, start: n.Start | None) -> None:
        model = (start.model if start is not None else None) or self._model
        self._model = model
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (_encode(self._id), self._created, _encode(model))
        )

    def _start(self, event: n.Start) -> bytes:
        if self._head:
            return b""
        self._begin(event)
        return self._role(0)

    def _thinking(self, event: n.ThinkingDelta) -> bytes:
        """Under both names that clients know. The format stands in the last entry only: openai's
        accumulator joins strings of one index."""
        if not event.text:
            return b""
        text = _encode(event.text)
        delta = (
            b'{"reasoning_content":%b,"reasoning_details":'
            b'[{"type":"reasoning.text","text":%b,"index":%d}]}'
            % (text, text, self._entry(event.choice, event.part))
        )
        return self._chunk(event.choice, delta)

    def _seal(self, event: n.ThinkingSeal) -> bytes:
        """The proof of a block, for a client that sends reasoning_details back."""
        block = n.Thinking(
            signature=event.signature, sealed=event.sealed, id=event.id, maker=event.maker
        )
        begun = (event.choice, event.part) in self._entries
        entries = details([block], self._counts.get((event.choice, "details"), 0))
        if begun:  # the text of this entry has been told
            entries = proofs(block, self._entry(event.choice, event.part), entries)
        self._next(event.choice, "details", len(entries) - begun)
        return self._chunk(event.choice, b'{"reasoning_details":%b}' % _encode(entries))

    def _entry(self, choice: int, part: int) -> int:
        """The index in reasoning_details of a thinking block."""
        at = self._entries.get((choice, part))
        if at is None:
            at = self._entries[choice, part] = self._next(choice, "details")
        return at

    def _refusal(self, event: n.RefusalDelta) -> bytes:
        return self._chunk(event.choice, b'{"refusal":%b}' % _encode(event.text))

    def _call(self, event: n.CallStart) -> bytes:
        name = self._renamed.get(event.name, event.name)
        if self._legacy:
            function = {"name": name, "arguments": ""}
            return self._chunk(event.choice, b'{"function_call":%b}' % _encode(function))
        call: dict[str, Any] = {"index": event.index, "id": event.id, "type": "function"}
        if event.custom:
            call["type"] = "custom"
            call["custom"] = {"name": name, "input": ""}
        else:
            call["function"] = {"name": name, "arguments": ""}
        if event.signature is not None:
            call["extra_content"] = {"google": {"thought_signature": event.signature}}
        return self._chunk(event.choice, b'{"tool_calls":[%b]}' % _encode(call))

    def _arguments(self, event: n.CallDelta) -> bytes:
        if not event.arguments:
            return b""
        text = _encode(event.arguments)
        if self._legacy:
            return self._chunk(event.choice, b'{"function_call":{"arguments":%b}}' % text)
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (event.index, text)
        return self._chunk(event.choice, delta)

    def _media(self, event: n.MediaDelta) -> bytes:
        media = event.media
        if media.kind == "audio":
            delta: dict[str, Any] = {"audio": {"data": media.data or ""}}
        elif media.kind == "image":
            at = self._next(event.choice, "images")
            delta = {"images": [{"index": at, **picture(media)}]}
        else:
            return b""
        return self._chunk(event.choice, _encode(delta))

    def _citation(self, event: n.Citation) -> bytes:
        if event.url is None:
            return b""
        at = self._next(event.choice, "annotations")
        note = {"index": at, **words.annotation(event)}
        return self._chunk(event.choice, b'{"annotations":[%b]}' % _encode(note))

    def _next(self, choice: int, field: str, step: int = 1) -> int:
        """The index of the next entry of a list that comes in pieces: openai's accumulator
        demands one on every entry."""
        at = self._counts.get((choice, field), 0)
        self._counts[choice, field] = at + step
        return at

    def _finish(self, event: n.Finish) -> bytes:
        if event.reason == "error":
            return self._failure(faults.ended(event))
        head = b"" if event.choice in self._choices else self._role(event.choice)
        word = words.FINISHES[event.reason]
        if self._legacy and word == "tool_calls":
            word = "function_call"
        return b'%b%b{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}%b' % (
            head,
            self._head,
            event.choice,
            word.encode(),
            self._tail,
        )

    def _total(self, event: n.Totals) -> bytes:
        self._totals = event.usage
        return b""

    def _done(self, event: n.Done) -> bytes:
        self._dead = True
        if not self._head:
            self._begin(None)
        if not self._want_usage or self._totals is None:
            return _DONE
        usage = _encode(words.usage(self._totals))
        tier = words.tier(self._totals)
        told = b"" if tier is None else b',"service_tier":"%b"' % tier.encode()
        return b'%b]%b,"usage":%b}\n\n%b' % (self._head, told, usage, _DONE)

    def _failure(self, event: n.Failure) -> bytes:
        self._dead = True
        return b"data: %b\n\n" % _encode(fault.write(event)[1])


_HANDLERS: dict[type, Any] = {
    n.Start: Writer._start,
    n.ThinkingDelta: Writer._thinking,
    n.ThinkingSeal: Writer._seal,
    n.RefusalDelta: Writer._refusal,
    n.CallStart: Writer._call,
    n.MediaDelta: Writer._media,
    n.Citation: Writer._citation,
    n.Finish: Writer._finish,
    n.Totals: Writer._total,
    n.Done: Writer._done,
    n.Failure: Writer._failure,
}
