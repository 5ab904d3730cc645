"""The tap: watches a provider's answer go by and never touches it.

Sans I/O. It chooses a framing once, by content type and first byte, undoes gzip, and feeds whole
events to the meter. Whatever the bytes are, it raises nothing and holds a bounded amount.
"""

from __future__ import annotations

import contextlib

import msgspec

from muxproxy.sse import BOM, Framer
from muxproxy.tap.events import UNREADABLE, mend
from muxproxy.tap.frames import AwsFrames, Document, Elements, Framing, Lines
from muxproxy.tap.inflate import Inflater, readable
from muxproxy.tap.meter import Meter

_BLANK = b" \t\r\n"
_MEDIA = (b"audio/", b"image/", b"video/", b"font/", b"multipart/")
_OPAQUE = (b"application/pdf", b"application/zip", b"text/html")
_LINES = (b"ndjson", b"stream+json", b"jsonl", b"jsonlines", b"json-seq")
_FIELDS = b"deir:"  # how a line of an event stream starts: data, event, id, retry, a comment


class Tap(Meter):
    """Observer of one answer. `feed` the body's bytes as they come, `finish` at its clean end.

    Results (see State): usage, usage_complete, usage_raw, terminal, finish_reason, error, model,
    delivered_chars, delivered_text(), tool_calls, events.
    """

    __slots__ = ("_blind", "_direct", "_framing", "_head", "_http", "_inflater", "_kind")

    def __init__(self, kind: bytes, inflater: Inflater | None, status: int, blind: bool) -> None:
        super().__init__()
        self._kind = kind  # content type, lower case, without parameters
        self._inflater = inflater
        self._http = status
        self._blind = blind  # nothing (more) to read here
        self._framing: Framing | None = None
        self._direct: Framing | None = None  # the same, once bytes may go straight to it
        self._head = b""  # blanks and a cut BOM before the first telling byte

    def feed(self, data: bytes) -> None:
        """Watches the next bytes of the body, as the provider sent them (transfer-decoded)."""
        direct = self._direct
        if direct is not None:
            for name, payload in direct.feed(data):
                self.event(name, payload)
        elif not self._blind:
            self._first_or_coded(data)

    def finish(self) -> None:
        """The body has ended cleanly. Later calls do nothing."""
        framing = self._framing
        if self._blind or framing is None:
            return
        self._blind = True
        self._direct = None
        last = framing.finish()
        for name, payload in last:
            self.event(name, payload)
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
            self._plain(data)
            if not self._blind:
                self._direct = self._framing
            return
        for plain in inflater.feed(data):
            self._plain(plain)
        if inflater.failed:
            self._blind = True

    def _plain(self, data: bytes) -> None:
        framing = self._framing
        if framing is None:
            head = self._head + data
            framing = self._choose(head)
            if framing is None:
                self._head = head if len(head) < 3 else BOM if BOM in head else b"\n"
                return
            self._framing = framing
            self._head = b""
            # OpenRouter sends blank lines before a JSON body.
            data = head if isinstance(framing, AwsFrames) else _start(head)
        if not self._blind:
            for name, payload in framing.feed(data):
                self.event(name, payload)

    def _choose(self, head: bytes) -> Framing | None:
        """The framing that the body's first byte calls for; None while only blanks were seen."""
        if b"eventstream" in self._kind or head.startswith(b"\0"):
            return AwsFrames()
        if len(head) < 3 and BOM.startswith(head):
            return None
        first = _start(head)[:1]
        if not first:
            return None
        if first == b"{":
            return Lines() if any(word in self._kind for word in _LINES) else Document()
        if first == b"[":
            return Elements()
        self._blind = first not in _FIELDS and b"event-stream" not in self._kind
        return Framer()


def _start(head: bytes) -> bytes:
    return head.lstrip(_BLANK).removeprefix(BOM).lstrip(_BLANK)


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
    kind = (content_type or b"").split(b";")[0].strip().lower()
    coding = readable(content_encoding)
    blind = coding is None or kind.startswith(_MEDIA) or kind in _OPAQUE
    return Tap(kind, Inflater(coding) if coding else None, status, blind)
