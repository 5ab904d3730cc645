"""The events of an OpenAI chat stream, whatever compatible provider sent it.

Every shape in the recorded traffic is taken: usage in any chunk, no [DONE], thoughts under three
names, content lists, tool calls without index or id or with a shared index, errors of all kinds.
"""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai import words
from muxproxy.dialects.openai.answer import failure
from muxproxy.dialects.openai.messages_read import image, thinking_text
from muxproxy.dialects.openai.thoughts import maker_of
from muxproxy.dialects.openai.tools_read import Calls
from muxproxy.dialects.reading import provided, text_of
from muxproxy.dialects.usage import normalise

_DONE = b"[DONE]"


class _Choice:
    """What has been seen of one choice."""

    __slots__ = ("calls", "finished", "part", "proven", "thinking")

    def __init__(self, seed: str | None, choice: int) -> None:
        self.calls = Calls(seed, choice)
        self.finished = False
        self.part = -1  # the number of its last thinking block
        self.thinking = False  # that block is open
        self.proven = False  # its proof has been told


class Reader:
    """Feed it the stream's events in order; then `finish()`."""

    __slots__ = ("_choices", "_id", "_over", "_started", "_tier")

    def __init__(self) -> None:
        self._started = False
        self._over = False  # [DONE] or an error: nothing counts after it
        self._id: str | None = None
        self._tier: str | None = None
        self._choices: dict[int, _Choice] = {}

    def feed(self, event: str | None, data: bytes) -> list[n.Event]:
        """What one server-sent event says."""
        if self._over or not data:
            return []
        if data[:6] == _DONE:
            return self._done()
        try:
            document = provided(data)
        except ValueError:
            return self._fail(n.Failure(message="the provider sent a chunk that is not JSON"))
        if document.__class__ is not dict:
            return []
        error = document.get("error")
        if error or event == "error":
            return self._fail(failure(error or document))
        found: list[n.Event] = []
        choices = document.get("choices")
        usage = document.get("usage")
        if not self._started and (choices or usage):
            self._start(document, found)
        if choices.__class__ is list:
            for at, choice in enumerate(choices):
                if choice.__class__ is dict:
                    self._choice(choice, at, document, found)
        if usage.__class__ is not dict or not usage:
            relay = document.get("x_groq")
            usage = relay.get("usage") if relay.__class__ is dict else None
        if usage:
            self._usage(usage, document, found)
        return found

    def finish(self) -> list[n.Event]:
        """At the end of the bytes: Done, where every choice had ended without a [DONE]; Failure,
        where only some had."""
        ended = [choice.finished for choice in self._choices.values()]
        if self._over or not any(ended):
            return []
        self._over = True
        if all(ended):
            return [n.Done()]
        return [n.Failure(message="the provider's stream ended before all of its choices")]

    def _done(self) -> list[n.Event]:
        """[DONE]; a choice that never said why it ended (Snowflake) has ended all the same."""
        self._over = True
        found: list[n.Event] = [
            n.Finish(choice=index, reason=words.reason("stop", state.calls.any))
            for index, state in self._choices.items()
            if not state.finished
        ]
        return [*found, n.Done()]

    def _fail(self, problem: n.Failure) -> list[n.Event]:
        self._over = True
        return [problem]

    def _start(self, document: dict[str, Any], found: list[n.Event]) -> None:
        self._started = True
        self._id = text_of(document.get("id")) or None
        created = document.get("created")
        found.append(
            n.Start(
                id=self._id,
                model=text_of(document.get("model")) or None,
                created=created if created.__class__ is int else None,
            )
        )

    def _usage(self, native: Any, document: dict[str, Any], found: list[n.Event]) -> None:
        counts = normalise(native) if native.__class__ is dict else None
        if counts is not None:
            if counts.tier is None:
                counts.tier = text_of(document.get("service_tier")) or self._tier
            found.append(n.Totals(usage=counts))

    def _choice(
        self, native: dict[str, Any], at: int, document: dict[str, Any], found: list[n.Event]
    ) -> None:
        index = native.get("index")
        if index.__class__ is not int:
            index = at
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(self._id, index)
            self._tier = text_of(document.get("service_tier")) or self._tier
        delta = native.get("delta")
        if delta.__class__ is not dict:
            # Azure's filter chunks have neither; a relay may send the whole message at once.
            delta = native.get("message")
            if delta.__class__ is not dict:
                delta = {"content": native.get("text")}
        if delta:
            self._delta(delta, native, state, index, found)
        finish = native.get("finish_reason")
        if finish.__class__ is str and finish and not state.finished:
            self._finish(finish, state, index, document, found)

    def _delta(
        self,
        delta: dict[str, Any],
        native: dict[str, Any],
        state: _Choice,
        index: int,
        found: list[n.Event],
    ) -> None:
        # The likeliest first: one string of content.
        content = delta.get("content")
        if len(delta) > 1 or content.__class__ is not str:
            self._thoughts(delta, state, index, found)
        if content:
            if content.__class__ is str:
                state.thinking = False
                logprobs = native.get("logprobs")
                told = logprobs.get("content") if logprobs.__class__ is dict else None
                found.append(n.TextDelta(choice=index, text=content, logprobs=told))
            elif content.__class__ is list:
                self._listed(content, state, index, found)
        if len(delta) == 1 and content is not None:
            return
        calls = delta.get("tool_calls")
        if calls.__class__ is list and calls:
            state.thinking = False
            for call in calls:
                state.calls.fragment(call, found)
        self._rare(delta, state, index, found)

    def _rare(
        self, delta: dict[str, Any], state: _Choice, index: int, found: list[n.Event]
    ) -> None:
        refusal = delta.get("refusal")
        if refusal and refusal.__class__ is str:
            found.append(n.RefusalDelta(choice=index, text=refusal))
        legacy = delta.get("function_call")
        if legacy.__class__ is dict:
            state.calls.fragment({"index": 0, "function": legacy}, found)
        if delta.get("annotations"):
            found += words.citations(delta, index)
        images = delta.get("images")
        if images.__class__ is list:
            for picture in images:
                media = image(picture.get("image_url")) if isinstance(picture, dict) else None
                if media is not None:
                    found.append(n.MediaDelta(choice=index, media=media))
        sound = delta.get("audio")
        if sound.__class__ is dict:
            if text_of(sound.get("data")):
                media = n.Media(kind="audio", data=sound["data"])
                found.append(n.MediaDelta(choice=index, media=media))
            if text_of(sound.get("transcript")):
                found.append(n.TextDelta(choice=index, text=sound["transcript"]))

    def _thoughts(
        self, delta: dict[str, Any], state: _Choice, index: int, found: list[n.Event]
    ) -> None:
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if text.__class__ is str and text:
            self._thought(text, state, index, found)
        entries = delta.get("reasoning_details")
        if entries.__class__ is not list:
            return
        for entry in entries:
            if entry.__class__ is not dict:
                continue
            if not text:
                told = text_of(entry.get("text")) or text_of(entry.get("summary"))
                if told:
                    self._thought(told, state, index, found)
            self._seal(entry, state, index, found)

    def _thought(self, text: str, state: _Choice, index: int, found: list[n.Event]) -> None:
        if not state.thinking:
            state.thinking = True
            state.proven = False
            state.part += 1
        found.append(n.ThinkingDelta(choice=index, part=state.part, text=text))

    def _seal(
        self, entry: dict[str, Any], state: _Choice, index: int, found: list[n.Event]
    ) -> None:
        signature = text_of(entry.get("signature")) or None
        sealed = None
        if entry.get("type") == "reasoning.encrypted":
            sealed = text_of(entry.get("data")) or None
        if signature is None and sealed is None:
            return
        if not state.thinking and (sealed is not None or state.proven or state.part < 0):
            state.part += 1
        state.thinking = False
        state.proven = True
        found.append(
            n.ThinkingSeal(
                choice=index,
                part=state.part,
                signature=signature,
                sealed=sealed,
                id=text_of(entry.get("id")) or None,
                maker=maker_of(entry),
            )
        )

    def _listed(self, content: list[Any], state: _Choice, index: int, found: list[n.Event]) -> None:
        """Mistral's content list."""
        for part in content:
            kind = part.get("type") if part.__class__ is dict else None
            if kind == "thinking":
                text = thinking_text(part.get("thinking"))
                if text:
                    self._thought(text, state, index, found)
            elif kind == "text" and text_of(part.get("text")):
                state.thinking = False
                found.append(n.TextDelta(choice=index, text=part["text"]))
            elif kind == "image_url":
                media = image(part.get("image_url"))
                if media is not None:
                    found.append(n.MediaDelta(choice=index, media=media))

    def _finish(
        self,
        native: str,
        state: _Choice,
        index: int,
        document: dict[str, Any],
        found: list[n.Event],
    ) -> None:
        state.finished = True
        reason = words.reason(native, state.calls.any)
        if reason == "error":
            found += self._fail(n.Failure(message="the provider ended the answer with an error"))
            return
        if index == 0:
            found += words.searched(document)
        found.append(n.Finish(choice=index, reason=reason, native=native))
