"""A translated answer on its way down: event by event, or one JSON body, or an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.dialects import errors as dialect_errors
from muxproxy.dialects import neutral
from muxproxy.dialects.folding import events_of
from muxproxy.dialects.translators import StreamReader, StreamWriter
from muxproxy.errors import MuxError
from muxproxy.exchange import Usage
from muxproxy.headers import Headers
from muxproxy.proxy.names import header_value
from muxproxy.sse import Framer

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.translating import Crossing

_encode = msgspec.json.encode

_IDS = {words.OPENAI: "chatcmpl-", words.RESPONSES: "resp_", words.ANTHROPIC: "msg_"}
# The provider's framing and what describes its own bytes.
_GONE = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"etag", b"content-md5", b"digest"}
)
_EVENTS = b"text/event-stream; charset=utf-8"
_JSON = b"application/json"


class Stream:
    """A provider's event stream as the caller's dialect has it; the relay's `Stripper`."""

    __slots__ = ("_array", "_dialect", "_framer", "_reader", "_rest", "_writer", "ended")

    def __init__(
        self, reader: StreamReader, writer: StreamWriter, dialect: str, array: bool
    ) -> None:
        self._dialect = dialect  # the caller's
        self._array = array
        self._framer = Framer()
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self.ended = False  # a finish, a failure or the dialect's own end was seen

    def feed(self, data: bytes) -> bytes:
        """What the caller gets for these bytes: whole events, or nothing yet."""
        out = []
        for name, payload in self._framer.feed(data):
            out += self._written(self._reader.feed(name.decode("latin-1") or None, payload))
        return b"".join(out)

    def whole(self) -> bool:
        """The provider's body is over: whether its stream came to its end."""
        out = []
        for name, payload in self._framer.finish():
            out += self._written(self._reader.feed(name.decode("latin-1") or None, payload))
        ended = self.ended
        out += self._written(self._reader.finish() if ended else [])
        self._rest = b"".join(out)
        return ended

    def flush(self) -> bytes:
        """The last events; after `whole`."""
        return self._rest

    def of(self, answer: neutral.Answer) -> bytes:
        """The whole stream that says what `answer` says."""
        return b"".join(self._written(events_of(answer)))

    def stop(self, counts: Usage) -> bytes:
        """The caller's finish of a stream that a budget ends."""
        finish = neutral.Finish(reason="length", native="stop_stream")
        return b"".join(self._written([finish, neutral.Totals(usage=counts), neutral.Done()]))

    def failed(self, error: MuxError, request_id: str) -> bytes:
        """The caller's error event."""
        if self._array:
            failure = neutral.Failure(message=error.message, status=error.status, code=error.code)
            return self._writer.write(failure)
        sequence = getattr(self._writer, "sequence", 0)
        return dialect_errors.error_event(self._dialect, "", error, request_id, sequence)

    def _written(self, events: list[neutral.Event]) -> list[bytes]:
        out = []
        for event in events:
            if isinstance(event, neutral.Finish | neutral.Failure | neutral.Done):
                self.ended = True
            out.append(self._writer.write(event))
        return out


def stream_for(exchange: Exchange, crossing: Crossing) -> Stream:
    """The translation of one event stream."""
    array = _array(exchange, crossing)
    ways: dict[str, object] = {"array": True} if array else {}
    if crossing.caller.dialect == words.ANTHROPIC:
        assert exchange.ask is not None
        ways["estimate"] = exchange.ask.prompt_tokens  # message_start tells the input's tokens
    writer = crossing.caller.writer(crossing.request, _id(exchange), int(time.time()), **ways)
    return Stream(crossing.provider.reader(), writer, crossing.caller.dialect, array)


def head(exchange: Exchange, headers: Headers, crossing: Crossing, events: bool) -> Headers:
    """The provider's headers as a caller of another dialect gets them, with what was dropped."""
    out = [pair for pair in headers if pair[0] not in _GONE]
    events = events and not _array(exchange, crossing)
    out.append((b"content-type", _EVENTS if events else _JSON))
    if crossing.dropped:
        out.append((b"x-muxproxy-dropped", header_value(", ".join(crossing.dropped))))
    return out


def translated_body(
    exchange: Exchange, crossing: Crossing, status: int, body: bytes
) -> tuple[int, bytes]:
    """(status, body) for the caller of a collected answer. Raises MuxError upstream_protocol."""
    if status >= 400:
        status, written = crossing.caller.write_fault(crossing.provider.read_fault(status, body))
        return status, _encode(written)
    try:
        answer = crossing.provider.read_answer(body)
    except (ValueError, msgspec.DecodeError) as error:
        raise MuxError(
            "upstream_protocol", "the provider's answer could not be read for translation"
        ) from error
    if answer.failure is not None:
        answer.failure.status = answer.failure.status or 502
        status, written = crossing.caller.write_fault(answer.failure)
        return status, _encode(written)
    made, created = _id(exchange), int(time.time())
    if crossing.request.stream:  # asked for a stream, answered with one body
        return status, stream_for(exchange, crossing).of(answer)
    return status, _encode(crossing.caller.write_answer(answer, crossing.request, made, created))


def _array(exchange: Exchange, crossing: Crossing) -> bool:
    """Whether a Gemini caller wants a JSON array instead of events."""
    query: bytes = exchange.scope["query_string"]
    return crossing.caller.dialect == words.GEMINI and b"alt=sse" not in query


def _id(exchange: Exchange) -> str:
    assert exchange.ask is not None
    return _IDS.get(exchange.ask.dialect, "") + exchange.booking.public_id
