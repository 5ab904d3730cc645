"""A scripted server on a raw socket, and consumers that record. No HTTP parser of the product."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from muxproxy.upstream import Origin, OriginSpec, Reply, Request, UpstreamError, Upstreams

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE = 10  # seconds until a test is lost


class Conn:
    """One accepted connection."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """A request's head; raises IncompleteReadError when the client closes."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """A request with a content-length body."""
        head = await self.head()
        length = 0
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        return head + await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def trickle(self, data: bytes) -> None:
        """A byte at a time, each in a segment of its own."""
        for at in range(len(data)):
            await self.say(data[at : at + 1])
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Until the client has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


Script = Callable[[Conn], Awaitable[None]]


class Peer:
    """Runs `script` on each connection; `conns` are those accepted so far."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.conns: list[Conn] = []
        self.requests: list[bytes] = []
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.errors: list[BaseException] = []

    @classmethod
    async def start(
        cls,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        path: str | None = None,
    ) -> "Peer":
        self = cls(script)
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
        else:
            self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        conn = Conn(len(self.conns), reader, writer)
        self.conns.append(conn)
        try:
            await self.script(conn)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def aclose(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        assert not self.errors


def answers(*responses: bytes, close: bool = False) -> Script:
    """Answers each request on a connection with the next response, the last one repeatedly."""

    async def script(conn: Conn) -> None:
        at = 0
        while True:
            await conn.request()
            await conn.say(responses[min(at, len(responses) - 1)])
            at += 1
            if close and at == len(responses):
                conn.close()
                return

    return script


def spec_for(port: int = 80, **members: object) -> OriginSpec:
    base: dict[str, object] = {"scheme": "http", "host": "127.0.0.1", "port": port}
    return OriginSpec(**{**base, **members})  # type: ignore[arg-type]


class Ask:
    """A client with one origin, for tests that need no more."""

    def __init__(self, upstreams: Upstreams, origin: Origin) -> None:
        self.upstreams = upstreams
        self.origin = origin

    async def __call__(self, method: bytes = b"POST", **members: object) -> Reply:
        members.setdefault("target", b"/v1/x")
        members.setdefault("headers", [])
        request = Request(method=method, **members)  # type: ignore[arg-type]
        return await self.upstreams.send(self.origin, request)


class Taker:
    """A Consumer that records."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ended = False
        self.error: UpstreamError | None = None
        self.over = asyncio.Event()
        self.some = asyncio.Event()

    def data(self, data: bytes) -> None:
        assert data and not self.over.is_set()
        self.parts.append(data)
        self.some.set()

    def end(self) -> None:
        assert not self.over.is_set()
        self.ended = True
        self.over.set()

    def broken(self, error: UpstreamError) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    async def whole(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            await self.over.wait()
        return self.body
