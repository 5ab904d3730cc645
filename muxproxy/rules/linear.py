"""Searching a text for a pattern, in bounded time whatever the pattern and the text.

Fast patterns and short texts go to `re`. Everything else runs on a lazily built automaton: all
alternatives advance together, one character at a time, and each (state, character) is worked out
once. Work is counted; a search that would exceed `MAX_WORK` ends as "no match".
"""

from __future__ import annotations

from muxproxy.config.patterns import (
    AT,
    BEGIN,
    BEGIN_LINE,
    CHAR,
    END,
    END_LINE,
    END_STRING,
    JUMP,
    MATCH,
    NO_WORD_EDGE,
    SPLIT,
    WORD_EDGE,
    Regex,
)

# Characters up to which `re` may be used where its time grows with the square: under 1 ms.
SHORT = 400
# Visits of instructions in one search: about 0.3 s of pathological work, never met in practice.
MAX_WORK = 1_000_000
# Remembered transitions; beyond it they are forgotten and worked out again.
MAX_TRANSITIONS = 20_000

_START, _NEWLINE, _WORD, _OTHER = range(4)


class _State:
    """A set of places in the program, after a character of some class."""

    __slots__ = ("before", "next", "places")

    def __init__(self, places: tuple[int, ...], before: int) -> None:
        self.places = places
        self.before = before
        self.next: dict[str, _State | None] = {}  # None: it has matched


class Searcher:
    """Answers whether a text contains the pattern. What it remembers never changes an answer."""

    def __init__(self, regex: Regex) -> None:
        self._regex = regex
        self._search = regex.compiled.search
        self._program = regex.program
        self._matchers = [one.match for one in regex.chars]
        self._states: dict[tuple[tuple[int, ...], int], _State] = {}
        self._remembered = 0
        self._work = 0

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in `text`."""
        regex = self._regex
        if regex.literal and regex.literal not in (text.casefold() if regex.fold else text):
            return False
        if regex.fast or (regex.square and len(text) <= SHORT):
            return self._search(text) is not None
        return self._run(text)

    def _run(self, text: str) -> bool:
        self._work = 0
        state = self._state((0,), _START)
        last = len(text) - 1
        for at, char in enumerate(text):
            if at == last:
                break
            found = state.next.get(char, state)
            if found is state and char not in state.next:
                found = self._step(state, char)
                if self._work > MAX_WORK:
                    return False
            if found is None:
                return True
            state = found
        return self._finish(state, text[last] if text else "")

    def _finish(self, state: _State, char: str) -> bool:
        """The last character and the end: assertions about the end can hold here only."""
        if not char:
            return self._closure(state, "", True)[1]
        places, matched = self._closure(state, char, True)
        if matched:
            return True
        after = self._after(places, char)
        return self._closure(_State(after, _class(char)), "", True)[1]

    def _step(self, state: _State, char: str) -> _State | None:
        places, matched = self._closure(state, char, False)
        found = None if matched else self._state(self._after(places, char), _class(char))
        self._remembered += 1
        if self._remembered > MAX_TRANSITIONS:
            for one in self._states.values():
                one.next.clear()
            self._states.clear()
            self._remembered = 0
        state.next[char] = found
        return found

    def _state(self, places: tuple[int, ...], before: int) -> _State:
        key = (places, before)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State(places, before)
        return state

    def _after(self, places: list[int], char: str) -> tuple[int, ...]:
        """Where the program can stand after `char`; a match may also begin there (place 0)."""
        following = {0}
        for place in places:
            if self._matchers[self._program[place][1]](char):
                following.add(place + 1)
        self._work += len(places)
        return tuple(sorted(following))

    def _closure(self, state: _State, char: str, final: bool) -> tuple[list[int], bool]:
        """The CHAR places reachable without a character before `char` ("": the end), and whether
        MATCH is. `final`: `char` is the text's last."""
        seen: set[int] = set()
        open_places = list(state.places)
        places: list[int] = []
        while open_places:
            place = open_places.pop()
            if place in seen:
                continue
            seen.add(place)
            op, x, y = self._program[place]
            if op == CHAR:
                places.append(place)
            elif op == SPLIT:
                open_places += (x, y)
            elif op == JUMP:
                open_places.append(x)
            elif op == MATCH:
                return places, True
            elif op == AT and _holds(x, state.before, char, final):
                open_places.append(place + 1)
        self._work += len(seen)
        return places, False


def _class(char: str) -> int:
    if char == "\n":
        return _NEWLINE
    return _WORD if char.isalnum() or char == "_" else _OTHER


def _holds(code: int, before: int, char: str, final: bool) -> bool:
    """Whether an assertion holds between a character of class `before` and `char`."""
    if code == BEGIN:
        return before == _START
    if code == BEGIN_LINE:
        return before in (_START, _NEWLINE)
    if code == END:
        return not char or (final and char == "\n")
    if code == END_LINE:
        return not char or char == "\n"
    if code == END_STRING:
        return not char
    edge = (before == _WORD) != (bool(char) and _class(char) == _WORD)
    return edge if code == WORD_EDGE else code == NO_WORD_EDGE and not edge
