"""muxproxy as HTTP_PROXY: what comes in absolute-form."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from pathlib import Path

import pytest
import trustme

from tests.http_client import call, encode, head, read_body, read_head
from tests.stack import stack
from tests.wire.forward import CHAT, CONTROL, INSIDE_OK, NAMED, far_away, proxied

# -- a provider's host -----------------------------------------------------------------------


async def test_the_targets_host_picks_the_provider(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=NAMED) as proxy:
        for url, body, provider in (
            ("http://api.openai.test/v1/chat/completions", CHAT, "openai"),
            ("http://API.OpenAI.test./v1/chat/completions", CHAT, "openai"),
            ("http://api.openai.test:8080/v1/chat/completions", CHAT, "openai"),
            ("https://api.openai.test/v1/chat/completions", CHAT, "openai"),
            (f"{proxy.sim.url}/v1/chat/completions", CHAT, "openai"),
            ("http://claude.test/v1/messages", {**CHAT, "max_tokens": 9}, "anthropic"),
        ):
            answer = await proxied(proxy.port, "POST", url, body, authorization="Bearer mine")
            assert answer.status == 200, (url, answer.body)
            receipt = await proxy.receipt(answer)
            assert (receipt.provider, receipt.end) == (provider, "finished"), url
            assert receipt.usage is not None
            seen = proxy.sim.requests[-1]
            assert json.loads(seen.body or b"") == body
            assert seen.get("authorization") == f"Bearer sk-{provider}"
            assert seen.get("host") == f"127.0.0.1:{proxy.sim.port}"
        assert proxy.sim.requests[-1].target == "/a/v1/messages"


async def test_the_target_wins_over_the_host_field(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=NAMED) as proxy:
        url = "http://api.openai.test/v1/chat/completions"
        answer = await call(proxy.port, "POST", url, CHAT, host="claude.test")
        assert (await proxy.receipt(answer)).provider == "openai"


async def test_any_path_under_a_providers_host_passes_unread(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=NAMED) as proxy:
        url = "http://api.openai.test/v1/files?purpose=batch&limit=2"
        answer = await proxied(proxy.port, "GET", url)
        assert answer.json()["target"] == "/v1/files?purpose=batch&limit=2"
        assert (await proxy.receipt(answer)).endpoint == "other"
        models = await proxied(proxy.port, "GET", "http://api.openai.test/v1/models")
        assert models.json()["data"][0]["owned_by"] == "muxproxy-sim"


async def test_rules_hold_in_absolute_form_and_reroute_nothing(tmp_path: Path) -> None:
    rules = """
rules:
  - {name: blocked, when: {model: "*-preview"}, deny: "not here"}
  - {name: away, when: {model: "gpt-4o*"}, to: anthropic/claude-x, set: {max_tokens: 5}}
"""
    async with stack(tmp_path, rules, providers=NAMED) as proxy:
        url = "http://api.openai.test/v1/chat/completions"
        denied = await proxied(proxy.port, "POST", url, {**CHAT, "model": "x-preview"})
        assert (denied.status, denied.json()["error"]["code"]) == (403, "denied_by_rule")
        assert not proxy.sim.requests
        answer = await proxied(proxy.port, "POST", url, CHAT)
        receipt = await proxy.receipt(answer)
        assert (receipt.provider, receipt.model) == ("openai", "gpt-4o-mini")
        assert json.loads(proxy.sim.requests[0].body or b"") == {**CHAT, "max_tokens": 5}


async def test_a_plain_http_target_is_upgraded_to_the_providers_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with far_away(context) as secure:
        base = f"https://localhost:{secure.port}/v1"
        providers = f"""
  openai:   {{dialect: openai, base_url: "{base}", ca: "{tmp_path}/ca.pem", hosts: [api.test]}}
  distrust: {{dialect: openai, base_url: "{base}", hosts: [distrust.test]}}
"""
        async with stack(tmp_path, providers=providers) as proxy:
            for url in ("http://api.test", f"http://localhost:{secure.port}"):
                answer = await proxied(proxy.port, "POST", f"{url}/v1/chat/completions", CHAT)
                assert answer.status == 200, answer.body
                assert (await proxy.receipt(answer)).provider == "openai"
            assert [r.target for r in secure.requests] == ["/v1/chat/completions"] * 2
            url = "http://distrust.test/v1/chat/completions"
            failed = await proxied(proxy.port, "POST", url, CHAT)
            assert failed.json()["error"]["code"] == "upstream_connect"
            receipt = await proxy.receipt(failed)
            assert (receipt.end, receipt.cost) == ("error", 0)
            assert len(secure.requests) == 2


async def test_both_forms_on_one_connection(tmp_path: Path) -> None:
    async with stack(tmp_path, providers=NAMED) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        data = encode(CHAT)
        fields = {"content-type": "application/json"}
        for target in (
            "/v1/chat/completions",
            "http://api.openai.test/v1/chat/completions",
            "/v1/chat/completions",
        ):
            writer.write(head("POST", target, fields, len(data), "localhost") + data)
            status, headers = await read_head(reader)
            body, _ = await read_body(reader, headers)
            assert status == 200, body
        writer.close()
        assert len({json.dumps(r.target) for r in proxy.sim.requests}) == 1


# -- ourselves -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "mux.test"])
async def test_our_own_address_is_served_as_if_it_were_origin_form(
    tmp_path: Path, name: str
) -> None:
    yaml = "hosts: [mux.test]\nmodels:\n  small: [openai/gpt-4o-mini]\n"
    async with stack(tmp_path, yaml) as proxy:
        url = f"http://{name}:{proxy.port}/v1/chat/completions"
        answer = await proxied(proxy.port, "POST", url, {**CHAT, "model": "small"})
        assert answer.status == 200, answer.body
        assert answer.json()["router_metadata"]["selected_model"] == "gpt-4o-mini"
        url = f"http://{name}:{proxy.port}/p/mistral/v1/chat/completions"
        answer = await proxied(proxy.port, "POST", url, CHAT)
        assert (await proxy.receipt(answer)).provider == "mistral"


@pytest.mark.parametrize("admin", [None, "127.0.0.1:0"])
async def test_the_control_plane_is_never_reached_in_absolute_form(
    tmp_path: Path, admin: str | None
) -> None:
    yaml = f"hosts: [mux.test]\n{INSIDE_OK}" + (f"admin: {admin}\n" if admin else "")
    async with stack(tmp_path, yaml) as proxy:
        ports = set(proxy.runtime.ports)
        assert len(ports) == (2 if admin else 1)
        for port in ports:
            for name in ("127.0.0.1", "mux.test", "LOCALHOST"):
                for path in (*CONTROL, "/v1/models"):
                    answer = await proxied(proxy.port, "GET", f"http://{name}:{port}{path}")
                    # The provider (it echoes what it does not know), or nobody.
                    assert answer.status in (200, 403, 404), path
                    assert b"sim" in answer.body or b'"target"' in answer.body, (path, answer.body)
                url = f"http://{name}:{port}/v1/config/reload"
                await proxied(proxy.port, "POST", url, {})
        assert proxy.runtime.metrics.reloads == 0
        for port in ports - {proxy.port}:  # nor at the admin door itself
            for path in CONTROL:
                refused = await proxied(port, "GET", f"http://127.0.0.1:{port}{path}")
                assert refused.status == 404, path


# -- hosts of no provider --------------------------------------------------------------------


async def test_an_unknown_host_is_forwarded_as_any_proxy_would(tmp_path: Path) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK) as proxy:
        body = bytes(range(256)) * 3000
        answer = await proxied(
            proxy.port,
            "PUT",
            f"{other.url}/some/path%20here?a=1&b=%2F",
            body,
            authorization="Bearer theirs",
            cookie="a=b",
            connection="keep-alive, x-hop",
            x_hop="1",
            proxy_authorization="Basic eDp5",
            proxy_connection="keep-alive",
            x_muxproxy_run="mine",
            content_type="application/octet-stream",
        )
        seen = answer.json()
        assert (seen["method"], seen["target"]) == ("PUT", "/some/path%20here?a=1&b=%2F")
        assert seen["body_sha256"] == hashlib.sha256(body).hexdigest()
        names = {name: value for name, value in seen["headers"]}
        assert names["host"] == f"127.0.0.1:{other.port}"
        assert names["authorization"] == "Bearer theirs"  # for them, not for us
        assert names["cookie"] == "a=b"
        for gone in ("x-hop", "proxy-authorization", "proxy-connection", "x-muxproxy-run"):
            assert gone not in names
        assert not any(name.startswith("x-muxproxy-") for name in answer.headers)
        assert not proxy.sim.requests
        assert await proxy.settled(0) == []  # not an exchange: nothing in the books


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_requests_without_a_body_stay_without_one(tmp_path: Path, method: str) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK) as proxy:
        answer = await proxied(proxy.port, method, f"{other.url}/x")
        assert answer.status == 200
        (seen,) = other.requests
        assert (seen.method, seen.target, seen.length) == (method, "/x", 0)
        if method in ("GET", "HEAD"):
            assert seen.get("content-length") is None
            assert seen.get("transfer-encoding") is None


async def test_an_unknown_hosts_stream_is_not_held_back(tmp_path: Path) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK) as proxy:
        data = encode({**CHAT, "stream": True})
        fields = {"content-type": "application/json", "x-sim-lockstep": "k", "x-sim-tokens": "5"}
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        target = f"{other.url}/v1/chat/completions"
        async with asyncio.timeout(10):
            writer.write(head("POST", target, fields, len(data), "x") + data)
            assert (await read_head(reader))[0] == 200
            received = 0
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await reader.readexactly(size + 2)
                received += 1
                other.ack("k", received)
            writer.close()
        assert received > 5


@pytest.mark.parametrize("options", [{"x_sim_drop_after": "3"}, {"x_sim_reset_after": "3"}])
async def test_an_unknown_host_that_dies_breaks_the_answer(
    tmp_path: Path, options: dict[str, str]
) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK) as proxy:
        url = f"{other.url}/v1/chat/completions"
        answer = await proxied(proxy.port, "POST", url, {**CHAT, "stream": True}, **options)
        assert answer.broken


@pytest.mark.parametrize("when", ["0", "head", "3"])
async def test_a_client_that_leaves_an_unknown_host_is_told_to_it(
    tmp_path: Path, when: str
) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK) as proxy:
        data = encode({**CHAT, "stream": True})
        fields = {"content-type": "application/json", "x-sim-hang-after": when}
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(head("POST", f"{other.url}/v1/chat/completions", fields, len(data), "x"))
        writer.write(data)
        await other.until(lambda server: len(server.requests) == 1)
        if when == "3":
            await read_head(reader)
        writer.transport.abort()
        await other.until(lambda server: server.requests[0].closed_early, timeout=2.0)


async def test_an_unknown_host_that_does_not_answer_is_a_502(tmp_path: Path) -> None:
    async with far_away() as other:
        port = other.port
    async with stack(tmp_path, INSIDE_OK) as proxy:
        answer = await proxied(proxy.port, "GET", f"http://127.0.0.1:{port}/")
        assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_connect")
        head_only = await proxied(proxy.port, "HEAD", f"http://127.0.0.1:{port}/")
        assert head_only.status == 502


async def test_unknown_hosts_can_be_refused(tmp_path: Path) -> None:
    async with far_away() as other:
        yaml = "server: {unknown_hosts: refuse, inside_hosts: [127.0.0.1]}\n"
        async with stack(tmp_path, yaml) as proxy:
            answer = await proxied(proxy.port, "GET", f"{other.url}/x")
            assert (answer.status, answer.json()["error"]["code"]) == (403, "forbidden")
            assert "unknown_hosts" in answer.json()["error"]["message"]
            url = f"{proxy.sim.url}/v1/chat/completions"  # a provider's is still served
            assert (await proxied(proxy.port, "POST", url, CHAT)).status == 200
        assert not other.requests


# How one may write the addresses that only this machine reaches, or that hand out secrets.
INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "localhost",
    "LOCALHOST.",
    "app.localhost",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "2852039166",
    "169.254.169.254",
    "[fe80::1]",
    "[::ffff:169.254.169.254]",
    "metadata.google.internal",
    "100.100.100.200",
    "[fd00:ec2::254]",
]


@pytest.mark.parametrize("host", INSIDE)
async def test_inside_addresses_are_refused(tmp_path: Path, host: str) -> None:
    async with far_away() as other, stack(tmp_path) as proxy:
        answer = await proxied(proxy.port, "GET", f"http://{host}:{other.port}/secret")
        assert not other.requests
        assert (answer.status, answer.json()["error"]["code"]) == (403, "forbidden")
        assert "inside_hosts" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["localhost", "LocalHost"])
async def test_inside_hosts_names_the_exceptions(tmp_path: Path, name: str) -> None:
    async with far_away() as other:
        async with stack(tmp_path, f"server: {{inside_hosts: [{name}]}}\n") as proxy:
            url = f"http://localhost:{other.port}/x"
            assert (await proxied(proxy.port, "GET", url)).status == 200
            url = f"http://127.0.0.1:{other.port}/x"
            assert (await proxied(proxy.port, "GET", url)).status == 403
        assert len(other.requests) == 1
