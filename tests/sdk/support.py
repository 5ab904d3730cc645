"""A stack on a loop and thread of its own, for SDKs that block and SDKs that do not.

One per test module: every test of it makes calls of its own and looks only at those.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from muxproxy.exchange import Receipt
from muxproxy.sim.record import Recorded
from tests.stack import ID, Stack, stack

__all__ = [
    "ID",
    "MESSAGES",
    "REFUSALS",
    "WEATHER",
    "Served",
    "body_of",
    "served",
]

T = TypeVar("T")

# `hosts`: what an SDK behind HTTP_PROXY names in its absolute-form target.
PROVIDERS = """
  openai:    {dialect: openai, base_url: "SIM/v1", api_key: sk-openai, hosts: [openai.test]}
  anthropic: {dialect: anthropic, base_url: "SIM", api_key: sk-anthropic, hosts: [anthropic.test]}
  google:    {dialect: gemini, base_url: "SIM", api_key: sk-google, hosts: [google.test]}
  mistral:   {dialect: openai, base_url: "SIM/v1", api_key: sk-mistral, hosts: [mistral.test]}
  groq:      {dialect: openai, base_url: "SIM/openai/v1", api_key: sk-groq, hosts: [groq.test]}
  off:       {dialect: openai, base_url: "SIM/v1", api_key: "${NO_SUCH_KEY}"}
"""

# A rule that denies, a budget that is always used up, aliases for every dialect.
RULES = """
translation: off
models:
  small: [openai/gpt-4o-mini, anthropic/claude-3-5-haiku-latest, google/gemini-2.5-flash]
  switched-off: [off/gpt-4o]
rules:
  - {name: blocked, when: {model: "*-preview"}, deny: "preview models are not allowed here"}
budgets:
  - {name: tiny, limit: $0.0000001, when: {model: "pricy*"}}
prices:
  "*/pricy*": {input: 1000, output: 1000}
"""

# Model -> status and code of our own refusal.
REFUSALS = {"x-preview": (403, "denied_by_rule"), "pricy-1": (402, "budget_exceeded")}

MESSAGES: list[Any] = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


class Served:
    """The running pair, seen from another thread."""

    def __init__(self, pair: Stack, loop: asyncio.AbstractEventLoop) -> None:
        self._pair = pair
        self._loop = loop
        self.url = pair.url

    def run(self, work: Callable[[Stack], Awaitable[T]]) -> T:
        """Do something with the pair on its own loop."""

        async def call() -> T:
            return await work(self._pair)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(15)

    def script(self, **options: Any) -> None:
        """The next request's answer."""

        async def queue(pair: Stack) -> None:
            pair.sim.script(options)

        self.run(queue)

    def seen(self) -> list[Recorded]:
        """What the provider has got, oldest first."""

        async def requests(pair: Stack) -> list[Recorded]:
            return pair.sim.requests

        return self.run(requests)

    def last(self) -> Recorded:
        """The newest request at the provider."""
        return self.seen()[-1]

    def receipt(self, id: str) -> Receipt:
        """The call's receipt, once it is settled."""
        return self.run(lambda pair: pair.receipt(id))

    def count(self) -> int:
        """Calls in the books, once nothing is in flight."""
        return len(self.run(lambda pair: pair.settled(0)))

    def newest(self) -> Receipt:
        """The receipt of the newest call, once nothing is in flight."""
        return self.run(lambda pair: pair.settled(1))[-1]


@contextmanager
def served(folder: Path, yaml: str = RULES, providers: str = PROVIDERS) -> Iterator[Served]:
    """Start the pair on a thread; stop it at the end."""
    started: list[Served] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    stop: list[Callable[[], Any]] = []

    async def main() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        async with stack(folder, yaml, providers=providers) as pair:
            started.append(Served(pair, loop))
            ready.set()
            await over.wait()

    def body() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=body, name="stack")
    thread.start()
    try:
        assert ready.wait(15)
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        if stop:
            stop[0]()
        thread.join(15)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def body_of(request: Recorded) -> Any:
    """The request's JSON."""
    return json.loads(request.body or b"")
