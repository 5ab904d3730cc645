"""muxproxy that opens tunnels to a provider over TLS, and clients that trust its CA."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from muxproxy.ca.authority import Authority, make
from muxproxy.ca.files import Folder
from muxproxy.sim.server import SimServer
from tests.http_client import Answer, encode, head, read_body, read_head
from tests.stack import Stack, stack
from tests.wire.forward import far_away

NAMES = ["api.openai.test", "claude.test", "localhost"]
PROVIDERS = """
  openai:
    dialect: openai
    base_url: https://api.openai.test/v1
    api_key: sk-openai
    connect_to: 127.0.0.1:PORT
    ca: CA
  anthropic:
    dialect: anthropic
    base_url: https://claude.test
    connect_to: 127.0.0.1:PORT
    ca: CA
"""


@dataclass
class Opened:
    """The running set. `far` is the provider, over TLS; `trusting` what a client has to know."""

    proxy: Stack
    far: SimServer
    trusting: ssl.SSLContext
    folder: Folder

    @property
    def port(self) -> int:
        return self.proxy.port


def certificate(*hosts: str) -> tuple[ssl.SSLContext, trustme.CA]:
    """What a simulated provider of these names shows, and who vouches for it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return context, authority


def new_ca(path: Path, names: list[str]) -> tuple[Folder, Authority]:
    """A CA in `path`."""
    folder = Folder(str(path))
    return folder, make(folder, names, datetime.datetime.now(datetime.UTC))


@asynccontextmanager
async def opened(
    tmp_path: Path,
    yaml: str = "",
    *,
    providers: str = PROVIDERS,
    names: list[str] | None = None,
    intercept: str = "",
    hosts: tuple[str, ...] = ("api.openai.test", "claude.test", "localhost"),
) -> AsyncIterator[Opened]:
    """`names` [] makes no CA; `intercept` are further keys of that mapping; `hosts` are what the
    provider's certificate is for."""
    context, authority = certificate(*hosts)
    authority.cert_pem.write_to_path(str(tmp_path / "upstream.pem"))
    folder = Folder(str(tmp_path / "ca"))
    trusting = ssl.create_default_context()
    if names != []:
        folder, _ = new_ca(tmp_path / "ca", names or NAMES)
        trusting.load_verify_locations(folder.cert)
    async with far_away(context) as far:
        text = providers.replace("PORT", str(far.port)).replace("CA", f"{tmp_path}/upstream.pem")
        section = f"intercept: {{ca: {folder.path}{intercept}}}\n"
        config = yaml if "intercept:" in yaml else section + yaml
        async with stack(tmp_path, config, providers=text) as proxy:
            yield Opened(proxy, far, trusting, folder)


class Tunnel:
    """A client's tunnel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def connect(self, target: str, fields: str = "") -> None:
        """Ask for it; a refusal's body is in `body`."""
        self.writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode())
        self.status, found = await read_head(self.reader)
        self.headers = dict(found)
        if self.status != 200:
            self.body, _ = await read_body(self.reader, found)

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        """TLS inside."""
        await self.writer.start_tls(context, server_hostname=name)

    async def call(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        host: str = "api.openai.test",
    ) -> Answer:
        """One request inside."""
        data = encode(body)
        fields = {"content-type": "application/json", **(headers or {})} if data else headers
        length = len(data) if data else None
        self.writer.write(head(method, target, fields, length, host) + data)
        status, found = await read_head(self.reader)
        if status == 101:
            return Answer(status, found, b"")
        content, broken = await read_body(self.reader, found)
        return Answer(status, found, content, broken)


@asynccontextmanager
async def tunnel(port: int, target: str, fields: str = "") -> AsyncIterator[Tunnel]:
    """A connection on which CONNECT was asked for."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        made = Tunnel(reader, writer)
        try:
            await made.connect(target, fields)
            yield made
        finally:
            writer.close()
            with suppress(OSError, asyncio.IncompleteReadError):
                await writer.wait_closed()
