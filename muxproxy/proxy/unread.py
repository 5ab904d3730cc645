"""What is looked at in a body that is not inspected: the model's name, so that it has a price.

Files, audio, images, batches go up as they came, streamed and never collected; a model that stands
at their beginning, as every SDK writes it, is found in what has arrived anyway or arrives next.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask
from muxproxy.proxy.incoming import ClientLeft, Receive

LOOKED_AT = 16 << 10  # bytes of a form
SMALL = 256 << 10  # bytes of a JSON body that is read whole
_LONGEST_NAME = 256

_BOUNDARY = re.compile(rb'boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70}?)"?\s*(?:;|$)', re.IGNORECASE)
_LONGEST_HEAD = 1024  # bytes of a part's head that are kept to find a field cut in two


class _Named(msgspec.Struct, gc=False):
    model: object = None


_decode = msgspec.json.Decoder(_Named).decode


class Begun(NamedTuple):
    """A body that has begun: `body` whole, or b"" and a stream. `size` is what it declares or
    has; `media`: it is no JSON; `model` None: none was found."""

    body: bytes
    stream: AsyncIterator[bytes] | None
    size: int
    media: bool
    model: str | None

    def ask(self, route: Route, dialect: str) -> Ask:
        """What is asked with it, in that dialect: a chosen provider's own paths are in its own."""
        return Ask(
            dialect=dialect,
            endpoint=route.endpoint,
            path=route.path,
            model=route.model or self.model,
            body_bytes=self.size,
            media=int(self.media),
            media_bytes=self.size if self.media else 0,
        )


async def begin(receive: Receive, fields: dict[bytes, bytes]) -> Begun:
    """Reads as far as the model can be expected. Raises ClientLeft."""
    kind = fields.get(b"content-type", b"")
    length = fields.get(b"content-length", b"")
    declared = int(length) if length.isdigit() else 0
    form = kind[:19].lower() == b"multipart/form-data"
    wanted = LOOKED_AT if form else 0
    json = b"json" in kind
    if json and declared <= SMALL:
        wanted = SMALL
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    parts = [message.get("body", b"")]
    got = len(parts[0])
    more = message.get("more_body", False)
    # Fields stand before files in what SDKs write.
    while more and got < wanted and not (form and b"filename=" in b"".join(parts)):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        got += len(parts[-1])
        more = message.get("more_body", False)
    start = parts[0] if len(parts) == 1 else b"".join(parts)
    model, watch = None, None
    if form and (boundary := _BOUNDARY.search(kind)) is not None:
        watch = _Models(boundary[1])
        watch.feed(start)
        model = watch.model
    elif wanted and not more:
        model = _json_model(start)
    if more:
        return Begun(b"", _rest(receive, start, watch), max(declared, got), not json, model)
    return Begun(start, None, got, got > 0 and not json, model)


def _json_model(body: bytes) -> str | None:
    try:
        found = _decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_NAME else None


class _Models:
    """Watches a form for fields called `model`. Raises MuxError for a second one, or one that
    comes late: which of them a provider takes, and so what the call costs, nobody could tell."""

    __slots__ = ("_field", "_tail", "_value", "model")

    def __init__(self, boundary: bytes) -> None:
        # The boundary stands nowhere within a field or a file.
        head = rb"--" + re.escape(boundary) + rb"\r\n(?:[^\r\n]+\r\n)*?[^\r\n]*"
        self._field = re.compile(head + rb'[;\s]name="?model"?[ \t]*(;|\r\n)', re.IGNORECASE)
        self._value = re.compile(
            rb"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,%d})\r\n" % _LONGEST_NAME
        )
        self._tail = b""
        self.model: str | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes of the body; the first ones are the beginning that is looked at."""
        begun = bool(self._tail)
        seen = self._tail + data
        self._tail = seen[-_LONGEST_HEAD:]
        found = list(self._field.finditer(seen))
        if not found:
            return
        if begun and found[-1].end() <= len(seen) - len(data):
            return  # told of already
        if begun or len(found) > 1:
            raise MuxError(
                "invalid_request", "the form has a second, or a late, field called model"
            )
        value = self._value.match(seen, found[0].start(1))
        self.model = None if value is None else value[1].decode("utf-8", "replace").strip() or None


async def _rest(receive: Receive, first: bytes, watch: _Models | None) -> AsyncIterator[bytes]:
    if first:
        yield first
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # upstream must not see a complete request
            raise ClientLeft
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            if watch is not None:
                watch.feed(chunk)
            yield chunk
