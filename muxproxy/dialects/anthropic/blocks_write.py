"""Neutral turns as Anthropic's messages.

Their rules: turns alternate (consecutive ones are joined), tool results come first in the user
message after the calls, text is never blank.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from muxproxy.dialects import ids, seals
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic.models import Model
from muxproxy.dialects.anthropic.words import cache_control
from muxproxy.dialects.reading import wrong

_decode = msgspec.json.Decoder().decode
Native = dict[str, Any]

_TEXTS = frozenset({"application/json", "application/xml", "application/yaml"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


class Conversation:
    """The messages of one request, and what writing them has shown.

    `unsigned_calls`: the last tool loop is open and its calls come without Anthropic's thoughts.
    """

    def __init__(self, request: n.Request, model: Model) -> None:
        self._request = request
        self._model = model
        self._hoisted: list[n.Text] = []
        self.messages: list[Native] = []
        self.unsigned_calls = False
        for turn in request.turns:
            self._add(turn)
        self._ends()

    def system(self, told: str | None) -> str | list[Native]:
        """The system prompt; `told` is one more instruction for it."""
        texts = [*self._request.system, *self._hoisted]
        if told is not None:
            texts.append(n.Text(text=told))
        texts = [text for text in texts if text.text.strip()]
        if not self.messages:  # a system prompt alone: somebody has to say something
            if not texts:
                raise wrong("messages", "nobody says anything: give a user's message with text")
            self.messages.append({"role": "user", "content": "\n\n".join(t.text for t in texts)})
            return ""
        if len(texts) == 1 and texts[0].cache is None:
            return texts[0].text
        return [_text(text) for text in texts]

    def _add(self, turn: n.Turn) -> None:
        role: str = turn.role
        if role == "system":
            if not self._model.system_turns:
                # As Anthropic's own OpenAI-compatible endpoint does: all to the front.
                self._hoisted += [p for p in turn.parts if isinstance(p, n.Text)]
                return
            blocks = [_text(p) for p in turn.parts if isinstance(p, n.Text) and p.text.strip()]
        elif role == "user":
            blocks = self._user(turn.parts)
        else:
            blocks = self._assistant(turn.parts)
        if turn.name is not None:
            self._request.drop("name")
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            before = self.messages[-1]["content"]
            results = [b for b in blocks if b["type"] == "tool_result"]
            if results and role == "user":
                at = sum(1 for b in before if b["type"] == "tool_result")
                before[at:at] = results
                blocks = [b for b in blocks if b["type"] != "tool_result"]
            before += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _user(self, parts: list[n.Part]) -> list[Native]:
        results: list[Native] = []
        rest: list[Native] = []
        for part in parts:
            if isinstance(part, n.Result):
                results.append(self._result(part))
            else:
                block = self._plain(part)
                if block is not None:
                    rest.append(block)
        if rest and not results:
            self.unsigned_calls = False
        return results + rest

    def _assistant(self, parts: list[n.Part]) -> list[Native]:
        blocks: list[Native] = []
        signed = False
        for part in parts:
            if isinstance(part, n.Thinking):
                block = _thinking(part)
                if block is not None:
                    blocks.append(block)
                    signed = True
                elif seals.proven(part):  # bare thoughts nobody asks for again
                    self._request.drop("thinking")
            elif isinstance(part, n.Call):
                blocks.append(_call(part))
                self.unsigned_calls = self.unsigned_calls or not signed
            elif isinstance(part, n.Refusal):
                if part.text.strip():
                    blocks.append({"type": "text", "text": part.text})
            else:
                block = self._plain(part)
                if block is not None:
                    blocks.append(block)
        return blocks

    def _plain(self, part: n.Part) -> Native | None:
        if isinstance(part, n.Text):
            return _text(part) if part.text.strip() else None
        if isinstance(part, n.Media):
            block = media(part)
            if block is not None:
                return block
        self._request.drop("media")
        return None

    def _result(self, part: n.Result) -> Native:
        block: Native = {"type": "tool_result", "tool_use_id": ids.anthropic(part.id)}
        inner = [b for p in part.parts if (b := self._plain(p)) is not None]
        if len(inner) == 1 and inner[0]["type"] == "text" and "cache_control" not in inner[0]:
            block["content"] = inner[0]["text"]
        elif inner:
            block["content"] = inner
        if part.error:
            block["is_error"] = True
        if part.cache is not None:
            block["cache_control"] = cache_control(part.cache)
        return block

    def _ends(self) -> None:
        """The last message may be the beginning of the answer."""
        messages = self.messages
        if messages and messages[-1]["role"] == "assistant":
            blocks = messages[-1]["content"]
            if not self._model.prefill:
                if all(block["type"] == "text" for block in blocks):
                    messages.pop()
                    self._request.drop("prefill")
            elif blocks[-1]["type"] == "text":
                blocks[-1]["text"] = blocks[-1]["text"].rstrip()  # trailing space is a 400
        for message in messages:
            content = message["content"]
            if len(content) == 1 and list(content[0]) == ["type", "text"]:
                message["content"] = content[0]["text"]


def media(part: n.Media) -> Native | None:
    """An image or document; None where Anthropic has no place for it."""
    if part.kind == "audio" or part.file_id is not None:
        return None
    image = part.kind == "image"
    source: Native
    if part.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    elif part.data is not None:
        kind = part.media_type or ("image/png" if image else "application/pdf")
        if kind == "image/jpg":
            kind = "image/jpeg"
        image = kind in _IMAGES
        if image or kind == "application/pdf":
            source = {"type": "base64", "media_type": kind, "data": part.data}
        else:
            text = _plain_text(kind, part.data)
            if text is None:
                return None
            source = {"type": "text", "media_type": "text/plain", "data": text}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        return None
    block: Native = {"type": "image" if image else "document", "source": source}
    if part.name is not None and not image:
        block["title"] = part.name
    if part.cache is not None:
        block["cache_control"] = cache_control(part.cache)
    return block


def _plain_text(kind: str, data: str) -> str | None:
    """The text of a file that is some kind of text."""
    if not kind.startswith("text/") and kind not in _TEXTS:
        return None
    try:
        return base64.b64decode(data).decode()
    except ValueError:
        return None


def _text(part: n.Text) -> Native:
    block: Native = {"type": "text", "text": part.text}
    if part.cache is not None:
        block["cache_control"] = cache_control(part.cache)
    return block


def _thinking(part: n.Thinking) -> Native | None:
    """A thinking block of Anthropic's own making; None for anybody else's."""
    if part.maker != "anthropic":
        return None
    if part.sealed is not None:
        return {"type": "redacted_thinking", "data": part.sealed}
    if part.signature is None:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def thought(part: n.Thinking) -> Native:
    """A thinking block of an answer, whoever made it: a foreign proof travels in the signature."""
    if part.maker == "anthropic":
        block = _thinking(part)
        if block is not None:
            return block
    if part.sealed is not None and not part.text:
        return {"type": "redacted_thinking", "data": seals.tag(part)}
    return {"type": "thinking", "thinking": part.text, "signature": seals.tag(part)}


def _call(part: n.Call) -> Native:
    block: Native = {
        "type": "tool_use",
        "id": ids.anthropic(part.id),
        "name": ids.tool(part.name, ids.ANTHROPIC_TOOL_LENGTH),
        "input": arguments(part),
    }
    if part.cache is not None:
        block["cache_control"] = cache_control(part.cache)
    return block


def arguments(part: n.Call) -> Native:
    """A call's arguments as the object that `input` must be."""
    if not part.custom:
        try:
            value = _decode(part.arguments) if part.arguments.strip() else {}
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    return {"input": part.arguments}
