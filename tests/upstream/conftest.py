"""Both loops, a raw-socket server that plays scripts, and a client that must leave nothing open."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from muxproxy.upstream import Upstreams
from tests.upstream.dialling import Tls
from tests.upstream.peer import Ask, Peer, Script, spec_for


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The product runs on uvloop; the stdlib's loop keeps us honest about asyncio's contract."""
    return {"uvloop": uvloop.new_event_loop, "stdlib": asyncio.new_event_loop}


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    """A client; afterwards every descriptor and task it made must be gone."""
    client = Upstreams()
    yield client
    await client.aclose()
    for stats in client.stats():
        assert stats.open == stats.opening == stats.waiting == 0
    left = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    assert not left & {"upload", "Resolver._ask"}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Script], "asyncio.Future[Peer]"]]:
    """serve(script) -> a listening Peer that runs the script on each connection."""
    peers: list[Peer] = []

    async def start(script: Script, **options: object) -> Peer:
        peer = await Peer.start(script, **options)  # type: ignore[arg-type]
        peers.append(peer)
        return peer

    yield start  # type: ignore[misc]
    for peer in peers:
        await peer.aclose()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A server's TLS for api.example and 127.0.0.1."""
    return Tls(tmp_path, "api.example", "127.0.0.1")


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))


@pytest.fixture
def ask_at(upstreams: Upstreams) -> Callable[..., Ask]:
    """ask_at(peer, **spec members) -> Ask."""

    def make(peer: Peer, **members: object) -> Ask:
        return Ask(upstreams, upstreams.origin(spec_for(peer.port, **members)))

    return make
