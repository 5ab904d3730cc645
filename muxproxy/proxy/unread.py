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
from muxproxy.exchange import Ask
from muxproxy.proxy.incoming import ClientLeft, Receive

LOOKED_AT = 16 << 10  # bytes of a form
SMALL = 256 << 10  # bytes of a JSON body that is read whole
_LONGEST_NAME = 256

_BOUNDARY = re.compile(rb'boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70}?)"?\s*(?:;|$)', re.IGNORECASE)
_NAMED_MODEL = re.compile(rb'[;\s]name="?model"?\s*(?:;|\r\n|$)', re.IGNORECASE)


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
    model = None
    if form:
        model = _form_model(kind, start[:LOOKED_AT])
    elif wanted and not more:
        model = _json_model(start)
    if more:
        return Begun(b"", _rest(receive, start), max(declared, got), not json, model)
    return Begun(start, None, got, got > 0 and not json, model)


def _json_model(body: bytes) -> str | None:
    try:
        found = _decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_NAME else None


def _form_model(kind: bytes, start: bytes) -> str | None:
    """The value of the field `model`; None also where two contradict each other."""
    boundary = _BOUNDARY.search(kind)
    if boundary is None:
        return None
    found: set[bytes] = set()
    # The last part may not be there in full.
    for part in (b"\r\n" + start).split(b"\r\n--" + boundary[1])[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        if _NAMED_MODEL.search(head):
            found.add(value.strip())
    if len(found) != 1:
        return None
    text = found.pop()
    if not 0 < len(text) <= _LONGEST_NAME:
        return None
    return text.decode("utf-8", "replace")


async def _rest(receive: Receive, first: bytes) -> AsyncIterator[bytes]:
    if first:
        yield first
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # upstream must not see a complete request
            raise ClientLeft
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk
