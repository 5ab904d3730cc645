"""The simulated providers on one socket: `start` one in a test, or `muxproxy sim` from a shell."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from muxproxy.sim.answer import Answer, dumps, json_answer
from muxproxy.sim.ask import classify
from muxproxy.sim.connection import Connection
from muxproxy.sim.http import Head
from muxproxy.sim.play import Lock, Wheel
from muxproxy.sim.record import Recorded, Records
from muxproxy.sim.recordings import Recordings
from muxproxy.sim.render import Reply, render
from muxproxy.sim.respond import PROVIDERS, complaint, reply_for
from muxproxy.sim.script import (
    DEFAULT,
    Entry,
    Expectation,
    Options,
    ScriptError,
    Scripts,
    entry_from,
    options_from,
    options_in_model,
    read_options,
)

# A load client sends the same few bodies again and again: their replies are rendered once.
_CACHED_REPLIES = 256
_CACHED_BODY = 32 * 1024
_CACHED_REPLY = 1024 * 1024
_PLAIN = Options()


class SimServer:
    """A running simulator. `requests` and `faults` (malformed requests, expectations not met) are
    filled as requests come; `script`, `expect` and headers decide what is answered."""

    def __init__(
        self, *, seed: str, recordings: Path | None, defaults: Options, keep_requests: int
    ) -> None:
        self.records = Records(keep_requests)
        self.heads: dict[bytes, Head] = {}
        self.connections: set[Connection] = set()
        self.host = ""
        self.port = 0
        self.tls = False
        self.wheel: Wheel
        self._server: asyncio.Server
        self._seed = seed
        self._recordings = Recordings(recordings) if recordings is not None else None
        self._defaults = defaults
        self._scripts = Scripts()
        self._locks: dict[str, Lock] = {}
        self._replies: dict[tuple[str, bytes, tuple[tuple[str, str], ...], bool, str], Reply] = {}

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"

    @property
    def requests(self) -> list[Recorded]:
        """The requests seen, oldest first."""
        return list(self.records.requests)

    @property
    def faults(self) -> list[str]:
        return list(self.records.faults)

    def script(
        self,
        options: Mapping[str, Any] | Options | None = None,
        *,
        path: str | None = None,
        model: str | None = None,
        times: int | None = 1,
        **more: Any,
    ) -> None:
        """Queues a script for the next `times` requests (None: all) whose target contains `path`
        and whose body contains `model` as its model. Keys as in `options_from`; headers of the
        request win over them. Raises ScriptError."""
        if isinstance(options, Options):
            found = options_from(more, options)
        else:
            found = options_from({**(options or {}), **more}, self._defaults)
        self._scripts.entries.append(Entry(found, path, model, times))

    def expect(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        absent: tuple[str, ...] = (),
        body: bytes | None = None,
        **options: Any,
    ) -> None:
        """Queues a script for the next request, whatever it is, that must be as told; one that is
        not gets 400 with the differences, which also stand in `faults`."""
        wish = Expectation(method, path, headers or {}, absent, body)
        self._scripts.entries.append(Entry(options_from(options, self._defaults), expect=wish))

    def ack(self, token: str, count: int) -> None:
        """Says that the client of lockstep `token` has received `count` chunks."""
        self.lock(token).ack(count)

    async def until(self, predicate: Callable[["SimServer"], bool], timeout: float = 5.0) -> None:
        """Returns as soon as `predicate(self)` holds; it is looked at whenever a request arrives or
        ends or a connection closes. TimeoutError after `timeout` seconds."""
        await self.records.until(lambda: predicate(self), timeout)

    async def aclose(self) -> None:
        """Stops listening and breaks every open connection."""
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        self.wheel.close()
        await self._server.wait_closed()
        await asyncio.sleep(0)  # lets the aborted transports close their sockets

    # What a connection asks for.

    def lock(self, token: str) -> Lock:
        return self._locks.setdefault(token, Lock())

    def reply(self, head: Head, body: bytes) -> Reply:
        key = (head.target, body, head.sim, head.keep_alive, head.version)
        plain = not self._scripts.entries and head.method == "POST"
        if plain:
            found = self._replies.get(key)
            if found is not None:
                return found
        try:
            options, complaints = self._options(head, body)
        except ScriptError as error:
            return self._say(head, complaint(400, str(error)))
        if complaints:
            self.records.faults.extend(complaints)
            return self._say(head, complaint(400, "; ".join(complaints)))
        reply = reply_for(head, body, options, self._seed, self._recordings)
        if plain and options.recording is None and len(body) <= _CACHED_BODY:
            dialect = classify(head.method, head.target)[0]
            if dialect in PROVIDERS and reply.size <= _CACHED_REPLY:
                if len(self._replies) >= _CACHED_REPLIES:
                    self._replies.clear()
                self._replies[key] = reply
        return reply

    def _options(self, head: Head, body: bytes) -> tuple[Options, list[str]]:
        """What this request's reply shall be, and how the request differs from what was expected.
        Weakest first: defaults, queued script, model name, headers. Raises ScriptError."""
        model = _model(head, body)
        entry = self._scripts.take(head.target, model) if self._scripts.entries else None
        options = self._defaults if entry is None else entry.options
        options = options_in_model(model, options)
        given = dict(head.sim)
        only = given.pop("for", None)
        if only is None or only in head.target or only in model:
            options = read_options(given.items(), options)
        if entry is None or entry.expect is None:
            return options, []
        wish = entry.expect
        return options, wish.differences(head.method, head.target, head.headers, body)

    def _say(self, head: Head, answer: Answer) -> Reply:
        http11 = head.version == "HTTP/1.1"
        keep = head.keep_alive
        return render(answer, _PLAIN, self._seed, method=head.method, http11=http11, keep=keep)

    def control(self, head: Head, body: bytes) -> Reply:
        """The simulator's own paths, under /sim/; see docs/sim.md."""
        path = head.target.partition("?")[0]
        call = (head.method, path)
        try:
            if path.startswith("/sim/ack/") and head.method == "POST":
                return self._say(head, self._acknowledge(path[len("/sim/ack/") :], body))
            if call == ("POST", "/sim/script"):
                return self._say(head, self._enqueue(body))
        except (ScriptError, ValueError) as error:
            return self._say(head, complaint(400, str(error)))
        records = self.records
        if call in (("GET", "/sim/health"), ("HEAD", "/sim/health")):
            state = {
                "status": "ok",
                "requests": len(records.requests),
                "open_connections": records.open,
                "connections": records.connections,
                "scripts": len(self._scripts.entries),
                "faults": list(records.faults),
            }
            return self._say(head, json_answer(state, []))
        if call == ("GET", "/sim/requests"):
            return self._say(head, json_answer([r.as_json() for r in records.requests], []))
        if call == ("DELETE", "/sim/requests"):
            records.clear()
            return self._say(head, json_answer({"requests": 0}, []))
        if call == ("DELETE", "/sim/script"):
            self._scripts.entries.clear()
            return self._say(head, json_answer({"scripts": 0}, []))
        return self._say(head, complaint(404, f"no {head.method} {path} here"))

    def _acknowledge(self, token: str, body: bytes) -> Answer:
        value = orjson.loads(body)
        count = value.get("count") if isinstance(value, dict) else value
        if not isinstance(count, int):
            raise ScriptError('an ack is a number of chunks, or {"count": number}')
        lock = self.lock(token)
        lock.ack(count)
        return Answer(200, [(b"Content-Type", b"application/json")], [dumps({"acked": lock.acked})])

    def _enqueue(self, body: bytes) -> Answer:
        value = orjson.loads(body)
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in items):
            raise ScriptError("a script is an object or a list of objects")
        self._scripts.entries += [entry_from(item) for item in items]
        return json_answer({"scripts": len(self._scripts.entries)}, [])

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        self._server = await loop.create_server(
            lambda: Connection(self), host, port, ssl=context, backlog=4096
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        self.tls = context is not None

    def load(self, entries: list[Entry]) -> None:
        """Queues the entries of a script file."""
        self._scripts.entries += entries


def _model(head: Head, body: bytes) -> str:
    dialect, _, model = classify(head.method, head.target)
    if model or dialect not in PROVIDERS:
        return model
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    name = found.get("model") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    recordings: Path | None = None,
    seed: str = "sim",
    context: ssl.SSLContext | None = None,
    defaults: Mapping[str, Any] | None = None,
    keep_requests: int = 100_000,
) -> SimServer:
    """A simulator on the running loop. `defaults` are options for every reply; `context` makes it
    speak TLS. Raises ScriptError, OSError."""
    server = SimServer(
        seed=seed,
        recordings=recordings,
        defaults=options_from(defaults, DEFAULT) if defaults else DEFAULT,
        keep_requests=keep_requests,
    )
    await server.listen(host, port, context)
    return server
