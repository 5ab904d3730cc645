"""CONNECT: refused where it would slip past the budgets, else a blind tunnel."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.http_client import head, read_body, read_head
from tests.stack import stack
from tests.wire.forward import NAMED, far_away

Connected = tuple[int, bytes, asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connect(port: int, target: str) -> AsyncIterator[Connected]:
    """(status, body of a refusal, the connection)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            status, headers = await read_head(reader)
            body = b"" if status == 200 else (await read_body(reader, headers))[0]
            yield status, body, reader, writer
    finally:
        writer.close()
        with suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "target",
    ["api.openai.test:443", "API.openai.TEST:443", "api.openai.test.:443", "api.openai.test:8443"],
)
async def test_connect_to_a_providers_host_is_refused_and_says_what_to_do(
    tmp_path: Path, target: str
) -> None:
    async with (
        stack(tmp_path, providers=NAMED) as proxy,
        connect(proxy.port, target) as (status, body, _, _),
    ):
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (501, "not_implemented")
        for word in ("base_url", "OPENAI_BASE_URL", "provider openai"):
            assert word in error["message"]


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "localhost",
        "127.0.0.2",
    ],
)
async def test_connect_to_a_providers_own_address_is_refused(tmp_path: Path, name: str) -> None:
    async with (
        stack(tmp_path) as proxy,
        connect(proxy.port, f"{name}:{proxy.sim.port}") as (status, _, _, _),
    ):
        assert status == 501


async def test_connect_to_another_host_is_a_blind_tunnel(tmp_path: Path) -> None:
    got = bytearray()
    done = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.extend(data)
            writer.write(data[::-1])
            await writer.drain()
        writer.close()
        done.set()

    far = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = far.sockets[0].getsockname()[1]
    try:
        async with (
            stack(tmp_path) as proxy,
            connect(proxy.port, f"127.0.0.1:{port}") as (status, _, reader, writer),
        ):
            assert status == 200
            for data in (b"\x16\x03\x01\x00\xff", b"POST / HTTP/1.1\r\n\r\n", bytes(range(256))):
                writer.write(data)
                assert await reader.readexactly(len(data)) == data[::-1]
            big = bytes(range(256)) * 4096
            writer.write(big)
            assert len(await reader.readexactly(len(big))) == len(big)
            writer.write_eof()
            assert await reader.read() == b""
            await done.wait()
            assert bytes(got).endswith(big)
    finally:
        far.close()


async def test_a_https_request_through_the_tunnel(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        far_away(context) as other,
        stack(tmp_path) as proxy,
        connect(proxy.port, f"localhost:{other.port}") as (status, _, reader, writer),
    ):
        assert status == 200
        await writer.start_tls(trusting, server_hostname="localhost")
        writer.write(head("GET", "/inside", None, None, "localhost"))
        _, headers = await read_head(reader)
        body, _ = await read_body(reader, headers)
        assert json.loads(body)["target"] == "/inside"


async def test_connect_can_be_refused(tmp_path: Path) -> None:
    async with (
        far_away() as other,
        stack(tmp_path, "server: {connect: refuse}\n") as proxy,
        connect(proxy.port, f"127.0.0.1:{other.port}") as (status, body, _, _),
    ):
        assert (status, json.loads(body)["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "[fe80::1]"])
async def test_connect_leads_to_no_metadata_service(tmp_path: Path, host: str) -> None:
    async with (
        stack(tmp_path) as proxy,
        connect(proxy.port, f"{host}:80") as (status, body, _, _),
    ):
        assert (status, json.loads(body)["error"]["code"]) == (403, "forbidden")
