"""An answer held back until it is judged: a Sink between the relay and the caller."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from muxproxy.dialects import neutral
from muxproxy.dialects.translators import translator
from muxproxy.exchange import Ask
from muxproxy.headers import Headers
from muxproxy.proxy.relay import Collect, Sink
from muxproxy.routing.judges import Said, Wanted, opening_fault
from muxproxy.sse import Framer


class Held:
    """Keeps head and body. With `hold`, a stream whose first so many characters show no fault is
    let through from there on (`opened`). With `good_passes` only error answers are kept; of what
    passes, up to `copy` bytes are kept as well, for `said`."""

    def __init__(
        self,
        sink: Sink,
        ask: Ask,
        wanted: Wanted,
        judges: Collection[str] = (),
        hold: int | None = None,
        *,
        good_passes: bool = False,
        copy: int = 0,
    ) -> None:
        self._copy = copy
        self._size = 0  # bytes copied
        self._good_passes = good_passes
        self._sink = sink
        self._ask = ask
        self._wanted = wanted
        self._judges = judges
        self._hold = hold if ask.stream else None
        self._opening = Opening(ask) if self._hold is not None else None
        self._head: tuple[int, Headers] | None = None
        self._body: list[bytes] = []
        self._said: Said | None = None
        self.ended = False
        self.opened = False
        self.failed: str | None = None  # the code of what went wrong

    @property
    def gone(self) -> bool:
        """Whether the caller left."""
        return self._sink.gone

    def whole_body(self) -> bytes | None:
        """The request's."""
        return self._sink.whole_body()

    def watch(
        self, pause: Callable[[], None], resume: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        """The exchange watches the caller itself."""

    def start(self, status: int, headers: Headers) -> None:
        """Keep the head."""
        if self._good_passes and status < 400:
            self.opened = True
            self._sink.start(status, headers)
            return
        self._head = (status, headers)

    def write(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.opened:
            self._sink.write(data)
            if self._copy:
                self._keep(data)
            return
        self._body.append(data)
        if self._opening is None or self._hold is None:
            return
        text = self._opening.feed(data)
        # Only whole events may be the last that went out: a comment or an error may follow.
        if len(text) >= self._hold and data.endswith((b"\n\n", b"\r\n\r\n")):
            self._opening = None
            if opening_fault(text, self._wanted, self._judges) is None:
                self.opened = True
                self._pass((b"x-muxproxy-cascade", b"kept by its beginning"))
                self._sink.flush()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._copy:
            self._copy = 0
            self._body.clear()
            return
        self._body.append(data)

    @property
    def copied(self) -> bool:
        """Whether all of what passed is still here."""
        return self.opened and self.ended and self._copy > 0

    def flush(self) -> None:
        """Nothing goes out yet."""
        if self.opened:
            self._sink.flush()

    def end(self) -> None:
        """The body is complete."""
        self.ended = True
        if self.opened:
            self._sink.end()

    def abort(self) -> None:
        """It broke."""
        if self.opened:
            self._sink.abort()

    def said(self) -> Said:
        """What the answer says."""
        if self._said is None:
            self._said = read_said(self._ask, b"".join(self._body))
        return self._said

    def release(self, edit: Collect | None, *more: tuple[bytes, bytes]) -> None:
        """To the caller with it, edited, and with these headers. After `end`."""
        if edit is not None and self._head is not None:
            status, headers, body = edit(*self._head, b"".join(self._body))
            self._head, self._body = (status, headers), [body]
        self._pass(*more)
        self._sink.end()

    def _pass(self, *more: tuple[bytes, bytes]) -> None:
        assert self._head is not None
        status, headers = self._head
        self._sink.start(status, [*headers, *more])
        self._sink.write(b"".join(self._body))
        self._body.clear()


class Opening:
    """The text at the beginning of a stream, read as it comes."""

    def __init__(self, ask: Ask) -> None:
        self._reader = translator(ask.dialect).reader()
        self._framer = Framer()
        self._text = ""

    def feed(self, data: bytes) -> str:
        """The text so far; none where it cannot be read, which the judges see at its end."""
        events: list[neutral.Event] = []
        try:
            for name, payload in self._framer.feed(data):
                events += self._reader.feed(name.decode("latin-1") or None, payload)
        except (ValueError, KeyError, msgspec.MsgspecError):
            return ""
        for event in events:
            if isinstance(event, neutral.TextDelta) and not event.choice:
                self._text += event.text
        return self._text


def read_said(ask: Ask, body: bytes) -> Said:
    """An answer in the caller's own dialect, or as much of a stream as there is."""
    try:
        side = translator(ask.dialect)
        if body.lstrip()[:1] in (b"{", b"["):
            return _whole(side.read_answer(body))
        reader, framer = side.reader(), Framer()
        events: list[neutral.Event] = []
        for name, payload in [*framer.feed(body), *framer.finish()]:
            events += reader.feed(name.decode("latin-1") or None, payload)
        return _streamed([*events, *reader.finish()])
    except (ValueError, KeyError, msgspec.MsgspecError):
        return Said(finish="error")


def _whole(answer: neutral.Answer) -> Said:
    said = Said(text="", calls=[], logprobs=[])
    for output in answer.outputs[:1]:
        for part in output.parts:
            if isinstance(part, neutral.Text):
                said.text += part.text
            elif isinstance(part, neutral.Call):
                said.calls.append((part.name, "{}" if part.custom else part.arguments))
        said.finish = output.finish.reason
        said.logprobs = _probabilities(output.logprobs)
    if answer.failure is not None:
        said.finish = "error"
    return said


def _streamed(events: list[neutral.Event]) -> Said:
    said = Said(text="", calls=[], logprobs=[])
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for event in events:
        if getattr(event, "choice", 0):
            continue
        if isinstance(event, neutral.TextDelta):
            said.text += event.text
            said.logprobs += _probabilities(event.logprobs)
        elif isinstance(event, neutral.CallStart):
            names[event.index] = event.name
            arguments[event.index] = []
        elif isinstance(event, neutral.CallDelta):
            arguments.setdefault(event.index, []).append(event.arguments)
        elif isinstance(event, neutral.Finish):
            said.finish = event.reason
        elif isinstance(event, neutral.Failure):
            said.finish = "error"
    said.calls = [(name, "".join(arguments.get(at, ()))) for at, name in names.items()]
    return said


def _probabilities(listed: list[object] | None) -> list[float]:
    found = []
    for one in listed or ():
        value = one.get("logprob") if isinstance(one, dict) else None
        if isinstance(value, int | float):
            found.append(float(value))
    return found
