"""streamGenerateContent, read and written: each event is a whole GenerateContentResponse."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini import fault
from muxproxy.dialects.gemini.answer import blocked, grounded, written_part
from muxproxy.dialects.gemini.contents_read import kind_of
from muxproxy.dialects.gemini.partial import PartialArguments
from muxproxy.dialects.gemini.words import (
    FINISHES,
    camel,
    citations,
    finish_of,
    unseal,
    usage_metadata,
)
from muxproxy.dialects.reading import text_of
from muxproxy.dialects.usage import normalise
from muxproxy.exchange import Usage

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


class Reader:
    """Chunks -> neutral events. Usage is merged field by field: the last chunk's counts win, and
    one that it leaves out stays."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._started = False
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, int] = {}  # per choice
        self._partial: dict[int, PartialArguments] = {}
        self._finished = False
        self._failed = False

    def feed(self, event: str | None, data: bytes) -> list[n.Event]:
        """One event's data."""
        del event
        try:
            document = _decode(data)
        except (msgspec.DecodeError, UnicodeError):
            return []
        found: list[n.Event] = []
        for one in document if isinstance(document, list) else [document]:
            if isinstance(one, dict):
                self._document(one, found)
        return found

    def finish(self) -> list[n.Event]:
        """The body is over; the dialect has no end marker of its own."""
        if self._failed or not self._finished:
            return []
        self._finished = False
        return [*self._totals(), n.Done()]

    def _document(self, document: dict[str, Any], out: list[n.Event]) -> None:
        if "error" in document:
            self._failed = True
            out.append(faults.of(document))
            return
        if not self._started:
            self._started = True
            self._id = text_of(document.get("responseId")) or None
            model = text_of(document.get("modelVersion")) or None
            out.append(n.Start(id=self._id, model=model))
        if isinstance(counts := document.get("usageMetadata"), dict):
            self._usage.update(counts)
        candidates = document.get("candidates")
        if not candidates and (why := blocked(document)):
            self._finished = True
            out += [n.Finish(reason="filter", native=why), *self._totals()]
            return
        for at, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
            if isinstance(candidate, dict):
                self._candidate(candidate, at, out)

    def _candidate(self, candidate: dict[str, Any], at: int, out: list[n.Event]) -> None:
        number = candidate.get("index")
        number = number if number.__class__ is int else at
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for given in parts if isinstance(parts, list) else ():
            if isinstance(given, dict):
                self._part(camel(given), number, out)
        out += citations(candidate, number)
        called = self._calls.get(number, 0) > 0
        finish = finish_of(candidate.get("finishReason"), called, number)
        if finish is not None:
            if self._partial.pop(number, None) is not None and finish.reason != "length":
                finish.reason = "error"  # a call was begun and never ended: no clean stop
            self._finished = True
            out += [finish, *self._totals()]

    def _part(self, given: dict[str, Any], number: int, out: list[n.Event]) -> None:
        signature = text_of(given.get("thoughtSignature")) or None
        if isinstance(text := given.get("text"), str):
            if given.get("thought") is not True:
                if text:
                    out.append(n.TextDelta(choice=number, text=text))
                return
            if text:
                out.append(n.ThinkingDelta(choice=number, text=text))
            if signature is not None:
                thinking = n.Thinking()
                unseal(thinking, signature)
                out.append(
                    n.ThinkingSeal(
                        choice=number,
                        signature=thinking.signature,
                        sealed=thinking.sealed,
                        id=thinking.id,
                        maker=thinking.maker,
                    )
                )
        elif isinstance(call := given.get("functionCall"), dict):
            self._call(call, signature, number, out)
        elif isinstance(blob := given.get("inlineData"), dict):
            blob = camel(blob)
            kind = text_of(blob.get("mimeType")) or None
            media = n.Media(kind=kind_of(kind), media_type=kind, data=text_of(blob.get("data")))
            out.append(n.MediaDelta(choice=number, media=media))

    def _call(
        self, call: dict[str, Any], signature: str | None, number: int, out: list[n.Event]
    ) -> None:
        """A call comes whole, or with streamFunctionCallArguments in pieces by JSON path."""
        running = self._partial.get(number)
        pieces = call.get("partialArgs")
        if running is None and (isinstance(pieces, list) or call.get("willContinue") is True):
            running = self._partial[number] = PartialArguments(call, signature)
        if running is not None:
            running.add(pieces if isinstance(pieces, list) else [])
            if call.get("willContinue") is True:
                return
            del self._partial[number]
            call, signature = running.whole(), running.signature
        index = self._calls.get(number, 0)
        self._calls[number] = index + 1
        args = call.get("args")
        given = _encode(args if isinstance(args, dict) else {}).decode()
        out.append(
            n.CallStart(
                choice=number,
                index=index,
                id=text_of(call.get("id")) or ids.made_up(self._id, number, index),
                name=text_of(call.get("name")),
                signature=signature,
            )
        )
        out.append(n.CallDelta(choice=number, index=index, arguments=given))

    def _totals(self) -> list[n.Event]:
        usage = normalise(self._usage) if self._usage else None
        return [] if usage is None else [n.Totals(usage=usage)]


class Writer:
    """Neutral events -> chunks. Calls are collected until they are whole, for Gemini has no
    pieces of them; the finish waits for the usage. `array`: the form without alt=sse."""

    def __init__(self, request: n.Request, id: str, created: int, *, array: bool = False) -> None:
        del created
        self._model = request.model or ""
        self._renamed = request.renamed
        self._id = id
        self._array = array
        self._written = False
        self._calls: dict[tuple[int, int], n.Call] = {}
        self._seals: dict[int, n.Thinking] = {}
        self._finishes: dict[int, n.Finish] = {}
        self._citations: dict[int, list[n.Citation]] = {}
        self._usage: Usage | None = None
        self._over = False

    def write(self, event: n.Event) -> bytes:
        """The bytes that this event becomes; often none."""
        if self._over:
            return b""
        match event:
            case n.TextDelta() | n.RefusalDelta():
                return self._flush(event.choice) + self._chunk(event.choice, {"text": event.text})
            case n.ThinkingDelta():
                part = {"text": event.text, "thought": True}
                return self._flush(event.choice) + self._chunk(event.choice, part)
            case n.ThinkingSeal():
                return self._seal(event)
            case n.CallStart():
                before = self._flush(event.choice)
                self._calls[event.choice, event.index] = n.Call(
                    id=event.id,
                    name=self._renamed.get(event.name, event.name),
                    arguments="",
                    signature=event.signature,
                    custom=event.custom,
                )
                return before
            case n.CallDelta():
                if (call := self._calls.get((event.choice, event.index))) is not None:
                    call.arguments += event.arguments
            case n.MediaDelta():
                part = written_part(event.media) or {"text": ""}
                return self._flush(event.choice) + self._chunk(event.choice, part)
            case n.Citation():
                self._citations.setdefault(event.choice, []).append(event)
            case n.Finish():
                self._finishes[event.choice] = event
                return self._flush(event.choice)
            case n.Totals():
                self._usage = event.usage
            case n.Start():
                self._model = event.model or self._model
                self._usage = event.usage
            case n.Failure():
                return self._failed(event)
            case n.Done():
                return self._done()
        return b""

    def _seal(self, event: n.ThinkingSeal) -> bytes:
        thinking = n.Thinking(
            signature=event.signature, sealed=event.sealed, id=event.id, maker=event.maker
        )
        part = written_part(thinking)
        if part is None or "thoughtSignature" not in part:
            return b""
        return self._chunk(event.choice, part)

    def _flush(self, choice: int) -> bytes:
        """The calls of this choice that are whole by now."""
        out = b""
        for key in [key for key in self._calls if key[0] == choice]:
            part = written_part(self._calls.pop(key))
            assert part is not None
            out += self._chunk(choice, part)
        return out

    def _chunk(self, choice: int, part: dict[str, Any]) -> bytes:
        return self._send(
            {
                "candidates": [{"content": {"parts": [part], "role": "model"}, "index": choice}],
                "modelVersion": self._model,
                "responseId": self._id,
            }
        )

    def _send(self, document: dict[str, Any]) -> bytes:
        data = _encode(document)
        if self._array:
            begin = b",\r\n" if self._written else b"["
            self._written = True
            return begin + data
        return b"data: " + data + b"\r\n\r\n"

    def _done(self) -> bytes:
        self._over = True
        out = b"".join(self._flush(choice) for choice in {key[0] for key in self._calls})
        candidates = []
        for choice, finish in sorted(self._finishes.items()):
            last: dict[str, Any] = {
                "content": {"parts": [{"text": ""}], "role": "model"},
                "finishReason": FINISHES[finish.reason],
                "index": choice,
            }
            if grounding := grounded(self._citations.get(choice, [])):
                last["groundingMetadata"] = grounding
            candidates.append(last)
        document: dict[str, Any] = {"candidates": candidates}
        if self._usage is not None:
            document["usageMetadata"] = usage_metadata(self._usage)
        document |= {"modelVersion": self._model, "responseId": self._id}
        out += self._send(document)
        return out + b"]" if self._array else out

    def _failed(self, event: n.Failure) -> bytes:
        self._over = True
        out = self._send(fault.write(event)[1])
        return out + b"]" if self._array else out  # an array holds its error inside
