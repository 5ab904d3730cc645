"""Load: JSON calls at a concurrency or a rate, and many paced streams, with per-chunk delays.

Raw asyncio protocols: the load must cost less than what it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BODY = (
    b'{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant '
    b'that answers briefly and precisely."},{"role":"user","content":"Summarise in two sentences '
    b'why the sky looks blue at noon and red in the evening, for a reader of twelve."}],'
    b'"temperature":0.7,"max_tokens":%d%s}'
)


def request(body: bytes, extra: bytes = b"") -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\naccept: application/json\r\n"
        b"authorization: Bearer sk-bench\r\nuser-agent: OpenAI/Python 3.54.0\r\n"
        + extra
        + b"content-length: %d\r\n\r\n" % len(body)
        + body
    )


JSON_REQUEST = request(BODY % (16, b""))


@dataclass
class Result:
    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)  # seconds
    first: list[float] = field(default_factory=list)


class _Caller(asyncio.Protocol):
    """One keep-alive connection; each answer is told to `done`."""

    def __init__(self, done: Callable[[_Caller, bool], None]) -> None:
        self._done = done
        self._buffer = b""
        self._need = -1
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(JSON_REQUEST)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            if at < 0:
                raise RuntimeError(f"no content-length: {head[:300]!r}")
            self._need = end + 4 + int(head[at + 15 :].split(b"\r", 1)[0])
        if len(self._buffer) >= self._need:
            good = self._buffer.startswith(b"HTTP/1.1 200")
            self._buffer, self._need = b"", -1
            self._done(self, good)

    def connection_lost(self, exc: Exception | None) -> None:
        self._done(self, False)


async def calls_at_concurrency(port: int, connections: int, seconds: float) -> Result:
    """As many calls as come through on `connections` connections."""
    loop = asyncio.get_running_loop()
    result = Result()
    end = time.perf_counter() + seconds
    finished = loop.create_future()
    open_now = connections

    def done(caller: _Caller, good: bool) -> None:
        nonlocal open_now
        now = time.perf_counter()
        if good:
            result.count += 1
            result.delays.append(now - caller.started)
        else:
            result.errors += 1
        if now < end and good:
            caller.ask()
            return
        open_now -= 1
        if open_now == 0 and not finished.done():
            finished.set_result(None)

    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: _Caller(done), "127.0.0.1", port)
        callers.append(caller)
    started = time.perf_counter()
    for caller in callers:
        caller.ask()
    await finished
    result.seconds = time.perf_counter() - started
    for caller in callers:
        caller.transport.abort()  # type: ignore[attr-defined]
    return result


async def calls_at_rate(port: int, rate: float, seconds: float) -> Result:
    """Open-loop: calls start on schedule; each delay counts from its scheduled time."""
    loop = asyncio.get_running_loop()
    result = Result()
    idle: list[_Caller] = []

    def done(caller: _Caller, good: bool) -> None:
        if good:
            result.count += 1
            result.delays.append(time.perf_counter() - caller.started)
        else:
            result.errors += 1
        idle.append(caller)

    for _ in range(16):
        _, caller = await loop.create_connection(lambda: _Caller(done), "127.0.0.1", port)
        idle.append(caller)
    callers = list(idle)
    start = time.perf_counter()
    total = int(rate * seconds)
    for number in range(total):
        due = start + number / rate
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        if not idle:
            result.errors += 1
            continue
        idle.pop().ask()
    await asyncio.sleep(0.2)
    result.seconds = time.perf_counter() - start
    for caller in callers:
        caller.transport.abort()  # type: ignore[attr-defined]
    return result


class _Stream(asyncio.Protocol):
    """One stream; reads the time stamp that the simulator puts into each chunk."""

    def __init__(self, result: Result, request: bytes, over: Callable[[], None]) -> None:
        self._result = result
        self._request = request
        self._over = over
        self._stopped = False
        self._started = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._started = time.perf_counter()
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        result = self._result
        if self._started:
            result.first.append(time.perf_counter() - self._started)
            self._started = 0.0
            if not data.startswith(b"HTTP/1.1 200"):
                result.errors += 1
        at = data.find(b'"sim_ns":')
        while at >= 0:
            stamp = data[at + 9 : at + 28]  # 19 characters, blank-padded
            if len(stamp) == 19:
                result.count += 1
                result.delays.append((now - int(stamp)) / 1e9)
            at = data.find(b'"sim_ns":', at + 28)
        if data.endswith(b"0\r\n\r\n") and not self._stopped:
            self._stopped = True
            self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._stopped:
            self._stopped = True
            self._over()


async def streams(port: int, count: int, tokens: int, pace: str, *, skip: float = 0.0) -> Result:
    """`count` streams at once, each of `tokens` chunks one `pace` apart; until all have ended.

    Delays of the first `skip` seconds after the last stream was opened are left out.
    """
    loop = asyncio.get_running_loop()
    result = Result()
    left = count
    finished = loop.create_future()

    def over() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            finished.set_result(None)

    extra = b"x-sim-pace: %s\r\nx-sim-timestamp: on\r\nx-sim-tokens: %d\r\n" % (
        pace.encode(),
        tokens,
    )
    body = BODY % (tokens, b',"stream":true,"stream_options":{"include_usage":true}')
    wire = request(body, extra)
    opened = []
    started = time.perf_counter()
    for number in range(count):
        _, stream = await loop.create_connection(
            lambda: _Stream(result, wire, over), "127.0.0.1", port
        )
        opened.append(stream)
        if number % 20 == 19:
            await asyncio.sleep(0.01)
    if skip:
        await asyncio.sleep(skip)
        result.delays.clear()
    await finished
    result.seconds = time.perf_counter() - started
    for stream in opened:
        stream.transport.abort()  # type: ignore[attr-defined]
    return result
