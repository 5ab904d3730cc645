"""WebSocket frames (RFC 6455 section 5) as a watcher reads them: whole messages out of a stream.

Sans I/O, for the server's side (unmasked). It holds a bounded amount: of longer messages only the
end is found.
"""

from __future__ import annotations

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LONGEST = 1 << 20  # bytes of a message that are kept

# (opcode, payload; None: too long to be kept)
Message = tuple[int, "bytes | None"]


class Messages:
    """Feed bytes, get the messages that they complete. `broken`: it is no WebSocket."""

    __slots__ = ("_buffer", "_kept", "_kind", "_size", "_skip", "_tail", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0  # bytes of a frame that is not kept
        self._tail = False  # the frame skipped ends its message
        self._kind = 0  # of the message whose frames are coming; 0: none
        self._kept: list[bytes] = []
        self._size = 0
        self.broken = False

    @property
    def between(self) -> bool:
        """Neither within a frame nor within a message: one may be put in here."""
        return not (self._buffer or self._skip or self._kind or self.broken)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end within `data`."""
        found: list[Message] = []
        if self._skip:
            if len(data) < self._skip:
                self._skip -= len(data)
                return found
            data = data[self._skip :]
            self._skip = 0
            self._whole(found, self._tail)
        buffer = self._buffer
        buffer += data
        at = 0
        while not self.broken and (end := self._frame(at, found)) > at:
            at = end
        if self.broken:
            buffer.clear()
        else:
            del buffer[:at]
        return found

    def _frame(self, at: int, found: list[Message]) -> int:
        """Reads the frame at `at`; where the next one begins, or `at`: it is not all there."""
        buffer = self._buffer
        if len(buffer) - at < 2:
            return at
        first, size = buffer[at], buffer[at + 1]
        start = at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < start + width:
                return at
            size = int.from_bytes(buffer[start : start + width])
            start += width
        kind, last = first & 15, first >= 128
        control = kind >= CLOSE
        if first & 0x70 or (control and (size > 125 or not last)) or buffer[at + 1] >= 128:
            # A reserved bit, or a mask that no server uses: an extension, or no WebSocket.
            self.broken = True
            return at
        if not control and self._size + size > LONGEST:
            self._grow(kind, size)
            self._kept.clear()
            return self._skipped(start + size, last, found)
        if len(buffer) < start + size:
            return at
        payload = bytes(buffer[start : start + size])
        if control:
            found.append((kind, payload))
        else:
            self._grow(kind, size)
            self._kept.append(payload)
            self._whole(found, last)
        return start + size

    def _grow(self, kind: int, size: int) -> None:
        self._kind = kind or self._kind
        self._size += size

    def _skipped(self, end: int, last: bool, found: list[Message]) -> int:
        have = len(self._buffer)
        if end <= have:
            self._whole(found, last)
            return end
        self._skip, self._tail = end - have, last
        return have

    def _whole(self, found: list[Message], last: bool) -> None:
        if not last:
            return
        kept = None if self._size > LONGEST else b"".join(self._kept)
        found.append((self._kind, kept))
        self._kept.clear()
        self._kind = self._size = 0


def frame(kind: int, payload: bytes) -> bytes:
    """One unmasked frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((128 | kind, size)) + payload
    if size < 1 << 16:
        return bytes((128 | kind, 126)) + size.to_bytes(2) + payload
    return bytes((128 | kind, 127)) + size.to_bytes(8) + payload
