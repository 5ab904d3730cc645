"""What calls teach about the choice between a cheap and a strong model: rows of `lessons`.

A lesson holds no text unless the alias says `learn: text`; its features are hashed words, which
whoever has the file can compare with guesses (docs/routing.md).
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.ledger.queries import Question
from muxproxy.ledger.rollup import first_id

CHEAP = "cheap"
STRONG = "strong"


class Lesson(msgspec.Struct, kw_only=True, frozen=True):
    """One call that a strategy sent to the cheap or the strong side. Costs in nano-dollars."""

    id: int  # as the caller knows it: its last step
    alias: str
    side: str  # whose answer the caller got
    enough: bool | None = None  # the judges' verdict on the cheap answer; None: not judged
    better: bool | None = None  # where it was not enough: whether the strong answer was better
    share: float | None = None  # drawn by `explore` from so many; None: judged anyway, or not
    score: float | None = None  # the strategy's own, then
    cheap_nano: int | None = None  # None: not asked, or no price is known
    strong_nano: int | None = None
    features: bytes  # routing.packing
    text: str | None = None
    feedback: float | None = None  # the caller's word, kept in a table of its own


class Counts(msgspec.Struct, frozen=True):
    """What there is to learn from. `rated` cheap answers may be among the `judged` ones."""

    lessons: int
    judged: int
    explored: int
    rated: int


_COLUMNS = tuple(name for name in Lesson.__struct_fields__ if name != "feedback")
INSERT_LESSON = (
    f"INSERT OR REPLACE INTO lessons ({', '.join(_COLUMNS)})"
    f" VALUES ({', '.join('?' * len(_COLUMNS))})"
)
# What beats the cheap model may beat the strong one too: without a word on both it is no label.
_JUDGED = "(l.enough = 1 OR l.better IS NOT NULL)"
_RATED = "(f.score IS NOT NULL AND (l.side = 'cheap' OR l.enough = 0))"
_LABELLED = f"({_JUDGED} OR {_RATED})"
_FROM = " FROM lessons l LEFT JOIN feedback f ON f.id = l.id WHERE l.id >= ?"


def lesson_row(lesson: Lesson) -> tuple[Any, ...]:
    """For INSERT_LESSON."""
    return tuple(getattr(lesson, name) for name in _COLUMNS)


def labelled(since_ms: int, alias: str | None, limit: int) -> Question[list[Lesson]]:
    """The newest lessons that say whether the cheap model was enough, newest first."""
    columns = ", ".join(f"l.{name}" for name in _COLUMNS)
    where, params = _where(since_ms, alias)
    found = yield (
        f"SELECT {columns}, f.score{_FROM}{where} AND {_LABELLED} ORDER BY l.id DESC LIMIT ?",
        (*params, limit),
    )
    return [_lesson(row) for row in found]


def counts(since_ms: int, alias: str | None) -> Question[Counts]:
    """How many lessons there are, and of which kind."""
    where, params = _where(since_ms, alias)
    found = yield (
        f"SELECT count(*), ifnull(sum({_JUDGED}), 0),"
        f" ifnull(sum({_JUDGED} AND l.share IS NOT NULL), 0), ifnull(sum({_RATED}), 0)"
        f"{_FROM}{where}",
        params,
    )
    return Counts(*found[0])


def _where(since_ms: int, alias: str | None) -> tuple[str, tuple[Any, ...]]:
    first = first_id(since_ms)
    return ("", (first,)) if alias is None else (" AND l.alias = ?", (first, alias))


def _lesson(row: tuple[Any, ...]) -> Lesson:
    fields: dict[str, Any] = dict(zip((*_COLUMNS, "feedback"), row, strict=True))
    for name in ("enough", "better"):
        fields[name] = None if fields[name] is None else bool(fields[name])
    return Lesson(**fields)
