"""A whole Anthropic message, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import words
from muxproxy.dialects.anthropic.blocks_write import arguments, thought
from muxproxy.dialects.reading import provided, text_of
from muxproxy.dialects.usage import normalise
from muxproxy.errors import MuxError

_encode = msgspec.json.encode


def read(body: bytes) -> n.Answer:
    """Raises MuxError upstream_protocol where `body` is no message at all."""
    try:
        document = provided(body)
    except ValueError as exc:
        raise MuxError("upstream_protocol", "the provider's answer is not valid JSON") from exc
    if not isinstance(document, dict):
        raise MuxError("upstream_protocol", "the provider's answer is not a JSON object")
    answer = n.Answer(
        id=text_of(document.get("id")) or None, model=text_of(document.get("model")) or None
    )
    native = document.get("usage")
    if isinstance(native, dict):
        answer.usage = normalise(native)
    if document.get("type") == "error":
        answer.failure = faults.of(document)
        return answer
    output = n.Output(finish=finish(document))
    formatted = _blocks(document.get("content"), output)
    told = refusal(document)
    if told is not None:
        output.parts.append(n.Refusal(text=told))
    if formatted and not any(part.__class__ is n.Call for part in output.parts):
        output.finish.reason = "stop"
    answer.outputs.append(output)
    return answer


def finish(native: dict[str, Any]) -> n.Finish:
    """The end of a message, or of a message_delta's delta."""
    word = text_of(native.get("stop_reason"))
    return n.Finish(
        reason=words.REASONS.get(word, "stop"),
        stop_sequence=text_of(native.get("stop_sequence")) or None,
        native=word or None,
    )


def refusal(native: dict[str, Any]) -> str | None:
    """Why the model refused, where it said so."""
    details = native.get("stop_details")
    if native.get("stop_reason") != "refusal" or not isinstance(details, dict):
        return None
    return text_of(details.get("explanation")) or None


def _blocks(content: object, output: n.Output) -> bool:
    """Fills the output's parts; whether the stand-in for a format was called."""
    formatted = False
    at = 0
    for block in content if isinstance(content, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            text = text_of(block.get("text"))
            for note in words.notes(block):
                output.citations.append(words.citation(note, at, at + len(text)))
            at += len(text)
            if text:
                output.parts.append(n.Text(text=text))
        elif kind == "tool_use":
            told = _encode(block.get("input") or {}).decode()
            if block.get("name") == words.FORMAT_TOOL:
                formatted = True
                at += len(told)
                output.parts.append(n.Text(text=told))
                continue
            name, tool = text_of(block.get("id")), text_of(block.get("name"))
            output.parts.append(n.Call(id=name, name=tool, arguments=told))
        elif kind == "thinking":
            signature = text_of(block.get("signature")) or None
            output.parts.append(
                n.Thinking(
                    text=text_of(block.get("thinking")),
                    signature=signature,
                    maker=None if signature is None else "anthropic",
                )
            )
        elif kind == "redacted_thinking":
            data = text_of(block.get("data"))
            output.parts.append(n.Thinking(sealed=data, maker="anthropic"))
    return formatted


def write(answer: n.Answer, request: n.Request, id: str, created: int) -> dict[str, Any]:
    """The message to encode: the first choice, this dialect has no other. Raises MuxError
    upstream_protocol where there is only an error."""
    faults.refuse_empty(answer)
    output = answer.outputs[0] if answer.outputs else n.Output()
    content: list[dict[str, Any]] = []
    refused = False
    for part in output.parts:
        if isinstance(part, n.Text):
            if part.text:
                content.append({"type": "text", "text": part.text})
        elif isinstance(part, n.Call):
            content.append(
                {
                    "type": "tool_use",
                    "id": ids.anthropic(part.id),
                    "name": request.renamed.get(part.name, part.name),
                    "input": arguments(part),
                }
            )
        elif isinstance(part, n.Thinking):
            content.append(thought(part))
        elif isinstance(part, n.Refusal):
            refused = True
            content.append({"type": "text", "text": part.text})
    _cite(content, output.citations)
    reason = output.finish.reason
    if refused and reason == "stop":
        reason = "filter"
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": answer.model or request.model or "",
        "content": content,
        "stop_reason": words.STOPS[reason],
        "stop_sequence": output.finish.stop_sequence,
        "usage": words.usage(answer.usage),
    }


def _cite(content: list[dict[str, Any]], citations: list[n.Citation]) -> None:
    """Puts citations on the text block they are about; the last one where none is told."""
    blocks = [block for block in content if block["type"] == "text"]
    if not blocks:
        return
    for found in citations:
        if found.url is None:
            continue
        place, end = blocks[-1], 0
        for block in blocks:
            end += len(block["text"])
            if found.start is not None and found.start < end:
                place = block
                break
        # only where there are some: the AI SDK takes no null here
        place.setdefault("citations", []).append(words.located(found))
