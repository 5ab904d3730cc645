import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The door is made for uvloop."""
    return {"uvloop": uvloop.new_event_loop}
