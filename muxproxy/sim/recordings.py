"""Replays recorded exchanges: one JSON file each, found by name, read when asked for."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from muxproxy.sim.answer import Answer
from muxproxy.sim.http import Headers

_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
# Framing and coding are this hop's own; the bodies are stored decoded.
_DROPPED = frozenset(
    ("content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive")
)
_BLOCK = 1024


class NotRecorded(Exception):
    """No such recording, or it cannot be replayed; the text says why."""


def _events(body: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    at = 0
    for end in _EVENT_END.finditer(body):
        pieces.append(body[at : end.end()])
        at = end.end()
    return [*pieces, body[at:]] if at < len(body) else pieces


def _aws_frames(body: bytes) -> list[bytes]:
    # Each message of application/vnd.amazon.eventstream begins with its length, 4 bytes big-endian.
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        if length < 16:
            return [*pieces, body[at:]]
        pieces.append(body[at : at + length])
        at += length
    return pieces


def split(body: bytes, stream: str | None) -> list[bytes]:
    """The chunks in which a body of this kind of stream travels; joined they are the body."""
    if stream == "sse":
        return _events(body)
    if stream == "ndjson":
        return body.splitlines(keepends=True)
    if stream == "aws-eventstream":
        return _aws_frames(body)
    if stream is None:
        return [body]
    return [body[at : at + _BLOCK] for at in range(0, len(body), _BLOCK)]


class Recordings:
    """A folder of exchanges, `DIR/exchanges/ID.json` or `DIR/ID.json`."""

    __slots__ = ("folder",)

    def __init__(self, folder: Path) -> None:
        inner = folder / "exchanges"
        self.folder = inner if inner.is_dir() else folder

    def exchange(self, name: str) -> dict[str, Any]:
        """The recorded exchange as stored. Raises NotRecorded."""
        if not _ID.fullmatch(name):
            raise NotRecorded(f"{name!r} is no name of a recording")
        file = self.folder / f"{name}.json"
        try:
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise NotRecorded(f"no recording {name!r} in the recordings folder") from None
        except (OSError, ValueError) as error:
            raise NotRecorded(f"recording {name!r} cannot be read: {error}") from error
        if not isinstance(found, dict) or "response" not in found:
            raise NotRecorded(f"recording {name!r} has no response")
        return found

    def answer(self, name: str) -> Answer:
        """The recorded response. Raises NotRecorded."""
        exchange = self.exchange(name)
        response = exchange["response"]
        if response.get("body_base64") is not None:
            body = base64.b64decode(response["body_base64"])
        else:
            body = (response.get("body") or "").encode()
        headers: Headers = []
        for key, value in (response.get("headers") or {}).items():
            if key.lower() not in _DROPPED:
                headers.append((key.encode("latin-1"), _plain(value)))
        content_type = response.get("content_type")
        if content_type and not any(key.lower() == b"content-type" for key, _ in headers):
            headers.insert(0, (b"content-type", content_type.encode("latin-1")))
        stream = exchange.get("stream")
        pieces = split(body, stream)
        return Answer(int(response["status"]), headers, pieces, stream=stream is not None)


def _plain(value: str) -> bytes:
    # A header value on the wire has no line break, whatever the recorder stored.
    return value.replace("\r", " ").replace("\n", " ").encode("utf-8")
