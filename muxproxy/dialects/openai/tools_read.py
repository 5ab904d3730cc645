"""Tool calls out of the fragments that providers send.

OpenAI: the first fragment of a call has index, id and name, the next ones index and a piece of
the arguments. Others leave the index out (Mistral), give two calls the same index (Cerebras,
Gemini's compatible endpoint), have no id, repeat id and name on every fragment, or send the
arguments as an object.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.dialects import ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai.messages_read import signature_of
from muxproxy.dialects.reading import text_of


class _Call:
    __slots__ = ("begun", "id", "index", "pieces", "seen")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.begun = False  # CallStart is out
        self.pieces: list[str] = []  # arguments that came before the name
        self.seen = ""  # arguments so far, kept only where calls cannot be told apart by id


class Calls:
    """The calls of one choice, in the order in which they began."""

    __slots__ = ("_by_id", "_by_index", "_choice", "_last", "_seed", "count")

    def __init__(self, seed: str | None, choice: int) -> None:
        self._seed = seed
        self._choice = choice
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None
        self.count = 0

    @property
    def any(self) -> bool:
        """Whether there was any call."""
        return self.count > 0

    def fragment(self, native: Any, found: list[n.Event]) -> None:
        """Adds what one fragment says to `found`."""
        if native.__class__ is not dict:
            return
        custom = native.get("custom")
        function = native.get("function")
        is_custom = custom.__class__ is dict and function.__class__ is not dict
        inner = custom if is_custom else function
        if inner.__class__ is not dict:
            inner = {}
        name = inner.get("name")
        name = name if name.__class__ is str else ""
        call = self._find(native, name)
        arguments = inner.get("input" if is_custom else "arguments")
        if arguments is None:
            arguments = ""
        elif arguments.__class__ is not str:
            arguments = msgspec.json.encode(arguments).decode()
        if not call.begun:
            if not name:
                call.pieces.append(arguments)
                return
            self._begin(call, native, name, is_custom, found)
        if arguments:
            if not call.id:
                call.seen += arguments
            found.append(n.CallDelta(choice=self._choice, index=call.index, arguments=arguments))

    def _begin(
        self, call: _Call, native: dict[str, Any], name: str, custom: bool, found: list[n.Event]
    ) -> None:
        call.begun = True
        found.append(
            n.CallStart(
                choice=self._choice,
                index=call.index,
                id=call.id or ids.made_up(self._seed, self._choice, call.index),
                name=name,
                signature=signature_of(native.get("extra_content")),
                custom=custom,
            )
        )
        early = "".join(call.pieces)
        if early:
            call.pieces = []
            found.append(n.CallDelta(choice=self._choice, index=call.index, arguments=early))

    def _find(self, native: dict[str, Any], name: str) -> _Call:
        """The call that a fragment belongs to; a new one where it begins one."""
        name_id = text_of(native.get("id"))
        index = native.get("index")
        if index.__class__ is not int:
            known = self._by_id.get(name_id) if name_id else self._last
            if known is not None and not (name and not name_id and known.begun):
                return known
            return self._new(name_id, None)
        known = self._by_index.get(index)
        if known is None:
            return self._new(name_id, index)
        if not name:
            if name_id and not known.id:
                self._identify(known, name_id)
            return known
        if name_id:
            if name_id == known.id or not known.begun:
                self._identify(known, name_id)
                return known
            return self._by_id.get(name_id) or self._new(name_id, index)
        if known.begun and _whole(known.seen):
            return self._new("", index)
        return known

    def _new(self, name: str, index: int | None) -> _Call:
        call = _Call(self.count)
        self.count += 1
        if name:
            self._identify(call, name)
        if index is not None:
            self._by_index[index] = call
        self._last = call
        return call

    def _identify(self, call: _Call, name: str) -> None:
        call.id = name
        self._by_id[name] = call


def _whole(arguments: str) -> bool:
    """Whether `arguments` is complete JSON: then another name begins another call."""
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True
