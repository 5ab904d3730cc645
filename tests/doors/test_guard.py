"""The middleware for other servers: under plain hypercorn over sockets, and check() by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from muxproxy.doors import DoorLimits, guarded
from muxproxy.doors.guard import check
from muxproxy.doors.refusals import Refused
from tests.doors.harness import BOUND, Client, Echo, request
from tests.doors.malformed import HOSTS, Case

LIMITS = DoorLimits(max_body=1000)


@asynccontextmanager
async def hypercorn(app: Any) -> AsyncIterator[Client]:
    import socket

    config = Config()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    async with asyncio.timeout(BOUND):
        while True:
            try:
                client = Client(*await asyncio.open_connection("127.0.0.1", port))
                break
            except OSError:
                await asyncio.sleep(0.01)
    try:
        yield client
    finally:
        await client.aclose()
        stop.set()
        await server


async def test_the_same_app_answers_under_hypercorn() -> None:
    app = Echo()
    async with hypercorn(guarded(app, LIMITS)) as client:
        for body in (b"hello", b"world"):
            client.send(request("POST", "/a%20b", body))
            answer = await client.read()
            assert (answer.status, answer.body) == (200, body)
        assert app.calls[0].scope["path"] == "/a b"
        assert app.calls[0].scope["extensions"]["muxproxy.accepted"] > 0


@pytest.mark.parametrize("case", HOSTS, ids=lambda c: c.name)
async def test_host_strictness_under_hypercorn(case: Case) -> None:
    app = Echo()
    async with hypercorn(guarded(app, LIMITS)) as client:
        client.send(case.raw)
        assert (await client.read()).status == 400
        assert not app.calls


async def test_a_body_beyond_the_limit_under_hypercorn() -> None:
    app = Echo()
    async with hypercorn(guarded(app, LIMITS)) as client:
        client.send(request("POST", fields="Transfer-Encoding: chunked\r\n"))
        client.send(b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
        assert (await client.read()).status == 413
        assert app.calls[0].left and not app.calls[0].complete


def scope(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "method": "GET",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"a.example")],
    }
    return {**base, **changes}


HOST = (b"host", b"a.example")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "CONNECT"}, 501),
        ({"method": "get"}, 501),
        ({"raw_path": b""}, 400),
        ({"raw_path": b"*"}, 400),
        ({"raw_path": b"http://b/"}, 400),
        ({"raw_path": b"/\xc3"}, 400),
        ({"raw_path": b"/a b"}, 400),
        ({"raw_path": b"/a", "query_string": b"#"}, 400),
        ({"raw_path": b"/" + b"a" * 20000}, 414),
        ({"headers": []}, 400),
        ({"headers": [HOST, HOST]}, 400),
        ({"headers": [HOST, (b"content-length", b"1"), (b"content-length", b"1")]}, 400),
        ({"headers": [HOST, (b"content-length", b"x")]}, 400),
        ({"headers": [HOST, (b"content-length", b"1001")]}, 413),
        ({"headers": [HOST] * 300}, 431),
        ({"headers": [HOST, (b"x", b"y" * 70000)]}, 431),
    ],
)
def test_check_refuses(changes: dict[str, Any], status: int) -> None:
    with pytest.raises(Refused) as refused:
        check(scope(**changes), LIMITS)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "OPTIONS", "raw_path": b"*"},
        {"raw_path": b"/a%20b", "query_string": b"x=%20"},
    ],
)
def test_check_accepts(changes: dict[str, Any]) -> None:
    check(scope(**changes), LIMITS)


async def test_websockets_are_closed_and_lifespans_passed() -> None:
    sent: list[Any] = []
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await guarded(app, LIMITS)({"type": "websocket"}, receive, send)
    await guarded(app, LIMITS)({"type": "lifespan"}, receive, send)
    assert (seen, sent) == (["lifespan"], ["websocket.close"])
