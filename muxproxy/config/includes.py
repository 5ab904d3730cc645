"""`include:`: further files whose nodes are put into the main file's tree.

Lists (rules, budgets, limits, keys ...) are joined: the main file's entries first, then those of
each included file in the order named. Named entries (providers, models, prices) are put together;
a name, and any other key, is given in one file only. Faults point into the file they are in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from muxproxy.config.faults import Fault
from muxproxy.config.yamltree import Node, parse

# Gives (file, its text, or why it cannot be read) for one entry of `include:`; raises OSError.
Opener = Callable[[str], Sequence[tuple[str, str | Fault]]]
Add = Callable[[Fault], None]

KEY = "include"
_BY_NAME = frozenset({"providers", "models", "prices"})


def merge(root: Node, source: str, opener: Opener | None, add: Add) -> None:
    """Put what `root` includes into it; faults go to `add`."""
    pair = root.pairs.get(KEY)
    if pair is None:
        return
    for entry in pair[1].items if pair[1].kind == "list" else [pair[1]]:
        if entry.kind != "scalar":
            continue  # the reader says so
        for other in _opened(entry, source, opener, add):
            _join(root, other, source, add)


def _opened(entry: Node, source: str, opener: Opener | None, add: Add) -> Iterator[Node]:
    def wrong(message: str, hint: str = "") -> None:
        add(_fault(source, entry, f"{KEY}: {message}", hint))

    if opener is None:
        wrong(f"{entry.text} cannot be found: this text is in no file")
        return
    try:
        found = opener(entry.text)
    except OSError as error:
        wrong(f"{entry.text} cannot be read: {error.strerror or error}")
        return
    for name, text in found:
        if isinstance(text, Fault):
            add(text)
            continue
        other = parse(text, _reporter(name, add), name)
        if other is None or (other.kind == "scalar" and not other.text):
            continue  # an empty file adds nothing
        if other.kind != "map":
            add(_fault(name, other, "expected a mapping such as `rules: [...]`", ""))
            continue
        yield other


def _reporter(source: str, add: Add) -> Callable[[int, int, str, str], None]:
    def report(line: int, column: int, message: str, hint: str) -> None:
        add(Fault(path=source, line=line, column=column, message=message, hint=hint))

    return report


def _join(root: Node, other: Node, source: str, add: Add) -> None:
    for name, (key, value) in other.pairs.items():
        if name.startswith("x-"):  # anchors hold within their own file
            continue
        if name == KEY:
            hint = "name the file in the main file's include:"
            add(_fault(key.source, key, "an included file cannot include others", hint))
            continue
        known = root.pairs.get(name)
        if known is None:
            root.pairs[name] = (key, value)
        elif known[1].kind == value.kind == "list":
            joined = Node("list", known[1].line, known[1].column, known[1].source)
            joined.items = [*known[1].items, *value.items]
            root.pairs[name] = (known[0], joined)
        elif known[1].kind == value.kind == "map" and name in _BY_NAME:
            _join_names(name, known[1], value, source, add)
        else:
            add(_twice(name, key, known[0], source))


def _join_names(section: str, into: Node, value: Node, source: str, add: Add) -> None:
    for name, pair in value.pairs.items():
        known = into.pairs.get(name)
        if known is None:
            into.pairs[name] = pair
        else:
            add(_twice(f"{section}.{name}", pair[0], known[0], source))


def _twice(name: str, key: Node, first: Node, source: str) -> Fault:
    place = f"{first.source or source}:{first.line}"
    return _fault(key.source, key, f"{name} is given twice", f"first at {place}: keep one of them")


def _fault(source: str, node: Node, message: str, hint: str) -> Fault:
    return Fault(path=source, line=node.line, column=node.column, message=message, hint=hint)
