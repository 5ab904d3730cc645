"""An answer in a provider's wire format, before HTTP framing and faults."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from muxproxy.sim.http import Headers

SSE = b"text/event-stream; charset=utf-8"
JSON = b"application/json"


@dataclass(slots=True)
class Answer:
    """`pieces` are wire events of a stream, or the one body of any other answer. A piece whose
    index is in `glued` goes out together with the next one when a client paces us: it is the
    usage chunk, which a proxy may rightly take out, so nobody can be made to wait for it."""

    status: int
    headers: Headers
    pieces: list[bytes]
    stream: bool = False
    glued: frozenset[int] = field(default_factory=frozenset)


def dumps(value: Any) -> bytes:
    return orjson.dumps(value)


def data(value: Any) -> bytes:
    """A nameless server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


def json_answer(value: Any, headers: Headers, content_type: bytes = JSON) -> Answer:
    return Answer(200, [(b"Content-Type", content_type), *headers], [orjson.dumps(value)])


def stream_answer(pieces: list[bytes], headers: Headers, content_type: bytes = SSE) -> Answer:
    base = [(b"Content-Type", content_type), (b"Cache-Control", b"no-cache")]
    return Answer(200, [*base, *headers], pieces, stream=True)
