"""What is known of one answer so far: usage, end, error, model, and how much was delivered.

Keeps a bounded sample of the text, for the case that no usage ever comes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from muxproxy.exchange import Usage
from muxproxy.tap import events as wire
from muxproxy.tap.usage import normalise

SAMPLE = 8 * 1024  # characters of text kept; beyond it every second block goes
WORD = 64  # characters kept of a finish reason or tier
FOLD = 64  # pieces joined into one block: a short str costs 50 bytes beside its text

# What a usage object is worth: a lower one never replaces a higher one.
METRICS, HINT, PLAIN = 1, 2, 3
# A code of an error event; anything longer or with blanks is a sentence, which may quote a prompt.
_CODE = re.compile(r"[\w.:/-]{1,64}\Z")


class State:
    """The running state of one answer; the reader on top of it knows the dialects."""

    __slots__ = (
        "_blocks",
        "_cached",
        "_kept",
        "_native",
        "_output_seen",
        "_pieces",
        "_raw",
        "_searches",
        "_stride",
        "_tier",
        "_turn",
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
        self._native: dict[str, Any] = {}
        self._raw: bytes | None = None  # the one usage object seen; None: several were merged
        self.rank = 0  # of the usage object held; 0: none was seen
        self._cached: Usage | None = None
        self._output_seen = False
        self._tier: str | None = None
        self._searches = 0
        self._pieces: list[str] = []
        self._blocks: list[str] = []
        self._kept = 0
        self._stride = 1
        self._turn = 0
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
            usage = normalise(self._native)
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
        return self._raw if self._raw is not None else msgspec.json.encode(self._native)

    def delivered_text(self) -> list[str]:
        """An even sample, at most about SAMPLE characters, of the text that was delivered."""
        return [*self._blocks, "".join(self._pieces)] if self._pieces else list(self._blocks)

    # -- small parts ------------------------------------------------------------------------

    def use(self, raw: Raw, rank: int, final: bool = True) -> None:
        """Takes a usage object: the last one wins, field by field; nothing is ever summed."""
        if rank < self.rank:
            return
        native = msgspec.json.decode(raw)
        if native.__class__ is not dict or not native:
            return
        if rank > self.rank:
            self.rank = rank
            self._native = native
            self._raw = bytes(raw)
        else:
            for key, value in native.items():
                if value is not None or key not in self._native:
                    self._native[key] = value
            self._raw = bytes(raw) if len(native) == len(self._native) else None
        self._cached = None
        if final:
            self._output_seen = True

    def searched(self) -> None:
        """A server-side search ran; it is billed by the call."""
        self._searches += 1
        self._cached = None

    def finish_with(self, reason: object) -> None:
        if reason or self.finish_reason is None:  # some relays put "" on every chunk
            self.finish_reason = str(reason)[:WORD]

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
        self.delivered_chars += len(text)
        self._pieces.append(text)
        if len(self._pieces) >= FOLD or len(text) > 256:
            self._fold()

    def _fold(self) -> None:
        block = "".join(self._pieces)
        self._pieces.clear()
        self._turn += 1
        if self._turn % self._stride:
            return
        self._blocks.append(block[:SAMPLE])
        self._kept += len(self._blocks[-1])
        while self._kept > SAMPLE and len(self._blocks) > 1:
            del self._blocks[::2]
            self._stride *= 2
            self._kept = sum(map(len, self._blocks))


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
