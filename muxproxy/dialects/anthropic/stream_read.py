"""The events of an Anthropic Messages stream.

Blocks and deltas of unknown kinds (server tools, compaction, what comes next) say nothing and do
no harm. Usage is cumulative: message_delta's fields replace message_start's one by one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import words
from muxproxy.dialects.anthropic.answer import finish, refusal
from muxproxy.dialects.reading import provided, text_of
from muxproxy.dialects.usage import normalise

_encode = msgspec.json.encode


class _Block:
    """An open content block."""

    __slots__ = ("begin", "citations", "fed", "index", "input", "kind")

    def __init__(self, kind: str, index: int, begin: int) -> None:
        self.kind = kind
        self.index = index  # of the call or thinking block, by our own count
        self.begin = begin  # characters of text before it
        self.fed = False  # arguments have come in pieces
        self.input: object = None  # arguments that came whole, at the start
        self.citations: list[dict[str, Any]] = []


class Reader:
    """Feed it the stream's events in order; then `finish()`."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_chars",
        "_ended",
        "_formatted",
        "_over",
        "_thoughts",
        "_usage",
    )

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._calls = 0
        self._thoughts = 0
        self._chars = 0
        self._formatted = False  # the stand-in for a format was called
        self._ended = False  # a stop reason was told
        self._over = False

    def feed(self, event: str | None, data: bytes) -> list[n.Event]:
        """What one server-sent event says; its name is taken from the data."""
        if self._over or not data:
            return []
        try:
            document = provided(data)
        except ValueError:
            self._over = True
            return [n.Failure(message="the provider sent an event that is not JSON")]
        if document.__class__ is not dict:
            return []
        kind = document.get("type")
        if kind == "content_block_delta":
            return self._delta(document)
        handler = _HANDLERS.get(kind if kind.__class__ is str else "")
        if handler is not None:
            found: list[n.Event] = handler(self, document)
            return found
        if event == "error" or document.get("error"):
            return self._failure(document)
        return []

    def finish(self) -> list[n.Event]:
        """At the end of the bytes: Done, where the stop reason was told but not message_stop."""
        if self._over:
            return []
        self._over = True
        return [n.Done()] if self._ended else []

    def _start(self, document: dict[str, Any]) -> list[n.Event]:
        message = document.get("message")
        message = message if isinstance(message, dict) else {}
        native = message.get("usage")
        counts = None
        if isinstance(native, dict):
            self._usage = dict(native)
            counts = normalise(native)
        return [
            n.Start(
                id=text_of(message.get("id")) or None,
                model=text_of(message.get("model")) or None,
                usage=counts,
            )
        ]

    def _open(self, document: dict[str, Any]) -> list[n.Event]:
        native = document.get("content_block")
        native = native if isinstance(native, dict) else {}
        kind = text_of(native.get("type"))
        block = _Block(kind, 0, self._chars)
        found: list[n.Event] = []
        if kind == "text":
            self._said(text_of(native.get("text")), found)
            block.citations += words.notes(native)
        elif kind == "tool_use":
            self._call(block, native, found)
        elif kind == "thinking":
            block.index, self._thoughts = self._thoughts, self._thoughts + 1
            text = text_of(native.get("thinking"))
            if text:
                found.append(n.ThinkingDelta(part=block.index, text=text))
            if text_of(native.get("signature")):
                found.append(self._seal(block, native["signature"]))
        elif kind == "redacted_thinking":
            block.index, self._thoughts = self._thoughts, self._thoughts + 1
            data = text_of(native.get("data"))
            found.append(n.ThinkingSeal(part=block.index, sealed=data, maker="anthropic"))
        self._blocks[_number(document.get("index"))] = block
        return found

    def _call(self, block: _Block, native: dict[str, Any], found: list[n.Event]) -> None:
        block.input = native.get("input") or None
        name = text_of(native.get("name"))
        if name == words.FORMAT_TOOL:
            block.kind = "format"
            self._formatted = True
            return
        block.index, self._calls = self._calls, self._calls + 1
        found.append(n.CallStart(index=block.index, id=text_of(native.get("id")), name=name))

    def _delta(self, document: dict[str, Any]) -> list[n.Event]:
        block = self._blocks.get(_number(document.get("index")))
        delta = document.get("delta")
        if block is None or delta.__class__ is not dict:
            return []
        kind = delta.get("type")
        found: list[n.Event] = []
        if kind == "text_delta":
            self._said(text_of(delta.get("text")), found)
        elif kind == "input_json_delta":
            piece = text_of(delta.get("partial_json"))
            if piece and block.kind in {"tool_use", "format"}:
                block.fed = True
                self._piece(block, piece, found)
        elif kind == "thinking_delta":
            text = text_of(delta.get("thinking"))
            if text:
                found.append(n.ThinkingDelta(part=block.index, text=text))
        elif kind == "signature_delta":
            if text_of(delta.get("signature")):
                found.append(self._seal(block, delta["signature"]))
        elif kind == "citations_delta" and delta.get("citation").__class__ is dict:
            block.citations.append(delta["citation"])
        return found

    def _close(self, document: dict[str, Any]) -> list[n.Event]:
        block = self._blocks.pop(_number(document.get("index")), None)
        found: list[n.Event] = []
        if block is None:
            return found
        if block.kind in {"tool_use", "format"} and not block.fed:
            if block.input is not None:
                self._piece(block, _encode(block.input).decode(), found)
            elif block.kind == "format":
                self._said("{}", found)
        for note in block.citations:
            found.append(words.citation(note, block.begin, self._chars))
        return found

    def _end(self, document: dict[str, Any]) -> list[n.Event]:
        found: list[n.Event] = []
        delta = document.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            self._ended = True
            told = refusal(delta)
            if told is not None:
                found.append(n.RefusalDelta(text=told))
            end = finish(delta)
            if self._formatted and not self._calls and end.reason == "tools":
                end.reason = "stop"
            found.append(end)
        native = document.get("usage")
        if isinstance(native, dict):
            self._usage.update({k: v for k, v in native.items() if v is not None})
            counts = normalise(self._usage)
            if counts is not None:
                found.append(n.Totals(usage=counts))
        return found

    def _stop(self, document: dict[str, Any]) -> list[n.Event]:
        self._over = True
        return [n.Done()]

    def _failure(self, document: dict[str, Any]) -> list[n.Event]:
        self._over = True
        failure = faults.of(document)
        failure.message = failure.message or "the provider failed"
        return [failure]

    def _said(self, text: str, found: list[n.Event]) -> None:
        if text:
            self._chars += len(text)
            found.append(n.TextDelta(text=text))

    def _piece(self, block: _Block, piece: str, found: list[n.Event]) -> None:
        if block.kind == "format":
            self._said(piece, found)
        else:
            found.append(n.CallDelta(index=block.index, arguments=piece))

    def _seal(self, block: _Block, signature: str) -> n.ThinkingSeal:
        return n.ThinkingSeal(part=block.index, signature=signature, maker="anthropic")


_HANDLERS: dict[str, Any] = {
    "message_start": Reader._start,
    "content_block_start": Reader._open,
    "content_block_stop": Reader._close,
    "message_delta": Reader._end,
    "message_stop": Reader._stop,
    "error": Reader._failure,
}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
