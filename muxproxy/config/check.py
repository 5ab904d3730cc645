"""What a configuration means: do its names refer to something, can it work, is it safe?

`check` reads a text and reports every fault and every doubt at once. Prices and models are known
elsewhere; whoever knows them passes a callable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from muxproxy.config import lint, values
from muxproxy.config.env import Flags
from muxproxy.config.faults import Fault
from muxproxy.config.includes import Opener
from muxproxy.config.loaded import NO_FLAGS, Loaded, read
from muxproxy.config.model import Config
from muxproxy.config.notes import Note, Notes

# Called with the configuration: (path in the file, message, hint) of what it doubts.
Extra = Callable[[Config], Sequence[Note]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`config` is None when there are faults."""

    source: str
    faults: list[Fault]
    warnings: list[Fault]
    config: Config | None

    @property
    def ok(self) -> bool:
        """Nothing hinders its use."""
        return not self.faults

    def lines(self) -> list[str]:
        """One line for each fault and warning."""
        found = [f"error: {one}" for one in self.faults]
        return found + [f"warning: {one}" for one in self.warnings]

    def rows(self) -> list[dict[str, Any]]:
        """The same for machines."""
        return [
            {"level": level, **msgspec.structs.asdict(one)}
            for level, found in (("error", self.faults), ("warning", self.warnings))
            for one in found
        ]

    def summary(self) -> str:
        """ "ok: 3 providers, 2 rules", or how many faults."""
        doubts = f", {_many(len(self.warnings), 'warning')}" if self.warnings else ""
        if self.config is None:
            return f"{_many(len(self.faults), 'error')}{doubts}"
        config = self.config
        counts = (
            _many(len(config.providers), "provider"),
            _many(len(config.models), "model alias", "model aliases"),
            _many(len(config.rules), "rule"),
            _many(len(config.budgets), "budget"),
        )
        return f"ok: {', '.join(counts)}{doubts}"

    def __str__(self) -> str:
        return "\n".join([*self.lines(), f"{self.source}: {self.summary()}"])


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def check(
    text: str,
    source: str,
    env: Mapping[str, str],
    *,
    flags: Flags = NO_FLAGS,
    extra: Sequence[Extra] = (),
    terms: Sequence[Extra] = (),
    opener: Opener | None = None,
) -> Report:
    """Everything wrong and doubtful about a YAML text; `opener` reads what it includes.

    `env` is the environment as a mapping; `terms` are checkers of the parts that read the values
    (budgets, limits, prices) and add faults, `extra` ones add warnings.
    """
    loaded = read(text, source, env, flags, opener)
    notes = Notes()
    values.examine(loaded.config, loaded.names, notes)
    lint.examine(loaded.config, notes)
    for one in terms:
        notes.faults += one(loaded.config)
    faulty = [f.field for f in loaded.faults if f.field]
    faults = [
        *loaded.faults,
        *(_place(loaded, n) for n in notes.faults if not _covered(loaded, n, faulty)),
    ]
    warnings = [*loaded.warnings, *(_place(loaded, n) for n in notes.warnings)]
    if not faults:
        for one in extra:
            warnings += (_place(loaded, note) for note in one(loaded.config))
    return Report(
        source=source,
        faults=_ordered(faults, source),
        warnings=_ordered(warnings, source),
        config=None if faults else loaded.config,
    )


def _covered(loaded: Loaded, note: Note, faulty: Sequence[str]) -> bool:
    """A fault was already found at that value or inside it: what follows from it is noise."""
    field = loaded.fault(note.path, "").field
    return bool(field) and any(
        f == field or f.startswith((f"{field}.", f"{field}[")) for f in faulty
    )


def _place(loaded: Loaded, note: Note) -> Fault:
    return loaded.fault(note.path, note.message, note.hint)


def _ordered(found: Sequence[Fault], source: str) -> list[Fault]:
    """By place, the main file first; what has none (the environment) comes last. Duplicates go."""
    places = (
        (not f.line, f.path != source, f.path, f.line, f.column, str(f), i)
        for i, f in enumerate(found)
    )
    seen: set[str] = set()
    ordered: list[Fault] = []
    for *_, text, index in sorted(places):
        if text not in seen:
            seen.add(text)
            ordered.append(found[index])
    return ordered
