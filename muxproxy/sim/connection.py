"""One client connection of the simulator: requests in, replies out, in order."""

import asyncio
from typing import Protocol, cast

from muxproxy.sim.http import BadRequest, Head, Reader, render_head
from muxproxy.sim.play import Lock, Player, Wheel
from muxproxy.sim.record import Recorded, Records
from muxproxy.sim.render import Reply
from muxproxy.sim.websocket import WebSocket, wanted

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# While a reply is being written, what the client sends ahead is left in the kernel beyond this.
_READ_AHEAD = 256 * 1024


class Host(Protocol):
    """What a connection needs of its server."""

    records: Records
    wheel: Wheel
    heads: dict[bytes, Head]
    connections: set["Connection"]

    def reply(self, head: Head, body: bytes) -> Reply: ...
    def control(self, head: Head, body: bytes) -> Reply: ...
    def lock(self, token: str) -> Lock: ...


class Connection(asyncio.Protocol):
    __slots__ = (
        "_ahead",
        "_head",
        "_host",
        "_number",
        "_player",
        "_reader",
        "_recorded",
        "_transport",
        "_websocket",
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reader = Reader(host.heads)
        self._head: Head | None = None
        self._player: Player | None = None
        self._recorded: Recorded | None = None
        self._websocket: WebSocket | None = None
        self._ahead = 0
        self._number = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        records = self._host.records
        records.connections += 1
        records.open += 1
        self._number = records.connections
        self._host.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._websocket is not None:
            self._websocket.feed(data)
            return
        self._reader.feed(data)
        if self._player is None:
            self._advance()
            return
        self._ahead += len(data)
        if self._ahead > _READ_AHEAD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        # A client that has said goodbye is gone: whoever cancels us closes its side of the socket.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        host = self._host
        host.connections.discard(self)
        host.records.open -= 1
        if self._player is not None:
            self._player.gone = True
            self._player = None
        if self._recorded is not None and not self._recorded.replied:
            self._recorded.closed_early = True
        host.records.changed()

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.paused = True

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    def abort(self) -> None:
        self._transport.abort()

    def _advance(self) -> None:
        try:
            self._take()
        except BadRequest as error:
            self._refuse(error)

    def _take(self) -> None:
        """Reads on until a request is complete or more bytes are needed."""
        while self._player is None and self._websocket is None and not self._transport.is_closing():
            head = self._head
            if head is None:
                head = self._reader.next_head()
                if head is None:
                    return
                self._begin(head)
            body = self._reader.next_body()
            if body is None:
                return
            self._head = None
            self._answer(head, body)

    def _begin(self, head: Head) -> None:
        self._head = head
        if not head.target.startswith("/sim/"):
            self._recorded = Recorded(head, self._number)
            self._host.records.add(self._recorded)
        if head.expects and not self._reader.pending:
            self._transport.write(_CONTINUE)

    def _answer(self, head: Head, body: bytes) -> None:
        host = self._host
        recorded = self._recorded
        if recorded is None:
            reply = host.control(head, body)
        else:
            host.records.completed(recorded, body)
            if wanted(head) and "status" not in dict(head.sim):
                self._websocket = WebSocket(head, self._transport, host.records.faults.append)
                return
            reply = host.reply(head, body)
        lock = host.lock(reply.lockstep) if reply.lockstep else None
        self._player = Player(self, self._transport, host.wheel, reply, lock)
        self._player.start()

    def played(self, end: str) -> None:
        """The player is through: keep the connection, or end it as the script says."""
        if end == "hang":
            return
        self._player = None
        if self._recorded is not None:
            self._recorded.replied = True
            self._recorded = None
            self._host.records.changed()
        if end == "keep":
            if self._ahead:
                self._ahead = 0
                self._transport.resume_reading()
            if self._reader.pending:
                # Not from here: a long pipeline would recurse through reader and player.
                asyncio.get_running_loop().call_soon(self._again)
        elif end == "reset":
            self._transport.abort()
        else:
            self._transport.close()

    def _again(self) -> None:
        if self._player is None and not self._transport.is_closing():
            self._advance()

    def _refuse(self, error: BadRequest) -> None:
        self._recorded = None  # it is we who hang up
        self._host.records.faults.append(f"malformed request: {error}")
        self._host.records.changed()
        text = f"{error}\n".encode("utf-8", "replace")
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Connection", b"close"),
        ]
        self._transport.write(render_head(error.status, headers) + text)
        self._transport.close()
