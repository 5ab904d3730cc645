"""A function call whose arguments come in pieces by JSON path (streamFunctionCallArguments)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_VALUES = ("stringValue", "numberValue", "boolValue")
_MOST = 10_000  # elements of one array: an index beyond it is nonsense


class PartialArguments:
    """Collects the pieces; text at the same path is joined."""

    def __init__(self, call: dict[str, Any], signature: str | None) -> None:
        self._call = call
        self._args: dict[str, Any] = {}
        self.signature = signature

    def add(self, pieces: list[Any]) -> None:
        """More pieces, each {jsonPath, one value}."""
        for piece in pieces:
            if not isinstance(piece, dict) or not isinstance(piece.get("jsonPath"), str):
                continue
            value: Any = None
            for name in _VALUES:
                if name in piece:
                    value = piece[name]
            self._put(piece["jsonPath"], value)

    def whole(self) -> dict[str, Any]:
        """The call as if it had come in one part."""
        return {**self._call, "args": {**(self._call.get("args") or {}), **self._args}}

    def _put(self, path: str, value: Any) -> None:
        steps: list[str | int] = [
            int(number) if number else name for name, number in _STEP.findall(path.lstrip("$"))
        ]
        if not steps or isinstance(steps[0], int):
            return
        at: Any = self._args
        for step, following in pairwise(steps):
            at = _child(at, step, [] if isinstance(following, int) else {})
            if at is None:
                return
        last = steps[-1]
        before = _get(at, last)
        if isinstance(before, str) and isinstance(value, str):
            value = before + value
        _set(at, last, value)


def _get(at: Any, step: str | int) -> Any:
    if isinstance(at, dict):
        return at.get(step)
    if isinstance(at, list) and isinstance(step, int) and step < len(at):
        return at[step]
    return None


def _set(at: Any, step: str | int, value: Any) -> None:
    if isinstance(at, dict):
        at[step] = value
    elif isinstance(at, list) and isinstance(step, int) and step < _MOST:
        at.extend([None] * (step + 1 - len(at)))
        at[step] = value


def _child(at: Any, step: str | int, empty: Any) -> Any:
    found = _get(at, step)
    if not isinstance(found, dict | list):
        _set(at, step, empty)
        found = _get(at, step)
    return found
