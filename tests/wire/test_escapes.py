"""No way around the budgets: whatever a request or a tunnel calls the provider, it is metered.

The budget is used up before it begins: a call that is metered is refused (402), one that escaped
would reach the provider.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from tests.http_client import call
from tests.stack import stack
from tests.wire.forward import CHAT, far_away, proxied
from tests.wire.opened import opened, tunnel

PATH = "/v1/chat/completions"
SPENT = """
unknown_price: {input: $1, output: $1}
budgets: [{name: none, limit: "$0.000000001", window: month, hold: worst}]
"""
BOTH = '\n  openai: {dialect: openai, base_url: "SIM/v1", hosts: [api.openai.test]}\n'


async def test_the_budget_is_what_refuses(tmp_path: Path) -> None:
    """Without it the calls below would be answered."""
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:443") as client:
        await client.secure(found.trusting, "api.openai.test")
        assert (await client.call("POST", PATH, CHAT)).status == 200


# -- absolute-form ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.test",
        "http://API.OPENAI.TEST",
        "http://api.openai.test.",
        "http://api.openai.test:8080",
        "https://api.openai.test",
        "HTTPS://api.openai.test:443",
        "http://api.openai.test:00080",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        PATH,
        "//v1//chat/completions",
        "/v1/chat/completions/",
        "/V1/Chat/Completions",
        "/v1/chat%2Fcompletions",
        "/v1/%63hat/completions",
        "/v1/x/../chat/completions",
        "/v1/chat/completions;x=1",
    ],
)
async def test_absolute_form(tmp_path: Path, url: str, path: str) -> None:
    async with stack(tmp_path, SPENT, providers=BOTH) as proxy:
        answer = await proxied(proxy.port, "POST", url + path, CHAT)
        assert answer.status == 402, answer.body
        assert not proxy.sim.requests


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "127.9.9.9",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
    ],
)
async def test_a_providers_own_address(tmp_path: Path, host: str) -> None:
    """In absolute-form and through CONNECT, however it is written."""
    async with stack(tmp_path, SPENT, providers=BOTH) as proxy:
        port = proxy.sim.port
        answer = await proxied(proxy.port, "POST", f"http://{host}:{port}{PATH}", CHAT)
        assert answer.status in (402, 403), answer.body
        async with tunnel(proxy.port, f"{host}:{port}") as client:
            assert client.status in (403, 501, 502), client.status
        assert not proxy.sim.requests


@pytest.mark.parametrize(
    "target", ["http://api%2eopenai.test/x", "http://u@api.openai.test/x", "http://api.openai.test"]
)
async def test_odd_hosts_are_malformed_or_metered(tmp_path: Path, target: str) -> None:
    async with stack(tmp_path, SPENT, providers=BOTH) as proxy:
        answer = await call(proxy.port, "POST", target, CHAT, host="x")
        assert answer.status in (400, 402, 404)
        assert not proxy.sim.requests


# -- tunnels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "api.openai.test:443",
        "API.OpenAI.Test:443",
        "api.openai.test.:443",
        "api.openai.test:8443",
        "api.openai.test:80",
        "eu.api.openai.test.:443",
    ],
)
async def test_tunnels_by_name(tmp_path: Path, target: str) -> None:
    yaml = SPENT.replace("budgets", "#\nbudgets")
    async with opened(tmp_path, yaml) as found, tunnel(found.port, target) as client:
        if target.startswith("eu."):  # another host: where there is none
            assert client.status == 502
            return
        await client.secure(found.trusting, "api.openai.test")
        for host in ("api.openai.test", "claude.test", "elsewhere.test", f"127.0.0.1:{found.port}"):
            answer = await client.call("POST", PATH, CHAT, host=host)
            assert answer.status == 402, (host, answer.body)
        assert not found.far.requests


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"https://api.openai.test{PATH}", 402),
        (f"http://elsewhere.test{PATH}", 402),  # the tunnel's host counts
        (f"//api.openai.test{PATH}", 402),
        ("/metrics", 402),  # a provider's path, never our control plane
        ("/v1/config/reload", 402),
    ],
)
async def test_targets_within_a_tunnel(tmp_path: Path, target: str, status: int) -> None:
    async with (
        opened(tmp_path, SPENT) as found,
        tunnel(found.port, "api.openai.test:443") as client,
    ):
        await client.secure(found.trusting, "api.openai.test")
        answer = await client.call("POST", target, CHAT, host="other.test")
        assert answer.status == status, answer.body
        assert not found.far.requests
        assert found.proxy.runtime.metrics.reloads == 0


async def test_no_tunnel_within_a_tunnel(tmp_path: Path) -> None:
    async with (
        far_away() as other,
        opened(tmp_path) as found,
        tunnel(found.port, "api.openai.test:443") as client,
    ):
        await client.secure(found.trusting, "api.openai.test")
        answer = await client.call("CONNECT", f"127.0.0.1:{other.port}", host="x")
        assert (answer.status, answer.json()["error"]["code"]) == (501, "not_implemented")


@pytest.mark.parametrize("name", ["api.openai.test", "API.OPENAI.TEST", "api.openai.test."])
@pytest.mark.parametrize("size", [100_000, 16, 1])
async def test_a_tunnel_to_an_address_that_asks_for_a_provider(
    tmp_path: Path, name: str, size: int
) -> None:
    """The server name shows it, in however many pieces it comes."""
    async with opened(tmp_path, SPENT) as found:
        # The address of no provider: behind it one is served all the same.
        async with (
            far_away() as other,
            tunnel(found.port, f"127.0.0.1:{other.port}") as client,
        ):
            assert client.status == 200
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            found.trusting.check_hostname = False
            tls = found.trusting.wrap_bio(incoming, outgoing, server_hostname=name)
            done = False
            while not done:
                try:
                    tls.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    pass
                data = outgoing.read()
                for at in range(0, len(data), size):
                    client.writer.write(data[at : at + size])
                    await asyncio.sleep(0)
                if not done:
                    incoming.write(await client.reader.read(65536))
            body = json.dumps(CHAT).encode()
            request = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            tls.write(request.encode() + body)
            client.writer.write(outgoing.read())
            answer = b""
            while b"\r\n\r\n" not in answer:
                incoming.write(await client.reader.read(65536))
                with suppress(ssl.SSLWantReadError):
                    answer += tls.read(65536)
            assert answer.startswith(b"HTTP/1.1 402 ")
            assert not other.requests
        assert not found.far.requests


async def test_a_plain_tunnel_to_an_address_that_asks_for_a_provider(tmp_path: Path) -> None:
    async with opened(tmp_path, SPENT) as found, far_away() as other:
        for head in (f"POST {PATH}", f"POST http://api.openai.test{PATH}"):
            target, host = head.split()[1], "api.openai.test:80"
            async with tunnel(found.port, f"127.0.0.1:{other.port}") as client:
                assert client.status == 200
                answer = await client.call("POST", target, CHAT, host=host)
                assert answer.status == 402
        assert not other.requests and not found.far.requests


async def test_a_hidden_name_is_broken_off_where_there_is_no_ca(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, SPENT, names=[]) as found, far_away() as other:
        async with tunnel(found.port, f"127.0.0.1:{other.port}") as client:
            assert client.status == 200
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await client.secure(ssl.create_default_context(), "api.openai.test")
        async with tunnel(found.port, f"127.0.0.1:{other.port}") as client:
            answer = await client.call("POST", PATH, CHAT)
            assert answer.status == 501
        assert not other.requests
    assert sum("can only be read with a CA" in r.getMessage() for r in caplog.records) == 1


async def test_a_name_that_resolves_to_a_providers_address(tmp_path: Path) -> None:
    """/etc/hosts, or a public name of 127.0.0.1."""
    async with stack(tmp_path, SPENT, providers=BOTH) as proxy:
        permits = proxy.runtime.tunnels.permits
        port = proxy.sim.port
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"):
            assert not permits("innocent.test", address, port)
        assert permits("innocent.test", "127.0.0.1", port + 1)
        assert permits("innocent.test", "192.0.2.1", port)
