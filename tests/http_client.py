"""A plain HTTP/1.1 client over asyncio streams: tests see exactly what is on the wire."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """A complete answer. `broken`: the body ended without its terminator."""

    status: int
    raw_headers: list[tuple[str, str]]
    body: bytes
    broken: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers = dict(self.raw_headers)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def head(
    method: str, target: str, headers: dict[str, str] | None, length: int | None, host: str
) -> bytes:
    """A request head; `length` None writes none."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    given = {k.lower(): v for k, v in (headers or {}).items()}
    if length is not None and "content-length" not in given and "transfer-encoding" not in given:
        lines.append(f"content-length: {length}")
    lines += [f"{k}: {v}" for k, v in given.items() if k != "host"]
    if "host" in given:
        lines[1] = f"host: {given['host']}"
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def encode(body: Any) -> bytes:
    """Bytes stay, anything else is dumped as an SDK would."""
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    """Status and header fields, names as sent but lower case."""
    raw = await reader.readuntil(b"\r\n\r\n")
    lines = raw[:-4].decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in lines[1:]]
    return int(lines[0].split()[1]), [(k.lower(), v.strip()) for k, v in pairs]


async def read_body(
    reader: asyncio.StreamReader, headers: list[tuple[str, str]]
) -> tuple[bytes, bool]:
    """(body, broken)."""
    fields = dict(headers)
    if "content-length" in fields:
        need = int(fields["content-length"])
        try:
            return await reader.readexactly(need), False
        except asyncio.IncompleteReadError as error:
            return error.partial, True
    if fields.get("transfer-encoding") != "chunked":
        return await reader.read(), False
    parts = []
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                await reader.readuntil(b"\r\n")
                return b"".join(parts), False
            parts.append((await reader.readexactly(size + 2))[:-2])
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"".join(parts), True


async def call(
    port: int,
    method: str,
    target: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    timeout: float = 15.0,
    host: str = "127.0.0.1",
) -> Answer:
    """One request on a connection of its own."""
    data = encode(body)
    sent = {"content-type": "application/json", **(headers or {})} if data else headers
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            length = len(data) if data or method == "POST" else None
            writer.write(head(method, target, sent, length, host) + data)
            status, fields = await read_head(reader)
            while status in (100, 103):
                status, fields = await read_head(reader)
            if method == "HEAD" or status in (204, 304):
                return Answer(status, fields, b"")
            content, broken = await read_body(reader, fields)
            return Answer(status, fields, content, broken)
        finally:
            writer.close()
