"""Regular expressions of rules: `/source/flags`, read so that no text can make them hang.

Python's `re` backtracks: with repeats inside or after repeats its time grows with a power of the
text's length or worse. A pattern is `fast` when it has no such repeat and `re` is linear in the
text. For all others a program for a linear-time machine (`rules.linear`) is built from `re`'s own
parse tree, so the dialect stays Python's. Only whether a text matches is ever asked, so greedy
and lazy repeats mean the same. Look-around and back-references need backtracking: allowed only in
a fast pattern.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import msgspec

MAX_SOURCE = 2000  # characters
MAX_PROGRAM = 2000  # instructions; a step costs at most one visit of each
MAX_FACTOR = 200  # ways in which bounded repeats and options may be taken per position

CHAR, SPLIT, JUMP, AT, MATCH = range(5)
BEGIN, BEGIN_LINE, END, END_LINE, END_STRING, WORD_EDGE, NO_WORD_EDGE = range(7)

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_UNBOUNDED = int(_constants.MAXREPEAT)


class Regex(msgspec.Struct, frozen=True, eq=False):
    """A pattern ready to be searched for.

    `compiled` is Python's own; `fast`: it may be used on long texts; `square`: on
    short ones, as its time grows with the square of the length. `program`: instructions
    (op, x, y) for the linear machine, with `chars` the one-character patterns that CHAR names by
    number; empty for patterns that need backtracking. `literal`: text without which nothing
    matches ("" when unknown), already case-folded when `fold`.
    """

    text: str
    compiled: re.Pattern[str]
    fast: bool
    square: bool
    program: tuple[tuple[int, int, int], ...]
    chars: tuple[re.Pattern[str], ...]
    literal: str
    fold: bool


def is_regex(text: str) -> bool:
    """Whether a rule's text is written as /source/flags."""
    return len(text) > 1 and text[0] == "/" and text.rfind("/") > 0


@lru_cache(maxsize=4096)
def read(text: str) -> Regex:
    """The pattern of "/source/flags" (flags i, m, s, x).

    A pure function, kept because a rule's pattern is checked and compiled and reloaded. Raises
    ValueError saying what is wrong with it.
    """
    end = text.rfind("/")
    source, letters = text[1:end], text[end + 1 :]
    flags = 0
    for letter in letters:
        if letter not in _FLAGS:
            raise ValueError(f"expected /regex/ with flags of i, m, s, x, got flag {letter}")
        flags |= _FLAGS[letter]
    if not source or len(source) > MAX_SOURCE:
        raise ValueError(f"expected a pattern of 1 to {MAX_SOURCE} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = _parser.parse(source, flags)
            compiled = re.compile(source, flags)
    except (re.error, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except RecursionError:
        raise ValueError("not a regular expression: nested too deep") from None
    except Warning as warning:
        raise ValueError(f"doubtful regular expression: {warning}") from None
    flags = tree.state.flags
    degree, factor = _cost(tree)
    fast = degree == 0 and factor <= MAX_FACTOR
    builder = _Builder()
    try:
        builder.sequence(tree, flags)
        program, chars = (*builder.code, (MATCH, 0, 0)), tuple(builder.chars)
    except _Unsupported as error:
        if not fast:
            raise ValueError(f"{error}; such a pattern could hang on long texts") from None
        program, chars = (), ()
    fold = bool(flags & re.IGNORECASE)
    return Regex(
        text, compiled, fast, (degree, factor) == (1, 1), program, chars, _literal(tree, fold), fold
    )


class _Unsupported(ValueError):
    """The linear machine cannot do this."""


def _cost(tree: Any) -> tuple[int, int]:
    """(degree, factor): `re` needs up to factor * length ** (degree + 1) steps."""
    degree, factor = 0, 1
    for op, value in tree:
        d, f = _cost_of(str(op), value)
        degree, factor = degree + d, min(factor * f, 10**9)
    return degree, factor


def _cost_of(op: str, value: Any) -> tuple[int, int]:
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, body = value
        degree, factor = _cost(body)
        if high == _UNBOUNDED:
            ambiguous = factor > 1 or _branches(body)
            return degree + 1 + ambiguous, factor
        # A body taken up to `high` times multiplies its own ways each time.
        ways = factor ** min(int(high), 30) if factor > 1 else 1
        return degree * min(int(high), 4), min(ways * (int(high) - int(low) + 1), 10**9)
    if op == "SUBPATTERN":
        return _cost(value[3])
    if op == "ATOMIC_GROUP":
        return _cost(value)
    if op == "BRANCH":
        costs = [_cost(one) for one in value[1]]
        # Alternatives are tried one after the other at each place; few of them start alike.
        return max(c[0] for c in costs), max(*(c[1] for c in costs), len(costs) // 50 + 1)
    if op in ("ASSERT", "ASSERT_NOT"):
        return _cost(value[1])
    if op in ("GROUPREF", "GROUPREF_EXISTS"):
        return 1, 1
    return 0, 1


def _branches(tree: Any) -> bool:
    """Whether there are alternatives: inside a repeat they may be taken in too many ways."""
    return any(
        str(op) == "BRANCH" or (str(op) == "SUBPATTERN" and _branches(value[3]))
        for op, value in tree
    )


class _Builder:
    """Thompson's construction over `re`'s parse tree."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int, int]] = []
        self.chars: list[re.Pattern[str]] = []
        self._known: dict[str, int] = {}

    def sequence(self, tree: Any, flags: int) -> None:
        for op, value in tree:
            self._one(str(op), op, value, flags)

    def _emit(self, op: int, x: int = 0, y: int = 0) -> int:
        if len(self.code) >= MAX_PROGRAM:
            raise _Unsupported("its bounded repeats are too large")
        self.code.append((op, x, y))
        return len(self.code) - 1

    def _one(self, name: str, op: Any, value: Any, flags: int) -> None:
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            self._emit(CHAR, self._char(op, value, flags))
        elif name == "AT":
            self._emit(AT, _at(str(value), flags))
        elif name == "SUBPATTERN":
            _, added, removed, body = value
            self.sequence(body, (flags | added) & ~removed)
        elif name == "BRANCH":
            self._branch(value[1], flags)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            self._repeat(value, flags)
        else:
            what = name.lower().replace("_", "-")
            raise _Unsupported(f"{_NAMES.get(name, what)} cannot stand with repeats")

    def _char(self, op: Any, value: Any, flags: int) -> int:
        key = f"{op} {value!r} {flags}"
        if key not in self._known:
            state = _parser.State()
            state.str = ""
            one = _parser.SubPattern(state, [(op, value)])
            self._known[key] = len(self.chars)
            self.chars.append(_compiler.compile(one, flags & ~re.VERBOSE))
        return self._known[key]

    def _branch(self, branches: list[Any], flags: int) -> None:
        ends: list[int] = []
        for one in branches[:-1]:
            split = self._emit(SPLIT)
            self.sequence(one, flags)
            ends.append(self._emit(JUMP))
            self.code[split] = (SPLIT, split + 1, len(self.code))
        self.sequence(branches[-1], flags)
        for end in ends:
            self.code[end] = (JUMP, len(self.code), 0)

    def _repeat(self, value: Any, flags: int) -> None:
        low, high, body = value
        for _ in range(int(low)):
            self.sequence(body, flags)
        if high == _UNBOUNDED:
            split = self._emit(SPLIT)
            self.sequence(body, flags)
            self._emit(JUMP, split)
            self.code[split] = (SPLIT, split + 1, len(self.code))
            return
        splits: list[int] = []
        for _ in range(int(high) - int(low)):
            splits.append(self._emit(SPLIT))
            self.sequence(body, flags)
        for split in splits:
            self.code[split] = (SPLIT, split + 1, len(self.code))


_NAMES = {
    "ASSERT": "look-ahead and look-behind",
    "ASSERT_NOT": "look-ahead and look-behind",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a conditional group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
    "ATOMIC_GROUP": "an atomic group",
}


def _at(code: str, flags: int) -> int:
    multiline = bool(flags & re.MULTILINE)
    return {
        "AT_BEGINNING": BEGIN_LINE if multiline else BEGIN,
        "AT_BEGINNING_STRING": BEGIN,
        "AT_END": END_LINE if multiline else END,
        "AT_END_STRING": END_STRING,
        "AT_BOUNDARY": WORD_EDGE,
        "AT_NON_BOUNDARY": NO_WORD_EDGE,
    }[code]


def _literal(tree: Any, fold: bool) -> str:
    """The longest run of plain characters that every match must contain."""
    best = run = ""
    for op, value in tree:
        # Ignoring case, i also matches letters that do not case-fold to it.
        if str(op) == "LITERAL" and not (fold and (value >= 128 or chr(value) in "iI")):
            run += chr(value)
        else:
            best, run = max(best, run, key=len), ""
    best = max(best, run, key=len)
    return best.casefold() if fold else best
