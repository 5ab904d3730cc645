"""Remarks about a configuration, by the path of the value they concern."""

from __future__ import annotations

import msgspec

Path = tuple[str | int, ...]


class Note(msgspec.Struct, frozen=True):
    """One remark."""

    path: Path
    message: str
    hint: str = ""


class Notes:
    """Collects remarks."""

    def __init__(self) -> None:
        self.faults: list[Note] = []
        self.warnings: list[Note] = []

    def fault(self, path: Path, message: str, hint: str = "") -> None:
        """The configuration cannot be used."""
        self.faults.append(Note(path, message, hint))

    def warn(self, path: Path, message: str, hint: str = "") -> None:
        """It can be used, and probably does not do what was meant."""
        self.warnings.append(Note(path, message, hint))
