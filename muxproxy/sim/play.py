"""Plays a reply onto a connection: pace, slices, back-pressure, lockstep and violent ends."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

from muxproxy.sim.render import STAMP_WIDTH, Reply, Stamped

_STAMP = b"%b%" + str(STAMP_WIDTH).encode() + b"d%b"
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Wheel:
    """Timers of 1 ms grain, one event-loop timer per due millisecond however many wait for it."""

    __slots__ = ("_loop", "_slots")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, tuple[asyncio.TimerHandle, list[Callable[[], None]]]] = {}

    def now(self) -> float:
        return self._loop.time()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Calls at loop time `when`, or just after."""
        slot = int(when * 1000) + 1
        found = self._slots.get(slot)
        if found is None:
            handle = self._loop.call_at(slot / 1000, self._fire, slot)
            self._slots[slot] = (handle, [call])
        else:
            found[1].append(call)

    def _fire(self, slot: int) -> None:
        for call in self._slots.pop(slot)[1]:
            call()

    def close(self) -> None:
        for handle, _ in self._slots.values():
            handle.cancel()
        self._slots.clear()


class Lock:
    """A lockstep: how many chunks the client says it has."""

    __slots__ = ("acked", "waiter")

    def __init__(self) -> None:
        self.acked = 0
        self.waiter: Callable[[], None] | None = None

    def ack(self, count: int) -> None:
        self.acked = max(self.acked, count)
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            waiter()


class Stage(Protocol):
    """Where a reply is played; told once when it is over."""

    def played(self, end: str) -> None: ...


class Player:
    """One reply on one transport. `paused` and `gone` are set by the connection."""

    __slots__ = (
        "_at",
        "_due",
        "_lock",
        "_loop",
        "_reply",
        "_slice",
        "_stage",
        "_transport",
        "_waiting",
        "_wheel",
        "gone",
        "paused",
        "sent",
    )

    def __init__(
        self,
        stage: Stage,
        transport: asyncio.Transport,
        wheel: Wheel,
        reply: Reply,
        lock: Lock | None,
    ) -> None:
        self._stage = stage
        self._transport = transport
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()
        self._reply = reply
        self._lock = lock
        self._at = 0
        self._slice = 0
        self._due = 0.0
        self._waiting = False
        self.paused = False
        self.gone = False
        self.sent = 0  # chunks written in full

    def start(self) -> None:
        reply = self._reply
        if reply.prelude:
            self._transport.write(reply.prelude)
        if reply.ttft:
            self._wheel.at(self._wheel.now() + reply.ttft, self._begin)
        else:
            self._begin()

    def resume(self) -> None:
        """The client's buffer has room again."""
        self.paused = False
        if self._waiting:
            self._waiting = False
            self._due = max(self._due, self._wheel.now())
            self._step()

    def _begin(self) -> None:
        if self._reply.pace:
            self._due = self._wheel.now()
        self._step()

    def _step(self) -> None:
        """Writes what is due, then leaves a call for the rest."""
        reply = self._reply
        frames = reply.frames
        while True:
            if self.gone or self._transport.is_closing():
                return
            if self._at >= len(frames):
                self._finish()
                return
            if self.paused:
                self._waiting = True
                return
            frame = frames[self._at]
            if isinstance(frame, bytes):
                self._transport.write(frame)
            elif isinstance(frame, Stamped):
                self._transport.write(_STAMP % (frame.before, time.monotonic_ns(), frame.after))
            elif not self._write_slice(frame):
                return
            self._at += 1
            self.sent = self._at
            if self._later(len(frames)):
                return

    def _later(self, count: int) -> bool:
        """True when the next frame has to wait; the waiting is arranged."""
        if self._lock is not None:
            if self._lock.acked < self._at and self._at < count:
                self._lock.waiter = self._step
                return True
        elif self._reply.pace and self._at < count:
            self._due += self._reply.pace
            self._wheel.at(self._due, self._step)
            return True
        return False

    def _write_slice(self, slices: tuple[bytes, ...]) -> bool:
        """One slice per turn of the loop, so that each is a socket write of its own. True when the
        last one was written."""
        if self._slice < len(slices):
            self._transport.write(slices[self._slice])
            self._slice += 1
        if self._slice < len(slices):
            self._loop.call_soon(self._step)
            return False
        self._slice = 0
        return True

    def _finish(self) -> None:
        end = self._reply.end
        if end == "reset":
            self._reset()
            return
        self._stage.played(end)

    def _reset(self) -> None:
        if self.gone:
            return
        # What was written must leave this process first: abort drops what is still buffered.
        if self._transport.get_write_buffer_size():
            self._wheel.at(self._wheel.now(), self._reset)
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._stage.played("reset")
