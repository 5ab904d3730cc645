"""What is known of one answer so far: usage, end, error, model, and how much was delivered."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from muxproxy.dialects.usage import normalise
from muxproxy.exchange import Usage
from muxproxy.tap import events as wire
from muxproxy.tap.sample import FOLD, LONG, Sample
from muxproxy.tap.told import Told, covers, merged

UNMERGED = 4  # usage objects kept apart until somebody asks for their union
WORD = 64  # characters kept of a finish reason or tier

# What a usage object is worth: a lower one never replaces a higher one.
METRICS, HINT, PLAIN = 1, 2, 3
# A code of an error event; anything longer or with blanks is a sentence, which may quote a prompt.
_CODE = re.compile(r"[\w.:/-]{1,64}\Z")


class State:
    """The running state of one answer; the reader on top of it knows the dialects."""

    __slots__ = (
        "_cached",
        "_native",
        "_output_seen",
        "_pieces",
        "_raws",
        "_sample",
        "_searches",
        "_tier",
        "_told",
        "delivered_chars",
        "error",
        "events",
        "finish_reason",
        "hot",
        "model",
        "rank",
        "reasoned",
        "responses",
        "terminal",
        "tool_calls",
    )

    def __init__(self) -> None:
        self.hot = 0  # the reader's: which shape to try first
        self._told: Told | None = None  # the usage object seen, where a typed reader knew it
        self._raws: list[bytes] = []  # as the provider sent it; several: they make it together
        self._native: dict[str, Any] = {}  # the same of objects that no typed reader knew
        self.rank = 0  # of the usage object held; 0: none was seen
        self._cached: Usage | None = None
        self._output_seen = False
        self._tier: str | None = None
        self._searches = 0
        self._pieces: list[str] = []  # text not yet given to the sample
        self._sample: Sample | None = None  # of the text, for the case that no usage ever comes
        self.events = 0  # events or documents read
        self.terminal = False  # the dialect's own end marker was seen
        self.finish_reason: str | None = None  # in the provider's words
        self.error: str | None = None  # type or code of an error; never its text
        self.model: str | None = None  # as the provider reported it
        self.delivered_chars = 0  # characters of text, visible reasoning and tool arguments
        self.tool_calls = 0
        self.responses = False  # in the events of OpenAI's Responses API
        self.reasoned = False  # reasoning text was among what was delivered

    # -- what was found ---------------------------------------------------------------------

    @property
    def usage(self) -> Usage | None:
        """The usage as known so far; None when the provider has told none.

        Before `usage_complete` only the input side is right.
        """
        if self._cached is None and self.rank:
            usage = None if self._told is None else self._told.usage()
            if usage is None:
                usage = normalise(self._union())
            if usage is not None:
                usage.tier = usage.tier or self._tier
                if usage.requests is None and self._searches:
                    usage.requests = self._searches
            self._cached = usage
        return self._cached

    @property
    def usage_complete(self) -> bool:
        """The output side was reported too (Anthropic tells it at the end only)."""
        return self._output_seen or (self.terminal and self.rank > 0)

    @property
    def usage_raw(self) -> bytes | None:
        """The provider's usage object: its own bytes, or the field-by-field union of several."""
        if not self.rank:
            return None
        raws = self._raws
        return raws[0] if len(raws) == 1 else msgspec.json.encode(self._union())

    def delivered_text(self) -> list[str]:
        """An even sample, bounded in size, of the text that was delivered."""
        blocks = [] if self._sample is None else list(self._sample.blocks)
        return [*blocks, "".join(self._pieces)] if self._pieces else blocks

    # -- small parts ------------------------------------------------------------------------

    def use(
        self,
        raw: Raw,
        rank: int,
        final: bool = True,
        reader: msgspec.json.Decoder[Any] | None = None,
    ) -> None:
        """Takes a usage object: the last one wins, field by field; nothing is ever summed.

        `reader` is one of `told`'s, tried first.
        """
        if rank < self.rank:
            return
        if reader is None or not self._take(raw, rank, reader):
            native = msgspec.json.decode(raw)
            if native.__class__ is not dict or not native:
                return
            self._merge(native, raw, rank)
        self._cached = None
        if final:
            self._output_seen = True

    def _take(self, raw: Raw, rank: int, reader: msgspec.json.Decoder[Any]) -> bool:
        """Holds `raw` as read by `reader`; False when it, or what came before, needs the dict."""
        before = self._told if rank == self.rank else None
        if before is None and rank == self.rank:
            return False
        try:  # `suppress` would cost more than the decoding
            told: Told | None = reader.decode(raw)
        except wire.UNREADABLE:
            return False
        raws = [bytes(raw)]
        if before is not None and told is not None and not covers(told, before):
            told = merged(before, told)
            raws = self._raws + raws
            if told is None or len(raws) > UNMERGED:
                return False
        self.rank, self._told, self._raws = rank, told, raws
        return True

    def _merge(self, native: dict[str, Any], raw: Raw, rank: int) -> None:
        held = self._union() if rank == self.rank else {}
        _update(held, native)
        self.rank, self._told, self._native = rank, None, held
        self._raws = [bytes(raw)] if len(native) == len(held) else []

    def _union(self) -> dict[str, Any]:
        if self._told is None:
            return self._native
        native: dict[str, Any] = {}
        for raw in self._raws:
            _update(native, msgspec.json.decode(raw))
        return native

    def searched(self) -> None:
        """A server-side search ran; it is billed by the call."""
        self._searches += 1
        self._cached = None

    def finish_with(self, reason: object) -> None:
        if reason or self.finish_reason is None:  # some relays put "" on every chunk
            self.finish_reason = str(reason)[:WORD]

    def end_with(self, status: object, details: object) -> None:
        """The status of a Responses answer, and why it is incomplete."""
        if status == "incomplete" and isinstance(details, dict) and details.get("reason"):
            status = f"incomplete:{details['reason']}"
        if status:
            self.finish_with(status)

    def set_tier(self, tier: object) -> None:
        if isinstance(tier, str) and len(tier) <= WORD and tier != self._tier:
            self._tier = tier
            self._cached = None

    def fail(self, name: bytes, event: wire.Anything) -> None:
        if self.error is not None:
            return
        if name.startswith(b"!"):
            self.error = _word(name[1:].decode("latin-1")) or "error"
        elif event.error.__class__ is dict:
            self.error = code_of(event.error)
        else:
            self.error = _word(event.code) or "error"

    def name_tool(self, item: wire.Named) -> None:
        kind = item.type
        if isinstance(kind, str) and isinstance(item.name, str) and "result" not in kind:
            self.tool_calls += 1
            self.text(item.name)

    def collect(self, value: object) -> None:
        texts: list[str] = []
        self.tool_calls += wire.collect(value, texts)
        for text in texts:
            self.text(text)

    def text(self, text: object) -> None:
        if text.__class__ is not str:
            self.collect(text)  # Mistral's lists of parts
            return
        size = len(text)
        self.delivered_chars += size
        pieces = self._pieces
        pieces.append(text)
        if size > LONG or len(pieces) >= FOLD:
            if self._sample is None:
                self._sample = Sample()
            self._sample.add("".join(pieces))
            pieces.clear()


def _update(held: dict[str, Any], native: dict[str, Any]) -> None:
    """Takes over every member of `native` that says something, or is new."""
    for key, value in native.items():
        if value is not None or key not in held:
            held[key] = value


def code_of(error: object) -> str:
    """A word for an error object: its code or type, the more telling first; never its message."""
    if isinstance(error, dict):
        for key in ("code", "type", "status", "Code", "__type"):
            value = error.get(key)
            if isinstance(value, str) and (word := _word(value)):
                return word
        if isinstance(error.get("code"), int):
            return str(error["code"])
        inner = error.get("error")
        if isinstance(inner, dict):
            return code_of(inner)
    return "error"


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _CODE.match(value) else None
