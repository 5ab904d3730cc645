"""Server-sent events, sans I/O: bytes in as the socket cuts them, whole events out.

Follows the WHATWG event-stream grammar (LF, CRLF and CR line ends, mixed; a BOM; comments;
`data:` with and without a space; several data lines) and departs from it once: an event at the
end of the stream that lacks its blank line is delivered by `finish()`, as providers leave it
out. Lines are cut at those three line ends only, never at U+2028, U+0085 or a form feed.

Never holds more than `limit` bytes: a larger event is dropped whole and counted in `skipped`.
"""

from __future__ import annotations

LIMIT = 8 * 1024 * 1024  # bytes of one unfinished event; recorded events stay below 1 MiB
BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]  # (event name or b"", data; several data lines joined by LF)


class Framer:
    """Cuts one stream into events. Any partition of the same bytes gives the same events."""

    __slots__ = ("_after_cr", "_begun", "_limit", "_skipping", "pending", "skipped")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self.pending = bytearray()  # the unfinished event, line ends already LF; mostly none
        self._after_cr = False  # the last byte seen was a CR, taken as a line end
        self._skipping = False  # inside an event that outgrew the limit
        self._begun = False  # the first event, which may follow a BOM, is behind us
        self.skipped = 0  # events dropped because they outgrew the limit

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, in order; mostly one."""
        if (event := self.alone(data)) is not None:
            return [event]
        if 13 in data or self._after_cr:
            data = self._line_feeds(data)
        return self._cut(data)

    def alone(self, data: bytes) -> Event | None:
        """The event, when `data` is exactly one and nothing is pending; None: `feed` it.

        Most reads are one event, so this path is kept short: slices and byte numbers, because
        `startswith` and `b"..." in data` cost several times as much.
        """
        end = -2 if data[-2:] == b"\n\n" else -4
        if self.pending or (end == -4 and data[-4:] != b"\r\n\r\n") or len(data) > self._limit:
            return None
        name = b""
        if data[:6] == b"data: ":
            payload = data[6:end]
        elif data[:7] == b"event: ":
            name, _, line = data[7:end].partition(b"\n")
            if line[:6] != b"data: " or 13 in name:
                return None
            payload = line[6:]
        else:
            return None
        if 10 in payload or 13 in payload:
            return None
        self._begun = True
        self._after_cr = False
        return name, payload

    def finish(self) -> list[Event]:
        """The last event, when the stream ended without the blank line behind it."""
        if self._skipping or not self.pending:
            return []
        block = bytes(self.pending)
        self.pending.clear()
        event = self._read(block)
        return [event] if event else []

    def _line_feeds(self, data: bytes) -> bytes:
        """`data` with every line end as LF; a CRLF cut between two reads is one line end."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        elif not data:
            return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _cut(self, data: bytes) -> list[Event]:
        tail = self.pending
        if tail:
            joined = tail[-1] == 10 and data.startswith(b"\n")
            if not joined and b"\n\n" not in data:
                self._keep(data)
                return []
            data = bytes(tail) + data
            tail.clear()
        *blocks, rest = data.split(b"\n\n")
        events: list[Event] = []
        for block in blocks:
            if self._skipping:  # this block is the end of the event that outgrew the limit
                self._skipping = False
                continue
            if len(block) > self._limit:
                self.skipped += 1
            elif event := self._read(block):
                events.append(event)
        if rest:
            self._keep(rest)
        return events

    def _keep(self, rest: bytes) -> None:
        tail = self.pending
        tail += rest
        if self._skipping:
            del tail[:-1]  # only a line end can matter
        elif len(tail) - (tail[-1] == 10) > self._limit:  # a last LF may belong to the blank line
            self._skipping = True
            self.skipped += 1
            del tail[:-1]

    def _read(self, block: bytes) -> Event | None:
        """The event that the lines of `block` spell; None for comments alone."""
        if not self._begun:
            self._begun = True
            block = block.removeprefix(BOM)
        if block.startswith(b"data: ") and b"\n" not in block:
            return b"", block[6:]
        name = b""
        data: bytes | None = None
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                data = value if data is None else data + b"\n" + value
            elif line.startswith(b"event:"):
                name = line[7:] if line.startswith(b"event: ") else line[6:]
            elif line == b"data":
                data = b"" if data is None else data + b"\n"
        return None if data is None else (name, data)
