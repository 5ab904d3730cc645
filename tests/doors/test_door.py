"""The door as a whole: addresses, stopping in steps, counts, running out of descriptors."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from muxproxy.doors import Door, DoorLimits
from tests.doors.harness import BOUND, Client, Echo, client_of, request, serving, until


def gated() -> tuple[Any, asyncio.Event, list[str]]:
    gate = asyncio.Event()
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await receive()
        splice = scope["extensions"]["muxproxy.splice"]
        if scope["path"] == "/stream":
            splice.start(200, [])
            splice.write(b"begun")
        await gate.wait()
        if scope["path"] != "/stream":
            splice.start(200, [])
        splice.write(b"done")
        splice.end()

    return app, gate, seen


async def test_addresses() -> None:
    door = Door(Echo())
    with pytest.raises(LookupError):
        _ = door.port
    await door.listen("127.0.0.1:0")
    await door.listen("[::1]:0")
    first, second = door.addresses
    assert first == f"127.0.0.1:{door.port}"
    assert second.startswith("[::1]:")
    reader, writer = await asyncio.open_connection("::1", int(second.rpartition(":")[2]))
    client = Client(reader, writer)
    client.send(request())
    assert (await client.read()).status == 200
    await client.aclose()
    await door.aclose()


@pytest.mark.parametrize("address", ["8787", "localhost", "localhost:http", "unix"])
async def test_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        await Door(Echo()).listen(address)


async def test_an_address_in_use_is_an_oserror() -> None:
    async with serving(Echo()) as door:
        with pytest.raises(OSError):
            await Door(Echo()).listen(door.addresses[0])


async def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # nobody listens: a leftover
    app = Echo()
    async with serving(app, address=f"unix:{path}") as door:
        assert door.addresses == [f"unix:{path}"]
        client = Client(*await asyncio.open_unix_connection(str(path)))
        client.send(request("POST", body=b"hello"))
        assert (await client.read()).body == b"hello"
        assert app.calls[0].scope["client"] is None
        assert app.calls[0].scope["server"] == (str(path), None)
        await client.aclose()
        with pytest.raises(OSError):  # a live socket is not taken over
            await Door(app).listen(f"unix:{path}")
        assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert not path.exists()


async def test_drain_lets_streams_end_and_turns_the_rest_away() -> None:
    app, gate, seen = gated()
    async with serving(app) as door, client_of(door) as idle, client_of(door) as busy:
        idle.send(request("GET", "/x", fields="Content-Length: 0\r\n"))
        busy.send(request(path="/stream"))
        await until(lambda: len(seen) == 2)
        gate.set()
        assert (await idle.read()).body == b"done"
        assert (await busy.read()).body == b"begundone"
        gate.clear()
        busy.send(request(path="/stream") + request(path="/pipelined"))
        await busy.reader.readuntil(b"begun\r\n")
        door.stop_accepting()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", door.port)
        draining = asyncio.create_task(door.drain(BOUND))
        assert await idle.closed()
        assert not draining.done()
        gate.set()
        assert await draining
        assert await busy.reader.readexactly(14) == b"4\r\ndone\r\n0\r\n\r\n"


async def test_a_response_begun_while_draining_announces_the_close() -> None:
    app, gate, seen = gated()
    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        await until(lambda: seen)
        door.stop_accepting()
        draining = asyncio.create_task(door.drain(BOUND))
        await asyncio.sleep(0)
        gate.set()
        assert (await client.read()).headers["connection"] == "close"
        assert await draining


async def test_drain_gives_up_at_the_deadline_and_abort_all_cancels() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            scope["extensions"]["muxproxy.splice"].start(200, [])
            scope["extensions"]["muxproxy.splice"].write(b"x")
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        await client.reader.readuntil(b"x\r\n")
        door.stop_accepting()
        assert not await door.drain(0.05)
        assert not ended.is_set()
        door.abort_all()
        await ended.wait()
        assert await client.closed()
        assert await door.drain(BOUND)


async def test_connections_in_the_kernel_s_queue_are_still_served() -> None:
    """Established but not accepted when the door stops: their clients have sent requests."""
    async with serving(Echo()) as door:
        socks = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(20)]
        for sock in socks:
            sock.sendall(request())
        door.stop_accepting()  # the loop has not run since: nothing was accepted
        assert door.stats.connections == 0
        draining = asyncio.create_task(door.drain(BOUND))
        for sock in socks:
            reader, writer = await asyncio.open_connection(sock=sock)
            client = Client(reader, writer)
            answer = await client.read()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            await client.aclose()
        assert await draining


async def test_a_request_in_the_kernel_outlives_close_idle() -> None:
    async with serving(Echo()) as door:
        sock = socket.create_connection(("127.0.0.1", door.port))
        await until(lambda: door.open_connections == 1)
        sock.sendall(request())
        door.close_idle()  # before the loop could read it
        client = Client(*await asyncio.open_connection(sock=sock))
        assert (await client.read()).status == 200
        await client.aclose()


async def test_a_client_that_only_just_connected_is_served_while_draining() -> None:
    async with serving(Echo()) as door, client_of(door) as client, client_of(door) as silent:
        await until(lambda: door.open_connections == 2)
        door.stop_accepting()
        draining = asyncio.create_task(door.drain(BOUND))
        await asyncio.sleep(0.02)  # close_idle has run
        client.send(request())
        answer = await client.read()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await silent.closed()  # has nothing to say: does not hold the drain up
        assert await draining


async def test_counts() -> None:
    async with serving(Echo()) as door, client_of(door) as client:
        for _ in range(3):
            client.send(request())
            await client.read()
        assert (door.stats.connections, door.stats.requests) == (1, 3)
        assert (door.open_connections, door.in_flight) == (1, 0)
        assert door.limits == DoorLimits()


_STARVED = """
import asyncio, json, resource, socket, sys, uvloop
from muxproxy.doors import Door
from tests.doors.harness import Client, Echo, request

async def main():
    door = Door(Echo())
    await door.listen("127.0.0.1:0")
    print(door.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await door.aclose()

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
uvloop.run(main())
"""


async def test_running_out_of_descriptors_is_survived() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STARVED, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    port = int(await process.stdout.readline())
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for sock in socks:
        sock.close()
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    client.send(request())
    try:
        answer = await client.read()
        assert answer.status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        # Taken while none were free: shed. The next one is served.
        await client.aclose()
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        client.send(request())
        assert (await client.read()).status == 200
    await client.aclose()
    process.stdin.write(b"\n")
    assert await asyncio.wait_for(process.wait(), BOUND) == 0


async def test_many_idle_connections_are_closed_at_once() -> None:
    async with serving(Echo()) as door:
        clients = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(300)]
        await until(lambda: door.open_connections == 300)
        door.close_idle()
        for reader, writer in clients:
            assert await reader.read() == b""
            writer.close()
