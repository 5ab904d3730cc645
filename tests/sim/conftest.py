import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import uvloop

from muxproxy.sim import SimServer, SimThread, in_thread, start


@pytest.fixture(params=["uvloop", "asyncio"])
def sim(request: pytest.FixtureRequest) -> Iterator[SimThread]:
    """A simulator in a thread, on each of the two event loops it must run on."""
    makers = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    with in_thread(new_loop=makers[request.param]) as running:
        yield running


@pytest.fixture(scope="module")
def shared() -> Iterator[SimThread]:
    """One simulator for a module's stateless tests."""
    with in_thread() as running:
        yield running


@pytest.fixture
async def asim() -> AsyncIterator[SimServer]:
    server = await start()
    yield server
    await server.aclose()
