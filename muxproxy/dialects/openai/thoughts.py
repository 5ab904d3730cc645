"""Reasoning in OpenAI-compatible messages: reasoning_content, and reasoning_details for the proof.

reasoning_details is OpenRouter's shape (openrouter.ai/docs/use-cases/reasoning-tokens; recorded:
openrouter, vercel-gateway, snowflake): entries reasoning.text {text, signature},
reasoning.summary {summary} and reasoning.encrypted {data}, each with a format that names whose
they are.
"""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import neutral as n
from muxproxy.dialects.reading import text_of
from muxproxy.dialects.seals import FORMATS, MAKERS, proven


def maker_of(entry: dict[str, Any]) -> str | None:
    """The dialect whose reasoning this is."""
    return MAKERS.get(text_of(entry.get("format")))


def from_details(details: list[Any]) -> list[n.Part]:
    """The thinking of one message. Pieces of one block, as a client that collected a stream's
    entries sends them back, are joined."""
    found: list[n.Part] = []
    last: n.Thinking | None = None
    at: object = None
    for entry in details:
        if not isinstance(entry, dict):
            continue
        kind, index = entry.get("type"), entry.get("index")
        if kind == "reasoning.encrypted":
            sealed = _string(entry.get("data"))
            if sealed is None:
                continue
            name = _string(entry.get("id"))
            maker = maker_of(entry)
            if last is not None and _summary(last, name, maker):
                last.sealed, last.id = sealed, last.id or name
            else:
                found.append(n.Thinking(sealed=sealed, id=name, maker=maker))
            last = None
            continue
        text = text_of(entry.get("text")) or text_of(entry.get("summary"))
        signature = _string(entry.get("signature"))
        if last is not None and index is not None and index == at and last.signature is None:
            last.text += text
            last.signature = signature
            last.id = last.id or _string(entry.get("id"))
            last.maker = last.maker or maker_of(entry)
            continue
        last = n.Thinking(
            text=text, signature=signature, id=_string(entry.get("id")), maker=maker_of(entry)
        )
        at = index
        found.append(last)
    return [part for part in found if isinstance(part, n.Thinking) and (part.text or proven(part))]


def details(thoughts: list[n.Thinking], index: int = 0) -> list[dict[str, Any]]:
    """Blocks as reasoning_details, counted from `index`: each text with its signature, what is
    sealed in an entry of its own. OpenAI's stream accumulator joins entries of one index."""
    out: list[dict[str, Any]] = []
    for thinking in thoughts:
        out += _entries(thinking, index + len(out))
    return out


def _entries(thinking: n.Thinking, index: int) -> list[dict[str, Any]]:
    form = FORMATS.get(thinking.maker or "", thinking.maker or "unknown")
    out: list[dict[str, Any]] = []
    if thinking.text or thinking.signature is not None:
        entry: dict[str, Any] = {"type": "reasoning.text", "text": thinking.text}
        if thinking.sealed is not None:
            entry = {"type": "reasoning.summary", "summary": thinking.text}
        if thinking.signature is not None:
            entry["signature"] = thinking.signature
        out.append(_named(entry, thinking.id, form, index))
    if thinking.sealed is not None:
        out.append(
            _named(
                {"type": "reasoning.encrypted", "data": thinking.sealed},
                thinking.id,
                form,
                index + len(out),
            )
        )
    return out


def proofs(thinking: n.Thinking, index: int, alone: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last words on an entry whose text has been told: whose it is, with what signature.
    What is sealed keeps its entry in `alone`, and the two share an id."""
    form = FORMATS.get(thinking.maker or "", thinking.maker or "unknown")
    if thinking.sealed is not None:
        return [_named({"type": "reasoning.summary"}, thinking.id, form, index), *alone]
    entry: dict[str, Any] = {"type": "reasoning.text", "signature": thinking.signature}
    return [_named(entry, thinking.id, form, index)]


def _named(entry: dict[str, Any], name: str | None, form: str, index: int) -> dict[str, Any]:
    if name is not None:
        entry["id"] = name
    entry["format"] = form
    entry["index"] = index
    return entry


def _summary(block: n.Thinking, name: str | None, maker: str | None) -> bool:
    """Whether `block` is the readable side of the sealed reasoning that follows it."""
    alone = block.signature is None and block.maker == maker
    return alone and (block.id is None or name is None or block.id == name)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
