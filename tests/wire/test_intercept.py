"""HTTPS_PROXY: tunnels to providers are opened, and what is in them goes the road of every call."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import ssl
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded
from msgspec.structs import replace

from muxproxy.ca.authority import load, reissue
from muxproxy.headers import VIA
from muxproxy.proxy import Snapshot
from muxproxy.upstream import spec_from
from tests.http_client import head, read_body, read_head
from tests.wire.forward import CHAT, far_away
from tests.wire.opened import Opened, certificate, new_ca, opened, tunnel

_YEAR = datetime.timedelta(days=365)
PATH = "/v1/chat/completions"


async def test_a_call_in_a_tunnel_is_metered_like_any(tmp_path: Path) -> None:
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:443") as client:
        assert client.status == 200
        await client.secure(found.trusting, "api.openai.test")
        for _ in range(2):  # one connection serves more than one request
            answer = await client.call("POST", PATH, CHAT, {"authorization": "Bearer mine"})
            assert answer.status == 200
            receipt = await found.proxy.receipt(answer)
            assert (receipt.provider, receipt.end) == ("openai", "finished")
            assert receipt.usage is not None and receipt.usage.output > 0
        seen = found.far.requests[-1]
        assert json.loads(seen.body or b"") == CHAT
        assert seen.get("host") == "api.openai.test"
        assert seen.get("authorization") == "Bearer sk-openai"
        assert (seen.get("via") or "").startswith("1.1 muxproxy-")
        stats = found.proxy.runtime.door_stats()
        assert (stats["intercepted"], stats["tunnels"]) == (1, 0)


async def test_a_stream_in_a_tunnel_is_not_held_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:443") as client:
        await client.secure(found.trusting, "api.openai.test")
        body = json.dumps({**CHAT, "stream": True}).encode()
        fields = {"content-type": "application/json", "x-sim-lockstep": "k", "x-sim-tokens": "5"}
        client.writer.write(head("POST", PATH, fields, len(body), "api.openai.test") + body)
        assert (await read_head(client.reader))[0] == 200
        received = 0
        while size := int((await client.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await client.reader.readexactly(size + 2)
            received += 1
            found.far.ack("k", received)
        assert received > 5
        (receipt,) = await found.proxy.settled(1)
        assert receipt.stream and receipt.usage_source == "provider"


async def test_http_2_in_a_tunnel(tmp_path: Path) -> None:
    found: Opened
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:443") as client:
        found.trusting.set_alpn_protocols(["h2", "http/1.1"])
        await client.secure(found.trusting, "api.openai.test")
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "h2"
        conn = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        conn.initiate_connection()
        data = json.dumps(CHAT).encode()
        fields = [
            (":method", "POST"),
            (":path", PATH),
            (":scheme", "https"),
            (":authority", "claude.test"),  # the tunnel's host counts
            ("content-type", "application/json"),
        ]
        conn.send_headers(1, fields)
        conn.send_data(1, data, end_stream=True)
        client.writer.write(conn.data_to_send())
        status, answer, over = "", b"", False
        while not over:
            for event in conn.receive_data(await client.reader.read(65536)):
                if isinstance(event, ResponseReceived):
                    status = dict(event.headers or [])[":status"]  # type: ignore[index]
                elif isinstance(event, DataReceived):
                    answer += event.data or b""
                elif isinstance(event, StreamEnded):
                    over = True
            client.writer.write(conn.data_to_send())
        assert status == "200" and b"chat.completion" in answer
        (receipt,) = await found.proxy.settled(1)
        assert (receipt.provider, receipt.end) == ("openai", "finished")


async def test_plain_http_in_a_tunnel_is_metered_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:80") as client:
        answer = await client.call("POST", PATH, CHAT)
        assert (await found.proxy.receipt(answer)).provider == "openai"


async def test_a_client_that_does_not_wait_for_the_200(tmp_path: Path) -> None:
    async with opened(tmp_path) as found:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = found.trusting.wrap_bio(incoming, outgoing, server_hostname="api.openai.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(b"CONNECT api.openai.test:443 HTTP/1.1\r\nHost: x\r\n\r\n" + outgoing.read())
        async with asyncio.timeout(5):
            assert (await read_head(reader))[0] == 200
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    incoming.write(await reader.read(65536))
        body = json.dumps(CHAT).encode()
        fields = {"content-type": "application/json"}
        tls.write(head("POST", PATH, fields, len(body), "x") + body)
        writer.write(outgoing.read())
        (receipt,) = await found.proxy.settled(1)
        assert receipt.end in ("finished", "client_left")
        writer.close()


async def test_every_other_host_passes_unread(tmp_path: Path) -> None:
    context, authority = certificate("localhost")
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    async with (
        far_away(context) as other,
        opened(tmp_path) as found,
        tunnel(found.port, f"localhost:{other.port}") as client,
    ):
        assert client.status == 200
        await client.secure(theirs, "localhost")  # their certificate, not ours
        answer = await client.call("GET", "/inside", host="localhost")
        assert answer.json()["target"] == "/inside"
        assert not any(name.startswith("x-muxproxy") for name in answer.headers)
        assert [r.get("via") for r in other.requests] == [None]
        stats = found.proxy.runtime.door_stats()
        assert (stats["intercepted"], stats["tunnels"]) == (0, 1)
        assert await found.proxy.settled(0) == []


async def test_off_lets_all_tunnels_pass(tmp_path: Path) -> None:
    providers = '\n  openai: {dialect: openai, base_url: "https://localhost:PORT/v1", ca: CA}\n'
    async with opened(tmp_path, "intercept: off\n", providers=providers) as found:
        theirs = ssl.create_default_context(cafile=str(tmp_path / "upstream.pem"))
        async with tunnel(found.port, f"localhost:{found.far.port}") as client:
            assert client.status == 200
            await client.secure(theirs, "localhost")
            assert (await client.call("POST", PATH, CHAT)).status == 200
        assert await found.proxy.settled(0) == []


async def test_a_listed_host_of_no_provider_is_read_and_forwarded(tmp_path: Path) -> None:
    context, authority = certificate("files.example.test")
    authority.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    yaml = f"intercept: {{ca: {tmp_path}/ca, hosts: ['*.example.test']}}\n"
    async with far_away(context), opened(tmp_path, yaml, names=["example.test"]) as found:
        async with tunnel(found.port, "files.example.test:443") as client:
            await client.secure(found.trusting, "files.example.test")
            answer = await client.call("GET", "/x", host="files.example.test")
            # Read and sent on: but there is no such name.
            assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_connect")
        async with tunnel(found.port, "api.openai.test:443") as client:
            assert client.status == 501  # the CA does not cover the provider
            assert b"does not cover" in client.body


# -- no CA, another CA ------------------------------------------------------------------------


async def test_without_a_ca_it_is_a_501_until_there_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path, names=[]) as found:
        async with tunnel(found.port, "api.openai.test:443") as client:
            assert client.status == 501
            message = json.loads(client.body)["error"]["message"]
            assert "muxproxy ca" in message and "OPENAI_BASE_URL" in message
        folder, _ = new_ca(tmp_path / "ca", ["api.openai.test"])
        found.trusting.load_verify_locations(folder.cert)
        async with tunnel(found.port, "api.openai.test:443") as client:  # without a restart
            await client.secure(found.trusting, "api.openai.test")
            assert (await client.call("POST", PATH, CHAT)).status == 200


async def test_a_reissued_ca_serves_both_old_and_new_trust(tmp_path: Path) -> None:
    async with opened(tmp_path, names=["api.openai.test"]) as found:
        async with tunnel(found.port, "claude.test:443") as client:
            assert client.status == 501
        old = load(found.folder)
        assert old is not None
        reissue(found.folder, old, ["api.openai.test", "claude.test"], old.ends - 2 * _YEAR)
        fresh = ssl.create_default_context(cafile=str(found.folder.cert))
        async with tunnel(found.port, "claude.test:443") as client:
            await client.secure(fresh, "claude.test")
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(found.trusting, "api.openai.test")


async def test_a_client_that_does_not_trust_us_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as found:
        for _ in range(2):
            async with tunnel(found.port, "api.openai.test:443") as client:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await client.secure(ssl.create_default_context(), "api.openai.test")
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(found.trusting, "api.openai.test")
    told = [r.getMessage() for r in caplog.records if "refused our certificate" in r.getMessage()]
    assert len(told) == 1
    for word in ("api.openai.test", "muxproxy ca --env", "SSL_CERT_FILE"):
        assert word in told[0]


async def test_fail_open_lets_the_next_tunnel_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    providers = '\n  openai: {dialect: openai, base_url: "https://localhost:PORT/v1", ca: CA}\n'
    async with opened(tmp_path, providers=providers, intercept=", fail_open: [localhost]") as found:
        theirs = ssl.create_default_context(cafile=str(tmp_path / "upstream.pem"))
        target = f"localhost:{found.far.port}"
        async with tunnel(found.port, target) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.secure(theirs, "localhost")
        while not caplog.records:
            await asyncio.sleep(0.001)
        async with tunnel(found.port, target) as client:
            await client.secure(theirs, "localhost")
            answer = await client.call("POST", PATH, CHAT)
            assert answer.status == 200 and "x-muxproxy-id" not in answer.headers
    assert "neither metered" in caplog.records[-1].getMessage()


# -- keys -------------------------------------------------------------------------------------

KEYS = """
auth: {mode: keys}
keys: [{name: app, value: mux-app}]
"""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("given", "good"),
    [
        ("", False),
        (basic("mux-app", ""), True),
        (basic("x", "mux-app"), True),
        ("Bearer mux-app", True),
        (basic("x", "wrong"), False),
        ("Bearer wrong", False),
        ("Basic !!!", False),
    ],
)
async def test_tunnels_want_a_key_in_keys_mode(tmp_path: Path, given: str, good: bool) -> None:
    fields = f"Proxy-Authorization: {given}\r\n" if given else ""
    async with (
        opened(tmp_path, KEYS) as found,
        tunnel(found.port, "claude.test:443", fields) as client,
    ):
        if not good:
            assert (client.status, client.headers["proxy-authenticate"]) == (
                407,
                'Basic realm="muxproxy"',
            )
            assert b"proxy_unauthorized" in client.body
            return
        await client.secure(found.trusting, "claude.test")
        own = {"x-api-key": "sk-ant-mine", "proxy-authorization": "Bearer theirs"}
        body = {**CHAT, "max_tokens": 5}
        answer = await client.call("POST", "/v1/messages", body, own, "claude.test")
        assert answer.status == 200, answer.body
        assert (await found.proxy.receipt(answer)).caller == "app"
        (seen,) = found.far.requests
        assert seen.get("x-api-key") == "sk-ant-mine"  # its own provider's key passes
        assert seen.get("proxy-authorization") is None


async def test_absolute_form_wants_a_key_too(tmp_path: Path) -> None:
    async with opened(tmp_path, KEYS) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        body = json.dumps({**CHAT, "max_tokens": 5}).encode()
        own = {
            "content-type": "application/json",
            "x-api-key": "sk-ant-mine",
            "proxy-connection": "keep-alive",
        }
        for key, status in ((None, 407), (basic("mux-app", ""), 200)):
            fields = own if key is None else {**own, "proxy-authorization": key}
            target = "http://claude.test/v1/messages"
            writer.write(head("POST", target, fields, len(body), "claude.test") + body)
            got, found_fields = await read_head(reader)
            answer, _ = await read_body(reader, found_fields)
            assert got == status, answer
            assert ("proxy-authenticate" in dict(found_fields)) == (status == 407)
        writer.close()
        (seen,) = found.far.requests
        assert seen.get("x-api-key") == "sk-ant-mine"
        for gone in ("proxy-authorization", "proxy-connection"):
            assert seen.get(gone) is None


# -- circles ----------------------------------------------------------------------------------


async def test_our_own_connect_is_a_loop(tmp_path: Path) -> None:
    """HTTPS_PROXY was exported, and muxproxy started in the same shell."""
    async with opened(tmp_path) as found:
        snapshot: Snapshot = found.proxy.runtime.snapshot
        config = snapshot.services["openai"].config
        spec = spec_from(replace(config, proxy=f"http://127.0.0.1:{found.port}"), {})
        snapshot.services["openai"].origin = found.proxy.runtime.upstreams.origin(spec)
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(found.trusting, "api.openai.test")
            answer = await client.call("POST", PATH, CHAT)
            assert answer.status == 502
            assert "leads back here" in answer.json()["error"]["message"]
        assert found.proxy.runtime.door_stats()["intercepted"] == 1


async def test_a_request_that_comes_back_is_a_508(tmp_path: Path) -> None:
    async with opened(tmp_path) as found, tunnel(found.port, "api.openai.test:443") as client:
        await client.secure(found.trusting, "api.openai.test")
        via = f"1.0 corp, {VIA.decode()}, 1.1 other"
        answer = await client.call("POST", PATH, CHAT, {"via": via})
        assert (answer.status, answer.json()["error"]["code"]) == (508, "loop_detected")
        other = await client.call("POST", PATH, CHAT, {"via": "1.0 corp"})
        assert other.status == 200
        assert [v for n, v in found.far.requests[-1].headers if n.lower() == b"via"] == [
            b"1.0 corp",
            VIA,
        ]


async def test_a_new_key_is_taken_up_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as found:
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(found.trusting, "api.openai.test")
        new_ca(tmp_path / "ca", ["api.openai.test"])
        fresh = ssl.create_default_context(cafile=str(found.folder.cert))
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(fresh, "api.openai.test")
        async with tunnel(found.port, "api.openai.test:443") as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.secure(found.trusting, "api.openai.test")


async def test_a_reload_changes_what_is_opened(tmp_path: Path) -> None:
    async with opened(tmp_path, "intercept: off\n") as found:
        file = tmp_path / "muxproxy.yaml"
        async with tunnel(found.port, "api.openai.test:443") as client:
            assert client.status == 502  # passed on, to a name that does not exist
        file.write_text(
            file.read_text().replace("intercept: off", f"intercept: {{ca: {tmp_path}/ca}}")
        )
        await found.proxy.runtime.reload()
        async with tunnel(found.port, "api.openai.test:443") as client:
            await client.secure(found.trusting, "api.openai.test")
            assert (await client.call("POST", PATH, CHAT)).status == 200
        file.write_text(file.read_text().replace("api.openai.test/v1", "other.openai.test/v1"))
        await found.proxy.runtime.reload()
        async with tunnel(found.port, "other.openai.test:443") as client:
            assert client.status == 501 and b"does not cover" in client.body


async def test_many_tunnels_to_one_host_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as found:
        everyone = asyncio.Barrier(50)

        async def one() -> None:
            async with tunnel(found.port, "api.openai.test:443") as client:
                await everyone.wait()
                await client.secure(found.trusting, "api.openai.test")
                assert (await client.call("POST", PATH, CHAT)).status == 200

        await asyncio.gather(*(one() for _ in range(50)))
        receipts = await found.proxy.settled(50)
        assert {r.end for r in receipts} == {"finished"} and len(receipts) == 50
