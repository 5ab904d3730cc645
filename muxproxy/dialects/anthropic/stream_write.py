"""Neutral events as an Anthropic Messages stream.

Blocks are opened when their first piece comes and closed when another kind begins. message_delta
waits for the end, because usage may come after the finish reason. Both the `event:` and the
`data:` line are written: Anthropic's SDKs skip an event without its name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import fault, words
from muxproxy.dialects.anthropic.blocks_write import thought
from muxproxy.exchange import Usage

_encode = msgspec.json.encode
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
)
_START = (
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)
_CLOSE = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_FREE_START = b'{"type":"input_json_delta","partial_json":"{\\"input\\":\\""}'
_FREE_END = b'{"type":"input_json_delta","partial_json":"\\"}"}'
_TEXT_BLOCK = b'{"type":"text","text":""}'
_THINKING_BLOCK = b'{"type":"thinking","thinking":"","signature":""}'


class Writer:
    """One stream to one caller: choice 0, this dialect has no other. `estimate` is the input
    tokens to tell at the start, where the provider has not yet told them."""

    __slots__ = (
        "_block",
        "_calls",
        "_dead",
        "_estimate",
        "_finish",
        "_free",
        "_id",
        "_index",
        "_model",
        "_open",
        "_part",
        "_refused",
        "_renamed",
        "_started",
        "_totals",
    )

    def __init__(self, request: n.Request, id: str, created: int, estimate: int = 0) -> None:
        self._id = id
        self._model = request.model or ""
        self._estimate = estimate
        self._renamed = request.renamed
        self._started = False
        self._dead = False
        self._index = -1  # of the last block
        self._open: str | None = None  # the kind of the open block
        self._part = -1  # which thinking block is open
        self._calls: dict[int, int] = {}  # call -> block
        self._free = -1  # block of a custom call: its free text is told as {"input": ...}
        self._finish: n.Finish | None = None
        self._refused = False
        self._totals: Usage | None = None

    def write(self, event: n.Event) -> bytes:
        """The bytes for one event; sometimes none."""
        if self._dead or getattr(event, "choice", None):
            return b""
        kind = event.__class__
        if kind is n.TextDelta:
            return self._text(event.text)  # type: ignore[union-attr]
        if kind is n.CallDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        out: bytes = _HANDLERS[kind](self, event)
        return out

    def _start(self, event: n.Start) -> bytes:
        if self._started:
            return b""
        self._started = True
        if event.usage is not None:
            self._totals = event.usage
            usage = words.usage(event.usage)
            usage["output_tokens"] = max(1, usage["output_tokens"])
        else:
            usage = {
                "input_tokens": self._estimate,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 1,
            }
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": event.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % _encode(
            message
        )

    def _begin(self, kind: str, block: bytes) -> bytes:
        """Opens a block; what was open is closed."""
        head = b"" if self._started else self._start(n.Start())
        head += self._close()
        self._index += 1
        self._open = kind
        return head + _START % (self._index, block)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        if self._free == self._index:
            return _DELTA % (self._index, _FREE_END) + _CLOSE % self._index
        return _CLOSE % self._index

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        head = b"" if self._open == "text" else self._begin("text", _TEXT_BLOCK)
        delta = b'{"type":"text_delta","text":%b}' % _encode(text)
        return head + _DELTA % (self._index, delta)

    def _thinking(self, event: n.ThinkingDelta) -> bytes:
        if not event.text:
            return b""
        head = b""
        if self._open != "thinking" or self._part != event.part:
            head = self._begin("thinking", _THINKING_BLOCK)
            self._part = event.part
        delta = b'{"type":"thinking_delta","thinking":%b}' % _encode(event.text)
        return head + _DELTA % (self._index, delta)

    def _seal(self, event: n.ThinkingSeal) -> bytes:
        block = n.Thinking(
            signature=event.signature, sealed=event.sealed, id=event.id, maker=event.maker
        )
        if self._open == "thinking" and self._part == event.part:
            block.text = "seen"  # so that a proof becomes the signature, not a block of its own
            signature = thought(block).get("signature", "")
            delta = b'{"type":"signature_delta","signature":%b}' % _encode(signature)
            return (_DELTA % (self._index, delta) if signature else b"") + self._close()
        if event.sealed is None and event.part < 0:
            return b""
        return self._alone(thought(block), event)

    def _alone(self, block: dict[str, Any], event: n.ThinkingSeal) -> bytes:
        """A block that is nothing but its proof; a late proof of a closed block is lost."""
        if block["type"] == "redacted_thinking":
            return self._begin("sealed", _encode(block)) + self._close()
        if event.part <= self._part or not block["signature"]:
            return b""
        self._part = event.part
        delta = b'{"type":"signature_delta","signature":%b}' % _encode(block["signature"])
        out = self._begin("thinking", _THINKING_BLOCK)
        return out + _DELTA % (self._index, delta) + self._close()

    def _refusal(self, event: n.RefusalDelta) -> bytes:
        self._refused = True
        return self._text(event.text)

    def _call(self, event: n.CallStart) -> bytes:
        block = {
            "type": "tool_use",
            "id": ids.anthropic(event.id),
            "name": self._renamed.get(event.name, event.name),
            "input": {},
        }
        out = self._begin("tool_use", _encode(block))
        self._calls[event.index] = self._index
        if event.custom:
            self._free = self._index
            out += _DELTA % (self._index, _FREE_START)
        return out

    def _arguments(self, event: n.CallDelta) -> bytes:
        # A piece for an earlier call is told by that call's index: accumulators go by it.
        block = self._calls.get(event.index)
        if block is None or not event.arguments:
            return b""
        piece = event.arguments
        if block == self._free:
            piece = _encode(piece)[1:-1].decode()  # text within a JSON string
        delta = b'{"type":"input_json_delta","partial_json":%b}' % _encode(piece)
        return _DELTA % (block, delta)

    def _citation(self, event: n.Citation) -> bytes:
        if event.url is None or self._open != "text":
            return b""
        delta = {"type": "citations_delta", "citation": words.located(event)}
        return _DELTA % (self._index, _encode(delta))

    def _media(self, event: n.MediaDelta) -> bytes:
        return b""  # this dialect's answers have neither images nor sound

    def _finished(self, event: n.Finish) -> bytes:
        if event.reason == "error":
            return self._failure(faults.ended(event))
        self._finish = event
        return self._close()

    def _total(self, event: n.Totals) -> bytes:
        self._totals = event.usage
        return b""

    def _done(self, event: n.Done) -> bytes:
        self._dead = True
        out = b"" if self._started else self._start(n.Start())
        end = self._finish or n.Finish(reason="tools" if self._calls else "stop")
        reason = "filter" if self._refused and end.reason == "stop" else end.reason
        usage = words.usage(self._totals)
        usage.pop("cache_creation", None)  # told at the start only
        usage.pop("service_tier", None)
        if self._totals is None:
            usage["input_tokens"] = self._estimate
        body = {
            "type": "message_delta",
            "delta": {
                "stop_reason": words.STOPS[reason],
                "stop_sequence": end.stop_sequence,
            },
            "usage": usage,
        }
        out += self._close()
        return (
            b"%bevent: message_delta\ndata: %b\n\nevent: message_stop\n"
            b'data: {"type":"message_stop"}\n\n' % (out, _encode(body))
        )

    def _failure(self, event: n.Failure) -> bytes:
        self._dead = True
        return b"event: error\ndata: %b\n\n" % _encode(fault.write(event)[1])


_HANDLERS: dict[type, Any] = {
    n.Start: Writer._start,
    n.ThinkingDelta: Writer._thinking,
    n.ThinkingSeal: Writer._seal,
    n.RefusalDelta: Writer._refusal,
    n.CallStart: Writer._call,
    n.MediaDelta: Writer._media,
    n.Citation: Writer._citation,
    n.Finish: Writer._finished,
    n.Totals: Writer._total,
    n.Done: Writer._done,
    n.Failure: Writer._failure,
}
