"""YAML text as a tree of nodes that know their line and column. No I/O, no types yet.

Scalars are read by the YAML 1.2 core schema (true/false, null, numbers), not by YAML 1.1's: `off`
and `no` stay text and 12:30 is no number. Anchors, aliases and merge keys work; a key given
twice, a tag, a second document, an alias inside its own anchor, too deep nesting and too many
nodes are faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

# Deeper than any real file; keeps every reader of the tree within Python's recursion limit.
MAX_DEPTH = 64
# Aliases may multiply a small file into a huge one ("billion laughs"); 1,000 rules have 30,000.
MAX_NODES = 500_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_CORE = "tag:yaml.org,2002:"

Report = Callable[[int, int, str, str], None]  # line, column, message, hint


class Node:
    """kind: "map" (`pairs`), "list" (`items`) or "scalar" (`text`). Positions count from 1.

    `plain`: the scalar stands without quotes, so it may be a number, true, false or null.
    `source`: the file, where it is not the main one.
    """

    __slots__ = ("column", "items", "kind", "line", "pairs", "plain", "source", "text")

    def __init__(self, kind: str, line: int, column: int, source: str = "") -> None:
        self.kind = kind
        self.line = line
        self.column = column
        self.source = source
        self.text = ""
        self.plain = False
        self.items: list[Node] = []
        self.pairs: dict[str, tuple[Node, Node]] = {}  # key -> (key node, value node)


def scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar means in the YAML 1.2 core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def parse(text: str, report: Report, source: str = "") -> Node | None:
    """The document's root, or None for an empty text; faults go to `report`.

    After a syntax error what was complete before it is returned.
    """
    composer = _Composer(report, source)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not composer.take(event):
                break
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = error.problem or "not YAML"
        report(line, column, f"not YAML: {problem}", _syntax_hint(problem))
    except (yaml.YAMLError, UnicodeError) as error:
        reason = getattr(error, "reason", None) or "unreadable characters"
        report(*_position(text, error), f"not YAML: {reason}", "save the file as UTF-8 text")
    return composer.root


def _position(text: str, error: Exception) -> tuple[int, int]:
    at = getattr(error, "position", getattr(error, "start", 0))
    before = text[: at if isinstance(at, int) else 0]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax_hint(problem: str) -> str:
    if "cannot start any token" in problem:
        return "put values that begin with @, `, % or a tab in quotes; indent with spaces"
    if "mapping values are not allowed" in problem:
        return "a value that contains ': ' needs quotes; check the indentation"
    if "flow mapping" in problem or "flow sequence" in problem:
        return "a closing } or ] or a comma is missing; ${NAME} inside { } needs quotes"
    if "block" in problem:
        return "check the indentation of this line"
    return ""


class _Composer:
    """Builds nodes from parser events with a stack of its own."""

    def __init__(self, report: Report, source: str) -> None:
        self.root: Node | None = None
        self._source = source
        self._report = report
        self._stack: list[tuple[Node, list[Node]]] = []  # open container, its children
        self._anchors: dict[str, Node] = {}
        self._open: set[int] = set()
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> bool:
        """False: stop reading."""
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line, column)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            return self._start(event, line, column)
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line, column)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._report(
                    line, column, "a second document", "one file, one document: remove ---"
                )
                return False
        return True

    def _scalar(self, event: Any, line: int, column: int) -> bool:
        node = Node("scalar", line, column, self._source)
        node.text = event.value
        node.plain = bool(event.implicit[0])
        if event.tag is not None:
            node.plain = event.tag != f"{_CORE}str" and event.tag.startswith(_CORE)
            self._tag(event.tag, line, column)
        self._add(node, event.anchor)
        return True

    def _start(self, event: Any, line: int, column: int) -> bool:
        if len(self._stack) >= MAX_DEPTH:
            self._report(line, column, f"nested more than {MAX_DEPTH} deep", "")
            return False
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        node = Node(kind, line, column, self._source)
        if event.tag is not None:
            self._tag(event.tag, line, column)
        self._add(node, event.anchor)
        self._open.add(id(node))
        self._stack.append((node, []))
        return True

    def _tag(self, tag: str, line: int, column: int) -> None:
        if not tag.startswith(_CORE):
            self._report(line, column, f"tag {tag} is not supported", "remove it")

    def _alias(self, event: Any, line: int, column: int) -> None:
        node = self._anchors.get(event.anchor)
        if node is None:
            self._report(line, column, f"no anchor &{event.anchor} before this", "")
        elif id(node) in self._open:
            self._report(line, column, f"*{event.anchor} stands inside its own anchor", "")
            node = None
        if node is None:
            node = Node("scalar", line, column, self._source)
            node.plain = True
        self._add(node, None)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if self._stack:
            self._stack[-1][1].append(node)
        elif self.root is None:
            self.root = node

    def _end(self) -> None:
        node, children = self._stack.pop()
        self._open.discard(id(node))
        if node.kind == "list":
            node.items = children
            return
        merged: list[Node] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if key.kind != "scalar":
                self._report(key.line, key.column, "expected a name, got a list or mapping", "")
            elif key.text == "<<" and key.plain:
                merged.extend(self._merge(value))
            elif key.text in node.pairs:
                first = node.pairs[key.text][0].line
                self._report(
                    key.line,
                    key.column,
                    f"{key.text} is given twice",
                    f"first on line {first}: keep one of them",
                )
            else:
                node.pairs[key.text] = (key, value)
        for other in merged:  # what is written here wins; of two merged maps, the first
            for name, pair in other.pairs.items():
                node.pairs.setdefault(name, pair)

    def _merge(self, value: Node) -> Iterator[Node]:
        for one in value.items if value.kind == "list" else [value]:
            if one.kind == "map":
                yield one
            else:
                self._report(one.line, one.column, "<< expects a mapping or a list of them", "")
