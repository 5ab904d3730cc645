"""One reading of a YAML text: structure, types, values, environment; not yet its meaning."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from muxproxy.config import env as environment
from muxproxy.config import includes
from muxproxy.config.env import Flags
from muxproxy.config.faults import Fault
from muxproxy.config.model import Config, Provider
from muxproxy.config.reader import Path, Reader, dotted
from muxproxy.config.yamltree import Node, parse

NO_FLAGS = Flags()


class Loaded(msgspec.Struct, kw_only=True):
    """One reading of a file. `config` is good for use only when `faults` is empty; `where` gives
    the line and column of each value by its path and `elsewhere` the file of those that were
    included; `names` the keys of top-level mappings as
    written, also of entries that are faulty."""

    source: str
    config: Config
    faults: list[Fault]
    warnings: list[Fault]
    where: dict[Path, tuple[int, int]]
    elsewhere: dict[Path, str]
    names: dict[str, frozenset[str]]

    def fault(self, path: Path, message: str, hint: str = "") -> Fault:
        """A fault at `path`, or at the nearest enclosing value that has a place."""
        at = path
        while at and at not in self.where:
            at = at[:-1]
        line, column = self.where.get(at, (0, 0))
        return Fault(
            path=self.elsewhere.get(at, self.source),
            line=line,
            column=column,
            message=message,
            hint=hint,
            field=dotted(path),
        )


def read(
    text: str,
    source: str,
    env: Mapping[str, str],
    flags: Flags = NO_FLAGS,
    opener: includes.Opener | None = None,
) -> Loaded:
    """Read a configuration; every fault of form is in the result."""
    reader = Reader(source, env)

    def report(line: int, column: int, message: str, hint: str) -> None:
        reader.faults.append(
            Fault(path=source, line=line, column=column, message=message, hint=hint)
        )

    root = parse(text, report)
    if root is not None and root.kind == "map":
        includes.merge(root, source, opener, reader.faults.append)
    config = _mark_missing(reader.config(root), reader.unset)
    given = {dotted(path) for path in reader.where}
    config, faults, warnings = environment.apply(config, given.__contains__, env, flags)
    found = sorted(reader.faults, key=lambda f: (f.path != source, f.path, f.line, f.column))
    return Loaded(
        source=source,
        config=config,
        faults=[*found, *faults],
        warnings=warnings,
        where=reader.where,
        elsewhere=reader.elsewhere,
        names=_names(root),
    )


def _mark_missing(config: Config, unset: Mapping[Path, str]) -> Config:
    if not unset:
        return config
    providers: dict[str, Provider] = dict(config.providers)
    for path, variable in unset.items():
        name = path[1] if len(path) == 3 and path[0] == "providers" else None
        if isinstance(name, str) and name in providers:
            providers[name] = msgspec.structs.replace(providers[name], missing_key=variable)
    for name, provider in providers.items():
        if "" not in provider.api_keys:
            continue
        kept = [key for key in provider.api_keys if key]
        unset_one = next(v for p, v in unset.items() if p[:3] == ("providers", name, "api_keys"))
        providers[name] = msgspec.structs.replace(
            provider, api_keys=kept, missing_key=None if kept else unset_one
        )
    return msgspec.structs.replace(config, providers=providers)


def _names(root: Node | None) -> dict[str, frozenset[str]]:
    if root is None or root.kind != "map":
        return {}
    return {
        key: frozenset(value.pairs) for key, (_, value) in root.pairs.items() if value.kind == "map"
    }
