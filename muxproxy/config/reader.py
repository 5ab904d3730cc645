"""From nodes to structs: types checked, environment put in, every fault with its place.

A faulty value is replaced by its field's default (or an empty one), so that one pass finds all
faults; the tree it gives is only good for use when there were none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import inspect as types

from muxproxy.config import units
from muxproxy.config.faults import Fault, nearest, suggestion
from muxproxy.config.kinds import (
    HIDDEN,
    KINDS,
    accept,
    container_type,
    describe,
    has,
    internal,
    mark_of,
    placeholder,
    shorten,
)
from muxproxy.config.marks import Secret
from muxproxy.config.model import Config
from muxproxy.config.yamltree import MAX_NODES, Node, scalar

Path = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$(\$?)\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^{}]*))?\})?", re.ASCII)
_USERINFO = re.compile(r"//[^/@\s]*:[^/@\s]*@")


def dotted(path: Path) -> str:
    """ "rules[2].when.hour"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@cache
def type_of(cls: type) -> types.StructType:
    """The fields of a config struct (types only; nothing that changes)."""
    found = types.type_info(cls)
    assert isinstance(found, types.StructType)
    return found


class Reader:
    """Reads one file. `faults` in the order found; `where` gives each value's line and column;
    `unset` the secret fields whose environment variable is missing."""

    def __init__(self, source: str, env: Mapping[str, str]) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.where: dict[Path, tuple[int, int]] = {}
        self.elsewhere: dict[Path, str] = {}  # values that stand in an included file
        self.unset: dict[Path, str] = {}
        self._env = env
        self._nodes = 0

    def fault(self, node: Node, path: Path, message: str, hint: str = "") -> None:
        """Record that the value at `path` is wrong."""
        self.faults.append(
            Fault(
                path=node.source or self.source,
                line=node.line,
                column=node.column,
                message=message,
                hint=hint,
                field=dotted(path),
            )
        )

    def config(self, root: Node | None) -> Config:
        """The whole file; an empty one is all defaults."""
        if root is None or (root.kind == "scalar" and root.plain and scalar(root.text) is None):
            return Config()
        if root.kind != "map":
            self.fault(root, (), "expected a mapping such as `listen: 127.0.0.1:8787`")
            return Config()
        # Room for anchors, as in compose files.
        root.pairs = {k: v for k, v in root.pairs.items() if not k.startswith("x-")}
        value = self._struct(root, type_of(Config), ())
        assert isinstance(value, Config)
        return value

    def read(self, node: Node, kind: types.Type, path: Path) -> Any:
        """The value of `node` as `kind`."""
        self.where[path] = (node.line, node.column)
        if node.source:
            self.elsewhere[path] = node.source
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self.fault(node, path, f"more than {MAX_NODES} values", "aliases multiply them")
            return placeholder(kind)
        mark = ""
        if isinstance(kind, types.Metadata):
            mark, kind = (kind.extra or {}).get("kind", ""), kind.type
        options = kind.types if isinstance(kind, types.UnionType) else (kind,)
        if any(isinstance(one, types.AnyType) for one in options):
            return self._plain(node, path)
        chosen = self._container(node, options)
        if isinstance(chosen, types.StructType):
            return self._struct(node, chosen, path)
        if isinstance(chosen, types.DictType):
            return {
                key: self._entry(pair, chosen.value_type, (*path, key))
                for key, pair in node.pairs.items()
            }
        if isinstance(chosen, types.ListType):
            return [self.read(n, chosen.item_type, (*path, i)) for i, n in enumerate(node.items)]
        if node.kind != "scalar":
            article = "a mapping" if node.kind == "map" else "a list"
            self.fault(node, path, f"expected {describe(options, mark)}, got {article}")
            return placeholder(options[0])
        return self._scalar(node, options, mark, path)

    def _entry(self, pair: tuple[Node, Node], kind: types.Type, path: Path) -> Any:
        value = self.read(pair[1], kind, path)
        is_header = len(path) > 1 and path[0] == "providers" and path[-2] == "headers"
        return Secret(value) if is_header and isinstance(value, str) else value

    def _container(self, node: Node, options: tuple[types.Type, ...]) -> types.Type | None:
        wanted = {"map": (types.StructType, types.DictType), "list": (types.ListType,)}
        classes = wanted.get(node.kind, ())
        return next((one for one in options if isinstance(one, classes)), None) if classes else None

    def _struct(self, node: Node, kind: types.StructType, path: Path) -> Any:
        values: dict[str, Any] = {}
        fields = {f.encode_name: f for f in kind.fields if not internal(f.type)}
        for name, (key, value) in node.pairs.items():
            field = fields.get(name)
            if field is None:
                hint = suggestion(name, fields)
                self.fault(key, (*path, name), f"unknown key {name}", hint)
                continue
            before = len(self.faults)
            read = self.read(value, field.type, (*path, name))
            if len(self.faults) == before or container_type(field.type) or field.required:
                values[field.name] = read
        for name, field in fields.items():
            if field.required and field.name not in values:
                self.fault(node, path, f"{name} is missing", f"add {name}: ...")
                values[field.name] = placeholder(field.type)
        return kind.cls(**values)

    def _scalar(self, node: Node, options: tuple[types.Type, ...], mark: str, path: Path) -> Any:
        if not mark:  # the mark may stand inside: Address | None
            mark = next((mark_of(o) for o in options if mark_of(o)), "")
        bare = [o.type if isinstance(o, types.Metadata) else o for o in options]
        flat = tuple(x for o in bare for x in (o.types if isinstance(o, types.UnionType) else (o,)))
        text, changed = self._text(node, path, mark)
        if text is None:
            return (
                None if any(isinstance(o, types.NoneType) for o in flat) else placeholder(flat[0])
            )
        value = scalar(text) if node.plain or (changed and not has(flat, types.StrType)) else text
        if mark in HIDDEN and value is not None:
            value = text  # a key may look like a number
        accepted, result = accept(value, text, flat, changed)
        if not accepted:
            self._mismatch(node, path, (options, mark), (flat, value))
            return placeholder(flat[0])
        if mark in KINDS and result is not None:
            try:
                KINDS[mark](result)
            except units.Expected as error:
                self.fault(node, path, self._expected(error.expected, node, mark))
                return placeholder(flat[0])
        if isinstance(result, str) and (mark in HIDDEN or _USERINFO.search(result)):
            return Secret(result)
        return result

    def _expected(self, expected: str, node: Node, mark: str) -> str:
        """What was expected, and what was found as it stands in the file, unless it is secret."""
        if mark in HIDDEN or "@" in node.text:
            return f"expected {expected}"
        return f"expected {expected}, got {shorten(node.text)}"

    def _mismatch(
        self,
        node: Node,
        path: Path,
        wanted: tuple[tuple[types.Type, ...], str],
        found: tuple[tuple[types.Type, ...], object],
    ) -> None:
        (options, mark), (flat, value) = wanted, found
        if value is None:
            self.fault(node, path, f"expected {describe(options, mark)}, got nothing")
            return
        hint = ""
        if has(flat, types.BoolType) and isinstance(value, str):
            word = value.lower()
            hint = {"yes": "write true", "on": "write true", "no": "write false"}.get(word, "")
            hint = "write false" if word == "off" else hint
        elif has(flat, types.StrType) and not isinstance(value, str):
            hint = "" if mark in KINDS else f'put it in quotes: "{node.text}"'
        elif has(flat, types.ListType) and mark not in HIDDEN and isinstance(value, str):
            hint = f"write a list: [{shorten(node.text)}]"
        literals = [v for o in flat if isinstance(o, types.LiteralType) for v in o.values]
        if literals:
            close = nearest(node.text, map(str, literals))
            hint = f"did you mean {close}?" if close else ""
        self.fault(node, path, self._expected(describe(options, mark), node, mark), hint)

    def _plain(self, node: Node, path: Path) -> Any:
        """Free-form values (`when`, `set`, `prices`)."""
        if node.kind == "map":
            free = types.AnyType()
            return {k: self.read(v, free, (*path, k)) for k, (_, v) in node.pairs.items()}
        if node.kind == "list":
            return [self.read(n, types.AnyType(), (*path, i)) for i, n in enumerate(node.items)]
        text, changed = self._text(node, path, "")
        if text is None:
            return None
        whole = changed and _REFERENCE.fullmatch(node.text) is not None
        return scalar(text) if node.plain or whole else text

    def _text(self, node: Node, path: Path, mark: str) -> tuple[str | None, bool]:
        """The scalar with the environment put in (None: not to be had), and whether it was."""
        if "${" not in node.text:
            return node.text, False
        missing: list[str] = []

        def replace(found: re.Match[str]) -> str:
            escaped, name, with_default, default = found.groups()
            if escaped:
                return found[0][1:]
            if name is None:
                self.fault(node, path, "expected ${NAME} or ${NAME:-default}", "$${ is a plain ${")
                return ""
            value = self._env.get(name, "")
            if not value and with_default is None:
                missing.append(name)
            return value or default or ""

        text = _REFERENCE.sub(replace, node.text)
        if not missing and (text or mark != "secret"):
            return text, True
        is_provider = mark == "secret" and path[0] == "providers"
        if is_provider:
            if missing:
                self.unset[path] = missing[0]
            return None, True
        for name in missing:
            hint = f"set it, or write ${{{name}:-default}}"
            self.fault(node, path, f"environment variable {name} is not set", hint)
        return None, True
