"""Takes out the usage chunk that only we asked for, from an OpenAI chat stream.

We add `stream_options.include_usage` upstream so that the tap learns the usage; a caller who did
not ask must not see the extra chunk: the one event, after a finish_reason, whose `choices` is
empty and whose `usage` is an object. Nothing else is touched (`usage: null` keys stay, a usage
merged into a chunk that has choices stays), and for any partition of the stream the output is
the input without exactly that event.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from muxproxy.tap.events import UNREADABLE

HELD = 64 * 1024  # bytes held back at most; recorded usage chunks stay below 2 KiB

_FINISH = re.compile(rb'"finish_reason"[ \t]{0,8}:[ \t]{0,8}"')
_OVERLAP = 40  # bytes looked at again, for a finish_reason cut by two reads
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
# Once this shows, the event has something for the caller.
_CHOICE = re.compile(rb'"choices"\s*:\s*\[\s*[^\]\s]')
_START = re.compile(rb"data: ?\{")

_BEFORE, _WITHIN, _AT_START = 0, 1, 2  # no finish yet; inside an event that goes; at an event


class _Chunk(msgspec.Struct, gc=False):
    choices: list[Raw] | None = None
    usage: Raw = Raw()


_DECODER = msgspec.json.Decoder(_Chunk)


class UsageStripper:
    """`feed` the body as it comes and send on what it gives; `flush` at the end.

    Holds back nothing before a finish_reason was seen; after it only an event that could still
    be the usage chunk, so a provider that waits for the caller is never dead-locked.
    """

    __slots__ = ("_held", "_state", "_tail", "removed")

    def __init__(self) -> None:
        self._state = _BEFORE
        self._tail = b""  # the last bytes sent on, in which a cut token or blank line may begin
        self._held = b""
        self.removed = 0  # events taken out

    def feed(self, data: bytes) -> bytes:
        """What of the stream so far may go to the caller now."""
        if self._state == _BEFORE:
            return self._before(data)
        return self._after(data)

    def flush(self) -> bytes:
        """The bytes still held, at the stream's end; the usage chunk may lack its blank line."""
        held, self._held = self._held, b""
        if held and self._is_usage(held):
            self.removed += 1
            return b""
        return held

    def _before(self, data: bytes) -> bytes:
        window = self._tail + data if self._tail else data
        match = _FINISH.search(window)
        if match is None:
            # Mostly a read ends with an event, and no token spans two lines.
            self._tail = b"" if window[-1:] == b"\n" else window[-_OVERLAP:]
            return data
        self._state = _WITHIN
        start = match.end() - len(self._tail)  # > 0: what was sent before did not match
        self._tail = b""
        return data[:start] + self._after(data[start:])

    def _after(self, data: bytes) -> bytes:
        out: list[bytes] = []
        while data:
            if self._state == _WITHIN:
                tail = self._tail
                match = _BLANK_LINE.search(tail + data)
                if match is None:
                    self._tail = (tail + data)[-3:]
                    out.append(data)
                    break
                end = match.end() - len(tail)
                out.append(data[:end])
                data = data[end:]
                self._state = _AT_START
                self._tail = b""
            else:
                data = self._at_start(self._held + data, out)
        return b"".join(out)

    def _at_start(self, data: bytes, out: list[bytes]) -> bytes:
        """Decides about the event that `data` begins with; returns what is left to look at."""
        self._held = b""
        body = data.lstrip(b"\r\n")
        if len(body) < len(data):  # further blank lines
            out.append(data[: len(data) - len(body)])
            if not body:
                return b""
            data = body
        match = _BLANK_LINE.search(data)
        event = data if match is None else data[: match.end()]
        if not _could_be(event):
            self._state = _WITHIN
            return data
        if match is None:
            self._held = data
            return b""
        if self._is_usage(event):
            self.removed += 1
        else:
            out.append(event)
        return data[match.end() :]

    @staticmethod
    def _is_usage(event: bytes) -> bool:
        if not _START.match(event):
            return False
        try:
            chunk = _DECODER.decode(event[5:])
        except UNREADABLE:
            return False
        return chunk.choices == [] and bytes(chunk.usage).startswith(b"{")


def _could_be(event: bytes) -> bool:
    """The event, or its beginning, could be the usage chunk."""
    if len(event) > HELD:
        return False
    if len(event) < 7:
        return b"data: {".startswith(event) or b"data:{".startswith(event[:6])
    return _START.match(event) is not None and _CHOICE.search(event) is None
