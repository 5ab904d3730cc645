"""The readers and writers of each dialect, imported when the first call needs them.

A sidecar whose callers and providers speak one dialect never loads them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from muxproxy import exchange as words
from muxproxy.dialects import neutral

Body = dict[str, Any]

# What one translated call asks for: the endpoint that has every dialect's counterpart.
ENDPOINTS = {
    words.OPENAI: words.CHAT,
    words.RESPONSES: words.RESPOND,
    words.ANTHROPIC: words.MESSAGES,
    words.GEMINI: words.GENERATE,
}
TRANSLATABLE = frozenset(ENDPOINTS.values())


class StreamReader(Protocol):
    """Server-sent events of one dialect -> neutral events."""

    def feed(self, event: str | None, data: bytes) -> list[neutral.Event]: ...
    def finish(self) -> list[neutral.Event]: ...


class StreamWriter(Protocol):
    """Neutral events -> the bytes of one dialect's stream."""

    def write(self, event: neutral.Event) -> bytes: ...


class Translator:
    """One dialect's side of every translation; see `neutral` for the contracts."""

    def __init__(self, dialect: str) -> None:
        package = f"muxproxy.dialects.{dialect}"
        self.dialect = dialect
        self._request = import_module(f"{package}.request")
        self._answer = import_module(f"{package}.answer")
        self._stream = import_module(f"{package}.stream")
        self._fault = import_module(f"{package}.fault")

    def read_request(self, body: bytes, model: str | None, stream: bool) -> neutral.Request:
        """Raises MuxError invalid_request."""
        request: neutral.Request = self._request.read(body, model, stream)
        return request

    def write_request(self, request: neutral.Request, **ways: Any) -> Body:
        """What to encode; what is lost on the way is in `request.dropped`."""
        body: Body = self._request.write(request, **ways)
        return body

    def read_answer(self, body: bytes) -> neutral.Answer:
        """Raises ValueError for a body that is no answer of this dialect."""
        answer: neutral.Answer = self._answer.read(body)
        return answer

    def write_answer(
        self, answer: neutral.Answer, request: neutral.Request, id: str, created: int
    ) -> Body:
        """The whole answer as this dialect's callers expect it."""
        body: Body = self._answer.write(answer, request, id, created)
        return body

    def reader(self) -> StreamReader:
        """For one stream of this dialect."""
        reader: StreamReader = self._stream.Reader()
        return reader

    def writer(self, request: neutral.Request, id: str, created: int, **ways: Any) -> StreamWriter:
        """For one stream to a caller of this dialect."""
        writer: StreamWriter = self._stream.Writer(request, id, created, **ways)
        return writer

    def read_fault(self, status: int, body: bytes) -> neutral.Failure:
        """An error answer, whatever its shape."""
        failure: neutral.Failure = self._fault.read(status, body)
        return failure

    def write_fault(self, failure: neutral.Failure) -> tuple[int, Body]:
        """(status, body) of an error answer to a caller of this dialect."""
        written: tuple[int, Body] = self._fault.write(failure)
        return written


@lru_cache(maxsize=8)
def translator(dialect: str) -> Translator:
    """The translator of `dialect`, one of exchange.DIALECTS."""
    return Translator(dialect)
