"""Who may call: the browser may not; and habits of clients that want an answer of their own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.http_client import call, encode, head, read_body, read_head
from tests.stack import stack
from tests.wire.forward import CHAT, CONTROL, INSIDE_OK, NAMED, far_away, proxied

# -- the browser is not a caller -------------------------------------------------------------

BROWSERS = {
    "rebound name": ({"host": "evil.test"}, 421),
    "rebound name and port": ({"host": "evil.test:8787"}, 421),
    "name that begins like ours": ({"host": "127.0.0.1.evil.test"}, 421),
    "foreign page": ({"origin": "https://evil.test"}, 403),
    "sandboxed page": ({"origin": "null"}, 403),
    "another port's page": ({"origin": "http://127.0.0.1:1"}, 403),
    "cross-site without origin": ({"sec-fetch-site": "cross-site"}, 403),
    "cross-site navigation": ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
}
ALLOWED = {
    "no browser": {},
    "localhost": {"host": "localhost"},
    "named host": {"host": "mux.test:99"},
    "named origin": {"origin": "https://app.test", "sec-fetch-site": "cross-site"},
    "address bar": {"sec-fetch-site": "none"},
    "same origin": {"host": "localhost:9", "origin": "http://localhost:9"},
}
NAMES = "hosts: [mux.test]\norigins: [https://app.test]\nadmin: 127.0.0.1:0\n"
BOTH_DOORS = pytest.mark.parametrize("door", ["main", "admin"])


@BOTH_DOORS
@pytest.mark.parametrize(("headers", "status"), BROWSERS.values(), ids=BROWSERS.keys())
async def test_web_pages_are_kept_out(
    tmp_path: Path, door: str, headers: dict[str, str], status: int
) -> None:
    async with stack(tmp_path, NAMES) as proxy:
        (admin,) = set(proxy.runtime.ports) - {proxy.port}
        port = proxy.port if door == "main" else admin
        for method, path, body in (
            ("POST", "/v1/chat/completions", CHAT),
            ("GET", "/v1/files", None),
            ("GET", "/health", None),
            ("GET", "/metrics", None),
            ("POST", "/v1/config/reload", {}),
        ):
            answer = await call(port, method, path, body, headers)
            assert answer.status == status, (path, answer.body)
            code = "misdirected_request" if status == 421 else "origin_not_allowed"
            assert answer.json()["error"]["code"] == code
        assert not proxy.sim.requests
        assert proxy.runtime.metrics.reloads == 0


@BOTH_DOORS
@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED.keys())
async def test_what_the_configuration_names_may_call(
    tmp_path: Path, door: str, headers: dict[str, str]
) -> None:
    async with stack(tmp_path, NAMES) as proxy:
        if door == "main":
            answer = await call(proxy.port, "POST", "/v1/chat/completions", CHAT, headers)
            assert answer.status == 200
            assert len(proxy.sim.requests) == 1
        else:
            (admin,) = set(proxy.runtime.ports) - {proxy.port}
            assert (await call(admin, "GET", "/v1/providers", None, headers)).status == 200


async def test_a_foreign_page_is_kept_out_in_absolute_form_too(tmp_path: Path) -> None:
    async with far_away() as other, stack(tmp_path, INSIDE_OK, providers=NAMED) as proxy:
        for url in ("http://api.openai.test/v1/chat/completions", f"{other.url}/x"):
            answer = await proxied(proxy.port, "POST", url, CHAT, origin="https://evil.test")
            assert answer.status == 403
        assert not proxy.sim.requests
        assert not other.requests


async def test_control_plane_writes_need_json(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        path = "/v1/config/reload"
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = await call(proxy.port, "POST", path, b"{}", {"content-type": kind})
            assert answer.status == 400, kind
        assert proxy.runtime.metrics.reloads == 0
        assert (await proxy.post(path, {})).status == 200
        assert proxy.runtime.metrics.reloads == 1


async def test_the_doors_do_not_do_each_others_work(tmp_path: Path) -> None:
    async with stack(tmp_path, NAMES) as proxy:
        (admin,) = set(proxy.runtime.ports) - {proxy.port}
        refused = await call(admin, "POST", "/v1/chat/completions", CHAT)
        assert refused.status == 404
        assert not proxy.sim.requests
        for path in CONTROL:  # they mean the provider here
            assert (await proxy.get(path)).json()["target"].endswith(path), path


# -- clients' habits -------------------------------------------------------------------------


async def test_a_websocket_upgrade_is_answered_426_and_the_client_posts_at_once(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path) as proxy, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        fields = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        writer.write(head("GET", "/v1/responses", fields, None, "localhost"))
        status, headers = await read_head(reader)
        body, _ = await read_body(reader, headers)
        assert status == 426
        assert json.loads(body)["error"]["code"] == "upgrade_required"
        assert "upgrade" in dict(headers)  # RFC 9110 section 15.5.22
        data = encode({"model": "gpt-4o-mini", "input": "hi", "stream": True})
        kind = {"content-type": "application/json"}
        if dict(headers).get("connection", "").lower() == "close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(head("POST", "/v1/responses", kind, len(data), "localhost") + data)
        status, headers = await read_head(reader)
        assert status == 200
        body, broken = await read_body(reader, headers)
        assert b"response.completed" in body
        assert not broken
        writer.close()


async def test_head_of_the_root_is_answered(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        answer = await call(proxy.port, "HEAD", "/")
        assert (answer.status, answer.body) == (200, b"")
        assert (await call(proxy.port, "GET", "/")).json()["name"] == "muxproxy"
        assert not proxy.sim.requests


async def test_an_unknown_provider_is_a_404(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post("/p/nobody/v1/chat/completions", CHAT)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")
