"""The tap: watches a provider's answer go by and never touches it.

Sans I/O. It chooses a framing once, by content type and first byte, undoes gzip, and feeds whole
events to the meter. Whatever the bytes are, it raises nothing and holds a bounded amount.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache

import msgspec

from muxproxy.sse import BOM, Framer
from muxproxy.tap import answers
from muxproxy.tap.events import UNREADABLE, mend
from muxproxy.tap.frames import DOCUMENT, AwsFrames, Document, Elements, Framing, Lines
from muxproxy.tap.inflate import Inflater, readable
from muxproxy.tap.meter import Meter

_BLANK = b" \t\r\n"
_MEDIA = (b"audio/", b"image/", b"video/", b"font/", b"multipart/")
_OPAQUE = (b"application/pdf", b"application/zip", b"text/html")
_LINES = (b"ndjson", b"stream+json", b"jsonl", b"jsonlines", b"json-seq")
_FIELDS = b"deir:"  # how a line of an event stream starts: data, event, id, retry, a comment


class Kind(msgspec.Struct, frozen=True):
    """What content type and coding say about a body."""

    plain: bool  # it may be one JSON document, as it stands
    blind: bool  # nothing to read
    coding: bytes  # to undo; b"": none
    events: bool  # server-sent events
    frames: bool  # AWS's event stream
    lines: bool  # one JSON document per line


class Tap(Meter):
    """Observer of one answer. `feed` the body's bytes as they come, `finish` at its clean end.

    Results (see State): usage, usage_complete, usage_raw, terminal, finish_reason, error, model,
    delivered_chars, delivered_text(), tool_calls, events.
    """

    __slots__ = (
        "_blind", "_dialect", "_direct", "_framer", "_framing", "_fresh", "_head", "_http",
        "_inflater", "_kind", "_lead", "_whole",
    )  # fmt: skip

    def __init__(self, kind: Kind, dialect: str, status: int) -> None:
        Meter.__init__(self)
        self._kind = kind
        self._dialect = dialect
        self._http = status
        self._inflater = Inflater(kind.coding) if kind.coding else None
        self._blind = kind.blind  # nothing (more) to read here
        self._fresh = kind.plain  # the next bytes are the first, and may be a whole document
        self._whole: bytes | None = None  # they were
        self._framing: Framing | None = None
        self._direct: Framing | None = None  # the same, once bytes may go straight to it
        self._framer: Framer | None = None  # the same, if it is this one
        self._lead = b""  # what stood before the data of the last lone event: nothing, or its name
        self._head = b""  # blanks and a cut BOM before the first telling byte

    def feed(self, data: bytes) -> None:
        """Watches the next bytes of the body, as the provider sent them (transfer-decoded)."""
        framer = self._framer
        if framer is not None:
            # An event that is alone in its read, and begins as the last such one did, is decoded
            # as it stands: the decoder passes over the line ends behind it, and over nothing else.
            lead, _, rest = data.partition(b"data: ")
            alike = lead == self._lead and not framer.pending
            if alike and self.quick(rest):
                return
            event = framer.alone(data)
            if event is not None:
                self._lead = lead
                if alike:
                    self.event(event[0], event[1])
                else:
                    self.take(event[0], event[1])
                return
        elif self._fresh:
            self._fresh = False
            if data[:1] == b"{" and len(data) <= DOCUMENT:
                self._whole = data
                return
        direct = self._direct
        if direct is not None:
            for name, payload in direct.feed(data):
                self.take(name, payload)
        elif not self._blind:
            self._first_or_coded(data)

    def finish(self) -> None:
        """The body has ended cleanly. Later calls do nothing."""
        if self._blind:
            return
        whole, framing = self._whole, self._framing
        if whole is not None:
            if self._http < 400 and answers.read(self, self._dialect, whole):
                self._blind = True
                self.terminal = True
                return
            framing = self._document(whole)
        if framing is None:
            return
        self._blind = True
        self._direct = self._framer = None
        last = framing.finish()
        for name, payload in last:
            self.take(name, payload)
        if not isinstance(framing, Document):
            return
        self.terminal = framing.complete
        if self._http >= 400:
            self.error = self.error or "error"
        elif not self.rank and not self.delivered_chars:
            for _, payload in last:  # no usage: what was delivered will be counted
                with contextlib.suppress(*UNREADABLE):
                    self.collect(msgspec.json.decode(mend(payload)))

    def _first_or_coded(self, data: bytes) -> None:
        inflater = self._inflater
        if inflater is None:
            if self._whole is not None:
                self._direct = self._document(self._whole)
                self._direct.feed(data)
            else:
                self._plain(data)
                if not self._blind:
                    self._go_direct()
            return
        for plain in inflater.feed(data):
            self._plain(plain)
        if inflater.failed:
            self._blind = True

    def _document(self, begun: bytes) -> Document:
        """The framing of a JSON document that begins so."""
        self._whole = None
        document = self._framing = Document()
        document.feed(begun)
        return document

    def _go_direct(self) -> None:
        self._direct = framing = self._framing
        if isinstance(framing, Framer):
            self._framer = framing

    def _plain(self, data: bytes) -> None:
        framing = self._framing
        if framing is None:
            head = self._head + data
            framing = self._choose(head)
            if framing is None:
                self._head = head if len(head) < 3 else BOM if head.find(BOM) >= 0 else b"\n"
                return
            self._framing = framing
            self._head = b""
            # OpenRouter sends blank lines before a JSON body.
            data = head if isinstance(framing, AwsFrames) else _start(head)
        if not self._blind:
            for name, payload in framing.feed(data):
                self.take(name, payload)

    def _choose(self, head: bytes) -> Framing | None:
        """The framing that the body's first byte calls for; None while only blanks were seen."""
        kind = self._kind
        if kind.frames or head[:1] == b"\0":
            return AwsFrames()
        if len(head) < 3 and BOM.startswith(head):
            return None
        first = _start(head)[:1]
        if not first:
            return None
        if first == b"{":
            return Lines() if kind.lines else Document()
        if first == b"[":
            return Elements()
        self._blind = not kind.events and _FIELDS.find(first) < 0
        return Framer()


def _start(head: bytes) -> bytes:
    return head.lstrip(_BLANK).removeprefix(BOM).lstrip(_BLANK)


@lru_cache(maxsize=256)  # answers of one provider have the same few heads; a pure function
def _kind_of(content_type: bytes | None, content_encoding: bytes | None) -> Kind:
    kind = (content_type or b"").split(b";")[0].strip().lower()
    coding = readable(content_encoding)
    blind = coding is None or kind.startswith(_MEDIA) or kind in _OPAQUE
    frames = b"eventstream" in kind
    lines = any(word in kind for word in _LINES)
    return Kind(
        plain=not (blind or coding or frames or lines),
        blind=blind,
        coding=coding or b"",
        events=b"event-stream" in kind,
        frames=frames,
        lines=lines,
    )


def make_tap(
    endpoint: str,
    dialect: str,
    content_type: bytes | None,
    content_encoding: bytes | None,
    status: int,
) -> Tap:
    """A tap for an answer with this head; `dialect` and `endpoint` are the provider's.

    Both are hints only: a path that is passed through unread may answer in any shape.
    """
    return Tap(_kind_of(content_type, content_encoding), dialect, status)
