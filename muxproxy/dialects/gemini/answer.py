"""A GenerateContentResponse, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import faults, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.gemini.contents_read import kind_of
from muxproxy.dialects.gemini.request_write import arguments
from muxproxy.dialects.gemini.words import (
    FINISHES,
    camel,
    citations,
    finish_of,
    seal_of,
    unseal,
    usage_metadata,
)
from muxproxy.dialects.reading import listed, text_of
from muxproxy.dialects.usage import normalise

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


def read(body: bytes) -> n.Answer:
    """Raises ValueError where it is no such answer. An array (a stream without alt=sse) is read
    as one answer."""
    value = _decode(body)
    documents = value if isinstance(value, list) else [value]
    answer = n.Answer()
    outputs: dict[int, n.Output] = {}
    native: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document, dict):
            raise ValueError("not a GenerateContentResponse")
        if "error" in document:
            answer.failure = faults.of(document)
            continue
        answer.id = answer.id or text_of(document.get("responseId")) or None
        answer.model = answer.model or text_of(document.get("modelVersion")) or None
        if isinstance(counts := document.get("usageMetadata"), dict):
            native.update(counts)
        for at, candidate in enumerate(listed(document.get("candidates"))):
            if isinstance(candidate, dict):
                _candidate(answer, outputs, candidate, at)
        if blocked(document) and not document.get("candidates"):
            finish = n.Finish(reason="filter", native=blocked(document))
            outputs.setdefault(0, n.Output(finish=finish))
    answer.outputs = [outputs[number] for number in sorted(outputs)]
    answer.usage = normalise(native) if native else None
    return answer


def blocked(document: dict[str, Any]) -> str | None:
    """promptFeedback.blockReason."""
    feedback = document.get("promptFeedback")
    found = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return found if isinstance(found, str) else None


def _candidate(
    answer: n.Answer, outputs: dict[int, n.Output], candidate: dict[str, Any], at: int
) -> None:
    number = candidate.get("index")
    number = number if number.__class__ is int else at
    output = outputs.setdefault(number, n.Output(finish=n.Finish(choice=number)))
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for given in parts if isinstance(parts, list) else ():
        if isinstance(given, dict):
            _part(answer, output, camel(given), number)
    output.citations += citations(candidate, number)
    called = any(isinstance(part, n.Call) for part in output.parts)
    finish = finish_of(candidate.get("finishReason"), called, number)
    output.finish = finish or output.finish


def _part(answer: n.Answer, output: n.Output, given: dict[str, Any], number: int) -> None:
    signature = text_of(given.get("thoughtSignature")) or None
    parts = output.parts
    last = parts[-1] if parts else None
    if isinstance(text := given.get("text"), str):
        if given.get("thought") is True:
            if isinstance(last, n.Thinking) and last.signature is None:
                last.text += text
            else:
                last = n.Thinking(text=text)
                parts.append(last)
            if signature is not None:
                unseal(last, signature)
        elif isinstance(last, n.Text) and last.signature is None:
            last.text += text
            last.signature = signature
        elif text or signature:
            parts.append(n.Text(text=text, signature=signature))
    elif isinstance(call := given.get("functionCall"), dict):
        args = call.get("args")
        index = sum(isinstance(part, n.Call) for part in parts)
        parts.append(
            n.Call(
                id=text_of(call.get("id")) or ids.made_up(answer.id, number, index),
                name=text_of(call.get("name")),
                arguments=_encode(args if isinstance(args, dict) else {}).decode(),
                signature=signature,
            )
        )
    elif isinstance(blob := given.get("inlineData"), dict):
        blob = camel(blob)
        kind = text_of(blob.get("mimeType")) or None
        data = text_of(blob.get("data"))
        parts.append(n.Media(kind=kind_of(kind), media_type=kind, data=data))


def write(answer: n.Answer, request: n.Request, id: str, created: int) -> dict[str, Any]:
    """The whole answer; `created` has no place here."""
    del created
    out: dict[str, Any] = {
        "candidates": [
            candidate(_named(output, request), number)
            for number, output in enumerate(answer.outputs)
        ],
    }
    if answer.usage is not None:
        out["usageMetadata"] = usage_metadata(answer.usage)
    out["modelVersion"] = answer.model or request.model or ""
    out["responseId"] = answer.id or id
    return out


def _named(output: n.Output, request: n.Request) -> n.Output:
    """The output with the caller's own names of its tools."""
    if not request.renamed:
        return output
    parts = [
        msgspec.structs.replace(part, name=request.renamed.get(part.name, part.name))
        if isinstance(part, n.Call)
        else part
        for part in output.parts
    ]
    return msgspec.structs.replace(output, parts=parts)


def candidate(output: n.Output, number: int) -> dict[str, Any]:
    """One choice as a candidate."""
    parts = [written for part in output.parts if (written := written_part(part)) is not None]
    out: dict[str, Any] = {
        "content": {"parts": parts or [{"text": ""}], "role": "model"},
        "finishReason": FINISHES[output.finish.reason],
        "index": number,
    }
    if output.citations and (grounding := grounded(output.citations)):
        out["groundingMetadata"] = grounding
    return out


def written_part(part: n.Part) -> dict[str, Any] | None:
    """One part of an answer; None for what Gemini has no part for."""
    if isinstance(part, n.Text):
        made: dict[str, Any] = {"text": part.text}
        if part.signature is not None:
            made["thoughtSignature"] = part.signature
        return made
    if isinstance(part, n.Thinking):
        made = {"text": part.text, "thought": True}
        if (seal := seal_of(part)) is not None:
            made["thoughtSignature"] = seal
        return made
    if isinstance(part, n.Call):
        made = {"functionCall": {"id": part.id, "name": part.name, "args": arguments(part)}}
        if part.signature is not None:
            made["thoughtSignature"] = part.signature
        return made
    if isinstance(part, n.Refusal):
        return {"text": part.text}
    if isinstance(part, n.Media) and part.data is not None:
        return {"inlineData": {"mimeType": part.media_type or "image/png", "data": part.data}}
    return None


def grounded(found: list[n.Citation]) -> dict[str, Any]:
    """Citations with a URL as groundingMetadata."""
    pages = [one for one in found if one.url]
    if not pages:
        return {}
    chunks = [{"web": {"uri": one.url, "title": one.title or ""}} for one in pages]
    supports = [
        {"segment": {"text": one.quoted}, "groundingChunkIndices": [number]}
        for number, one in enumerate(pages)
        if one.quoted
    ]
    return {"groundingChunks": chunks, **({"groundingSupports": supports} if supports else {})}
