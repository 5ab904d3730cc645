"""A door on a real socket, a raw client, and apps that note what reached them."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from muxproxy.doors import Door, DoorLimits

BOUND = 5.0  # seconds until a wait counts as failed
SMALL = DoorLimits(max_body=1 << 20, linger=0.2)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes
    complete: bool = True


class Client:
    """Writes raw bytes and reads responses with a strict parser of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def trickle(self, data: bytes, size: int = 1) -> None:
        """Sends pieces such that each arrives by itself (the loop is shared)."""
        for at in range(0, len(data), size):
            self.writer.write(data[at : at + size])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def read(self, method: str = "GET") -> Answer:
        async with asyncio.timeout(BOUND):
            return await self._read(method)

    async def _read(self, method: str) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers: dict[str, str] = {}
        for text in lines:
            name, _, value = text.partition(b": ")
            key = name.decode().lower()
            assert key not in headers, key
            headers[key] = value.decode()
        answer = Answer(int(status), headers, b"", head)
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        try:
            if headers.get("transfer-encoding") == "chunked":
                assert "content-length" not in headers
                answer.body = await self._chunks()
            elif "content-length" in headers:
                answer.body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                assert headers["connection"] == "close"
                answer.body = await self.reader.read()
        except asyncio.IncompleteReadError as error:
            answer.body, answer.complete = error.partial, False
        return answer

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            try:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                piece = await self.reader.readexactly(size + 2)
            except asyncio.IncompleteReadError as error:
                raise asyncio.IncompleteReadError(body, None) from error
            assert piece[-2:] == b"\r\n"
            if not size:
                return body
            body += piece[:-2]

    async def closed(self) -> bool:
        """Waits for the door to close; True if nothing more came before that."""
        async with asyncio.timeout(BOUND):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    def reset(self) -> None:
        reset(self.writer)

    async def aclose(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(
    app: Any, limits: DoorLimits | None = None, address: str = "127.0.0.1:0", **options: Any
) -> AsyncIterator[Door]:
    tls = options.pop("tls", None)
    door = Door(app, limits, **options)
    await door.listen(address, tls)
    try:
        # pytest-timeout's signal is not seen while uvloop sleeps: the bound is the loop's.
        async with asyncio.timeout(4 * BOUND):
            yield door
    finally:
        async with asyncio.timeout(BOUND):
            await door.aclose()
            while door.open_connections:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def client_of(door: Door, **options: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, **options)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.aclose()


@dataclass
class Call:
    scope: dict[str, Any]
    body: bytes = b""
    complete: bool = False
    left: bool = False


@dataclass
class Echo:
    """Reads the whole body and answers with it, by the splice or by send."""

    splice: bool = True
    calls: list[Call] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope)
        self.calls.append(call)
        self.began.set()
        try:
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    call.left = True
                    return
                call.body += event["body"]
                if not event["more_body"]:
                    break
            call.complete = True
            headers = [(b"content-length", b"%d" % len(call.body)), (b"x-path", scope["raw_path"])]
            if self.splice and "muxproxy.splice" in scope["extensions"]:
                splice = scope["extensions"]["muxproxy.splice"]
                splice.start(200, headers)
                splice.write(call.body)
                splice.end()
            else:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": call.body})
        finally:
            self.over.set()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Gate:
    """Answers path /n only once released; notes the order of calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def gate(self, path: str) -> asyncio.Event:
        return self.gates.setdefault(path, asyncio.Event())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        await receive()
        await self.gate(scope["path"]).wait()
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        splice.write(scope["path"].encode())
        splice.end()


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop run until `condition` holds; fails after BOUND."""
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.001)


def request(
    method: str = "GET", path: str = "/", body: bytes | None = None, fields: str = ""
) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: a.example\r\n{fields}"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")
