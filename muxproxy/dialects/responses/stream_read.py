"""A Responses stream as neutral events. What an event is, its `type` says: relays leave the
`event:` lines out."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults
from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import listed, text_of
from muxproxy.dialects.responses.words import citation_of, finish_of, thinking_of
from muxproxy.dialects.usage import normalise

_decode = msgspec.json.Decoder().decode
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_CALLS = frozenset({"function_call", "custom_tool_call"})


class Reader:
    """Events -> neutral events."""

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._failed = False
        self._calls: dict[object, int] = {}  # by output index
        self._pieces: set[int] = set()  # calls whose arguments came in pieces
        self._thoughts: dict[object, int] = {}  # by output index
        self._paragraphs: dict[int, object] = {}  # block -> the summary part it is in
        self._texts: set[object] = set()  # output indexes whose text came in pieces
        self._refusals: set[object] = set()  # and whose refusal did

    def feed(self, event: str | None, data: bytes) -> list[n.Event]:
        """One event's data."""
        del event
        if data == b"[DONE]":
            return []
        try:
            document = _decode(data)
        except (msgspec.DecodeError, UnicodeError):
            return []
        if not isinstance(document, dict):
            return []
        index = document.get("output_index")
        document["output_index"] = index if index.__class__ is int else -1
        found: list[n.Event] = []
        self._event(text_of(document.get("type")), document, found)
        return found

    def finish(self) -> list[n.Event]:
        """The body is over."""
        return []

    def _event(self, kind: str, document: dict[str, Any], out: list[n.Event]) -> None:
        if kind == "error" or (not kind and "error" in document):
            self._failure(document, out)
        elif kind in _ENDS:
            self._end(kind, document, out)
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self._start(document.get("response"), out)
        elif kind == "response.output_text.delta":
            self._texts.add(document.get("output_index"))
            logprobs = document.get("logprobs")
            out.append(
                n.TextDelta(
                    text=text_of(document.get("delta")),
                    logprobs=logprobs if isinstance(logprobs, list) and logprobs else None,
                )
            )
        elif kind == "response.refusal.delta":
            self._refusals.add(document.get("output_index"))
            out.append(n.RefusalDelta(text=text_of(document.get("delta"))))
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            self._think(document, out)
        elif kind in (
            "response.function_call_arguments.delta",
            "response.custom_tool_call_input.delta",
        ):
            self._arguments(document, out)
        elif kind == "response.output_item.added":
            self._added(document, out)
        elif kind == "response.output_item.done":
            self._item_done(document, out)
        elif kind == "response.output_text.annotation.added":
            note = citation_of(document.get("annotation"))
            out += [] if note is None else [note]

    def _start(self, response: object, out: list[n.Event]) -> None:
        if self._started or not isinstance(response, dict):
            return
        self._started = True
        created = response.get("created_at")
        out.append(
            n.Start(
                id=text_of(response.get("id")) or None,
                model=text_of(response.get("model")) or None,
                created=int(created) if isinstance(created, int | float) else None,
            )
        )

    def _think(self, document: dict[str, Any], out: list[n.Event]) -> None:
        """One block per reasoning item; its summary parts are paragraphs."""
        part = self._thought(document.get("output_index"))
        text = text_of(document.get("delta"))
        index = document.get("summary_index", document.get("content_index"))
        if part in self._paragraphs and self._paragraphs[part] != index:
            text = "\n\n" + text
        self._paragraphs[part] = index
        out.append(n.ThinkingDelta(part=part, text=text))

    def _thought(self, output: object) -> int:
        return self._thoughts.setdefault(output, len(self._thoughts))

    def _added(self, document: dict[str, Any], out: list[n.Event]) -> None:
        item = document.get("item")
        if isinstance(item, dict) and text_of(item.get("type")) in _CALLS:
            self._begin(document.get("output_index"), item, out)

    def _begin(self, output: object, item: dict[str, Any], out: list[n.Event]) -> int:
        index = self._calls[output] = len(self._calls)
        out.append(
            n.CallStart(
                index=index,
                id=text_of(item.get("call_id")) or text_of(item.get("id")),
                name=text_of(item.get("name")),
                custom=item.get("type") == "custom_tool_call",
            )
        )
        return index

    def _arguments(self, document: dict[str, Any], out: list[n.Event]) -> None:
        index = self._calls.get(document.get("output_index"))
        if index is None:
            return
        self._pieces.add(index)
        out.append(n.CallDelta(index=index, arguments=text_of(document.get("delta"))))

    def _item_done(self, document: dict[str, Any], out: list[n.Event]) -> None:
        """The whole item: what did not come in pieces is taken from it."""
        item, output = document.get("item"), document.get("output_index")
        if not isinstance(item, dict):
            return
        kind = text_of(item.get("type"))
        if kind in _CALLS:
            index = self._calls.get(output)
            if index is None:
                index = self._begin(output, item, out)
            if index not in self._pieces:
                given = text_of(item.get("arguments") or item.get("input"))
                out.append(n.CallDelta(index=index, arguments=given))
        elif kind == "reasoning":
            thinking = thinking_of(item)
            if thinking.sealed or thinking.signature:
                out.append(
                    n.ThinkingSeal(
                        part=self._thought(output),
                        signature=thinking.signature,
                        sealed=thinking.sealed,
                        id=thinking.id,
                        maker=thinking.maker,
                    )
                )
        elif kind == "message":
            self._message_done(item, output, out)
        elif kind == "image_generation_call" and isinstance(item.get("result"), str):
            form = text_of(item.get("output_format")) or "png"
            media = n.Media(kind="image", media_type=f"image/{form}", data=item["result"])
            out.append(n.MediaDelta(media=media))

    def _message_done(self, item: dict[str, Any], output: object, out: list[n.Event]) -> None:
        for part in listed(item.get("content")):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "output_text" and output not in self._texts:
                out.append(n.TextDelta(text=text_of(part.get("text"))))
            elif kind == "refusal" and output not in self._refusals:
                out.append(n.RefusalDelta(text=text_of(part.get("refusal"))))

    def _end(self, kind: str, document: dict[str, Any], out: list[n.Event]) -> None:
        response = document.get("response")
        if self._over or not isinstance(response, dict):
            return
        self._over = True
        self._start(response, out)
        if kind == "response.failed":
            if not self._failed:
                self._failed = True
                out.append(faults.of(response))
            return
        out.append(finish_of(response, bool(self._calls)))
        counts = response.get("usage")
        usage = normalise(counts) if isinstance(counts, dict) else None
        if usage is not None:
            out.append(n.Totals(usage=usage))
        out.append(n.Done())

    def _failure(self, document: dict[str, Any], out: list[n.Event]) -> None:
        """Nested {error: {...}} as recorded, or flat {code, message} as the SDK has it."""
        if self._failed:
            return
        self._failed = True
        if isinstance(document.get("error"), dict | str):
            out.append(faults.of(document))
            return
        code = text_of(document.get("code")) or None
        out.append(
            n.Failure(
                message=text_of(document.get("message")),
                code=code,
                status=faults.STATUSES.get(code or ""),
                param=text_of(document.get("param")) or None,
            )
        )
