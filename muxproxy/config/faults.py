"""Faults of a configuration: where, what was expected, and what to write instead.

No message ever holds a secret: values are shown as written in the file (`${NAME}`, not what it
stands for) and not at all where the field is secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong (or, among a report's warnings, doubtful).

    `path` is the file (or "environment"), `line` and `column` count from 1 (0: none), `field` is
    the dotted key such as `rules[2].when.hour`, `hint` says what to do and may be empty.
    """

    path: str
    line: int
    column: int
    message: str
    hint: str = ""
    field: str = ""

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        field = f"{self.field}: " if self.field else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {field}{self.message}{hint}"


class ConfigError(Exception):
    """The file cannot be used; `faults` holds every reason, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(map(str, self.faults)))


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` most likely meant, or None."""
    names = list(valid)
    folded = {n.lower().replace("-", "_"): n for n in names}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.66)
    return folded[close[0]] if close else None


def suggestion(name: str, valid: Iterable[str]) -> str:
    """ "did you mean X?", else the valid names when they are few, else ""."""
    names = sorted(valid)
    found = nearest(name, names)
    if found is not None:
        return f"did you mean {found}?"
    return f"valid: {', '.join(names)}" if 0 < len(names) <= MOST_NAMES else ""


# A list of more names than this helps nobody.
MOST_NAMES = 24
