"""Neutral events as a Responses stream: typed events with sequence numbers, item by item."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.responses import fault
from muxproxy.dialects.responses.answer import message_item, picture_item, response, text_part
from muxproxy.dialects.responses.words import (
    annotation,
    call_item,
    customs_of,
    free_text,
    reasoning_item,
    spaces_of,
)
from muxproxy.exchange import Usage

_encode = msgspec.json.encode


class _Message:
    """The message item that is open, with its one content part."""

    def __init__(self, id: str, output: int, kind: str) -> None:
        self.id = id
        self.output = output
        self.kind = kind  # output_text or refusal
        self.text = ""
        self.logprobs: list[Any] = []
        self.notes: list[dict[str, Any]] = []

    def part(self) -> dict[str, Any]:
        """The content part so far."""
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.text}
        return text_part(self.text, self.logprobs) | {"annotations": self.notes}


class _Thought:
    """The reasoning item that is open."""

    def __init__(self, id: str, output: int, part: int) -> None:
        self.id = id
        self.output = output
        self.part = part
        self.thinking = n.Thinking(maker=None)
        self.summarised = False  # its summary part is open


class Writer:
    """One stream. Only the first choice has a place here."""

    def __init__(self, request: n.Request, id: str, created: int) -> None:
        self._request = request
        self._id = id
        self._created = created
        self._stem = id.removeprefix("resp_")
        self._customs = customs_of(request)
        self._spaces = spaces_of(request)
        self._renamed = request.renamed
        self._model = request.model
        self._items: list[dict[str, Any]] = []
        self._message: _Message | None = None
        self._thought: _Thought | None = None
        self._calls: dict[int, tuple[int, n.Call]] = {}  # index -> (output index, call)
        self._count = 0  # output indexes given out
        self._done: dict[int, dict[str, Any]] = {}
        self._finish: n.Finish | None = None
        self._usage: Usage | None = None
        self._begun = False
        self._over = False
        self.sequence = 0

    def write(self, event: n.Event) -> bytes:
        """The bytes that this event becomes; often none."""
        if self._over or getattr(event, "choice", 0) != 0:
            return b""
        out: list[bytes] = []
        if not self._begun and not isinstance(event, n.Failure):
            self._begin(event, out)
        match event:
            case n.TextDelta():
                self._text(event.text, "output_text", out, event.logprobs)
            case n.RefusalDelta():
                self._text(event.text, "refusal", out, None)
            case n.ThinkingDelta():
                self._think(event, out)
            case n.ThinkingSeal():
                self._seal(event, out)
            case n.CallStart():
                self._call(event, out)
            case n.CallDelta():
                self._arguments(event, out)
            case n.MediaDelta():
                self._picture(event.media, out)
            case n.Citation():
                self._note(event, out)
            case n.Finish():
                self._finish = event
                self._close(out)
            case n.Totals():
                self._usage = event.usage
            case n.Failure():
                self._fail(event, out)
            case n.Done():
                self._end(out)
        return b"".join(out)

    # -- beginning and end ------------------------------------------------------------------

    def _begin(self, event: n.Event, out: list[bytes]) -> None:
        self._begun = True
        if isinstance(event, n.Start):
            self._model = event.model or self._model
            self._created = event.created or self._created
        snapshot = self._response(None)
        self._send(out, "response.created", response=snapshot)
        self._send(out, "response.in_progress", response=snapshot)

    def _end(self, out: list[bytes]) -> None:
        self._close(out)
        self._over = True
        finish = self._finish or n.Finish()
        if finish.reason == "error":
            failure = n.Failure(message=f"the model ended with {finish.native or 'an error'}")
            self._over = False
            self._fail(failure, out)
            return
        incomplete = finish.reason in ("length", "filter")
        kind = "response.incomplete" if incomplete else "response.completed"
        self._send(out, kind, response=self._response(finish))

    def _fail(self, failure: n.Failure, out: list[bytes]) -> None:
        self._over = True
        error = fault.write(failure)[1]["error"]
        assert isinstance(error, dict)
        code = error["code"] or error["type"]
        flat = {"code": code, "message": error["message"], "param": error["param"]}
        self._send(out, "error", error=error, **flat)
        failed = self._response(n.Finish(reason="error"))
        failed["error"] = {"code": code, "message": error["message"]}
        self._send(out, "response.failed", response=failed)

    def _response(self, finish: n.Finish | None) -> dict[str, Any]:
        return response(
            self._request,
            self._id,
            self._created,
            model=self._model,
            finish=finish,
            items=[self._done[at] for at in sorted(self._done)],
            usage_=self._usage if finish is not None else None,
        )

    def _send(self, out: list[bytes], kind: str, **fields: Any) -> None:
        document = {"type": kind, "sequence_number": self.sequence, **fields}
        self.sequence += 1
        out.append(b"event: " + kind.encode() + b"\ndata: " + _encode(document) + b"\n\n")

    # -- items ------------------------------------------------------------------------------

    def _next(self) -> tuple[int, str]:
        at = self._count
        self._count += 1
        return at, f"{self._stem}_{at}"

    def _item_done(self, at: int, item: dict[str, Any], out: list[bytes]) -> None:
        self._done[at] = item
        self._send(out, "response.output_item.done", output_index=at, item=item)

    def _close(self, out: list[bytes]) -> None:
        """Ends whatever item is open."""
        self._close_thought(out)
        self._close_message(out)
        self._close_calls(out)

    def _text(self, text: str, kind: str, out: list[bytes], logprobs: list[Any] | None) -> None:
        message = self._message
        if message is not None and message.kind != kind:
            self._close_message(out)
            message = None
        if message is None:
            self._close(out)
            at, name = self._next()
            message = self._message = _Message(f"msg_{name}", at, kind)
            item = message_item(message.id, [], "in_progress")
            self._send(out, "response.output_item.added", output_index=at, item=item)
            self._send(out, "response.content_part.added", **self._at(message, part=message.part()))
        message.text += text
        if kind == "refusal":
            self._send(out, "response.refusal.delta", **self._at(message, delta=text))
            return
        message.logprobs += logprobs or []
        more = self._at(message, delta=text, logprobs=logprobs or [])
        self._send(out, "response.output_text.delta", **more)

    @staticmethod
    def _at(message: _Message, **fields: Any) -> dict[str, Any]:
        where = {"item_id": message.id, "output_index": message.output, "content_index": 0}
        return where | fields

    def _note(self, found: n.Citation, out: list[bytes]) -> None:
        message = self._message
        if message is None or message.kind == "refusal" or not found.url:
            return
        note = annotation(found)
        more = self._at(message, annotation_index=len(message.notes), annotation=note)
        message.notes.append(note)
        self._send(out, "response.output_text.annotation.added", **more)

    def _close_message(self, out: list[bytes]) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        if message.kind == "refusal":
            more = self._at(message, refusal=message.text)
            self._send(out, "response.refusal.done", **more)
        else:
            more = self._at(message, text=message.text, logprobs=message.logprobs)
            self._send(out, "response.output_text.done", **more)
        self._send(out, "response.content_part.done", **self._at(message, part=message.part()))
        item = message_item(message.id, [message.part()], "completed")
        self._item_done(message.output, item, out)

    # -- reasoning --------------------------------------------------------------------------

    def _open_thought(self, part: int, out: list[bytes]) -> _Thought:
        thought = self._thought
        if thought is not None and thought.part == part:
            return thought
        self._close(out)
        at, name = self._next()
        thought = self._thought = _Thought(f"rs_{name}", at, part)
        item = {"id": thought.id, "type": "reasoning", "summary": []}
        self._send(out, "response.output_item.added", output_index=at, item=item)
        return thought

    def _think(self, event: n.ThinkingDelta, out: list[bytes]) -> None:
        thought = self._open_thought(event.part, out)
        if not thought.summarised:
            thought.summarised = True
            part = {"type": "summary_text", "text": ""}
            more = self._within(thought, part=part)
            self._send(out, "response.reasoning_summary_part.added", **more)
        thought.thinking.text += event.text
        more = self._within(thought, delta=event.text)
        self._send(out, "response.reasoning_summary_text.delta", **more)

    @staticmethod
    def _within(thought: _Thought, **fields: Any) -> dict[str, Any]:
        where = {"item_id": thought.id, "output_index": thought.output, "summary_index": 0}
        return where | fields

    def _seal(self, event: n.ThinkingSeal, out: list[bytes]) -> None:
        thinking = self._open_thought(event.part, out).thinking
        thinking.signature, thinking.sealed = event.signature, event.sealed
        thinking.maker, thinking.id = event.maker, event.id

    def _close_thought(self, out: list[bytes]) -> None:
        thought, self._thought = self._thought, None
        if thought is None:
            return
        text = thought.thinking.text
        if thought.summarised:
            more = self._within(thought, text=text)
            self._send(out, "response.reasoning_summary_text.done", **more)
            part = {"type": "summary_text", "text": text}
            more = self._within(thought, part=part)
            self._send(out, "response.reasoning_summary_part.done", **more)
        item = reasoning_item(thought.thinking, thought.id) | {"id": thought.id}
        self._item_done(thought.output, item, out)

    # -- calls ------------------------------------------------------------------------------

    def _call(self, event: n.CallStart, out: list[bytes]) -> None:
        self._close_thought(out)
        self._close_message(out)
        at, name = self._next()
        name_ = self._renamed.get(event.name, event.name)
        call = n.Call(id=event.id, name=name_, arguments="", custom=event.custom)
        self._calls[event.index] = (at, call)
        item = call_item(call, self._customs, self._spaces, name, "in_progress")
        item["input" if item["type"] == "custom_tool_call" else "arguments"] = ""
        self._send(out, "response.output_item.added", output_index=at, item=item)

    def _arguments(self, event: n.CallDelta, out: list[bytes]) -> None:
        found = self._calls.get(event.index)
        if found is None:
            return
        at, call = found
        call.arguments += event.arguments
        if call.name in self._customs and not call.custom:
            return  # free text inside JSON: it can be told only when it is whole
        where = {"item_id": self._call_id(at, call), "output_index": at}
        kind = "custom_tool_call_input" if call.custom else "function_call_arguments"
        self._send(out, f"response.{kind}.delta", **where, delta=event.arguments)

    def _call_id(self, at: int, call: n.Call) -> str:
        custom = call.custom or call.name in self._customs
        return f"{'ctc' if custom else 'fc'}_{self._stem}_{at}"

    def _close_calls(self, out: list[bytes]) -> None:
        for at, call in self._calls.values():
            where = {"item_id": self._call_id(at, call), "output_index": at}
            if call.custom or call.name in self._customs:
                text = call.arguments if call.custom else free_text(call.arguments)
                if not call.custom:
                    self._send(out, "response.custom_tool_call_input.delta", **where, delta=text)
                self._send(out, "response.custom_tool_call_input.done", **where, input=text)
            else:
                call.arguments = call.arguments or "{}"
                space = self._spaces.get(call.name, "")
                name = call.name.removeprefix(f"{space}__") if space else call.name
                more = where | {"arguments": call.arguments, "name": name}
                self._send(out, "response.function_call_arguments.done", **more)
            item = call_item(call, self._customs, self._spaces, f"{self._stem}_{at}", "completed")
            self._item_done(at, item, out)
        self._calls.clear()

    def _picture(self, media: n.Media, out: list[bytes]) -> None:
        self._close(out)
        at, name = self._next()
        item = picture_item(media, f"ig_{name}")
        begun = item | {"status": "in_progress", "result": None}
        self._send(out, "response.output_item.added", output_index=at, item=begun)
        self._item_done(at, item, out)
