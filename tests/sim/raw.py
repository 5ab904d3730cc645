"""A client of bare sockets, and a reader of replies that is the standard library's, not ours."""

import http.client
import io
import json
import socket
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 10.0  # a bound for failing, never waited for when all is well


class Response(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def get(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    def events(self) -> list[bytes]:
        """The server-sent events, whatever their line ends, without the empty ones."""
        return [e for e in self.body.replace(b"\r\n", b"\n").split(b"\n\n") if e]

    def data(self) -> list[Any]:
        """The JSON of the events' data lines; [DONE] as a string."""
        found = []
        for event in self.events():
            line = next(x for x in event.split(b"\n") if x.startswith(b"data: "))[6:]
            found.append("[DONE]" if line == b"[DONE]" else json.loads(line))
        return found


class _File:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self.data)


def parse(data: bytes, method: str = "POST") -> Response:
    """Raises http.client's exceptions when the bytes are no complete response."""
    response = http.client.HTTPResponse(_File(data), method=method)  # type: ignore[arg-type]
    response.begin()
    return Response(response.status, response.getheaders(), response.read())


def request(
    target: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "POST"
) -> bytes:
    """Request bytes; a body that is not bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: sim.test", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the peer closes; ConnectionResetError passes through."""
    found = []
    while data := sock.recv(65536):
        found.append(data)
    return b"".join(found)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    found = b""
    deadline = time.monotonic() + PATIENCE
    while not found.endswith(end):
        data = sock.recv(65536)
        assert data, f"closed after {found[-200:]!r}"
        assert time.monotonic() < deadline
        found += data
    return found


def read_response(sock: socket.socket) -> Response:
    """One response on a connection that stays open; its framing must tell where it ends."""
    data = b""
    while True:
        more = sock.recv(1 << 20)
        assert more, f"closed after {data[-200:]!r}"
        data += more
        if b"\r\n\r\n" not in data:
            continue
        try:
            found = parse(data)
        except (http.client.HTTPException, ValueError):
            continue  # the reader tells by an exception that bytes are missing
        # It is content with a last chunk that lacks its final line end.
        if found.get("transfer-encoding") != "chunked" or data.endswith(b"\r\n\r\n"):
            return found


def exchange(url: str, data: bytes) -> bytes:
    """Sends, reads to the end of the connection."""
    with connect(url) as sock:
        sock.sendall(data)
        return read_all(sock)


CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]}
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello there"}],
}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
RESPONSES = {"model": "gpt-4o", "input": "hello there"}


def ask(
    url: str,
    target: str = "/v1/chat/completions",
    body: Any = CHAT,
    *,
    method: str = "POST",
    **options: object,
) -> Response:
    """One request on a connection of its own; `options` become x-sim-* headers."""
    headers = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    data = request(target, body, headers | {"Connection": "close"}, method)
    return parse(exchange(url, data), method)
