"""The door to the configuration: a checked Config, or every reason why not.

The only module that opens the YAML files. The environment comes in as a mapping.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from muxproxy.config.check import Extra, Report, check
from muxproxy.config.env import Flags
from muxproxy.config.faults import ConfigError as ConfigError  # noqa: PLC0414 (raised here)
from muxproxy.config.faults import Fault
from muxproxy.config.loaded import NO_FLAGS
from muxproxy.config.model import Config

# Far more than anybody writes by hand; keeps a wrong path (a log, a disk image) from being read.
MAX_FILE_BYTES = 16 * 1024 * 1024
# One directory of snippets; a glob that catches a whole disk is a slip of the pen.
MAX_INCLUDED = 256


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration without faults, what is doubtful about it, and the files it came from."""

    source: str
    config: Config
    warnings: list[Fault]
    files: tuple[str, ...] = ()


def load(text: str, source: str, env: Mapping[str, str], flags: Flags = NO_FLAGS) -> Config:
    """The configuration of a YAML text.

    Raises ConfigError with every fault.
    """
    return _good(check(text, source, env, flags=flags))


def load_file(
    path: str | None,
    env: Mapping[str, str],
    flags: Flags = NO_FLAGS,
    terms: Sequence[Extra] = (),
) -> Checked:
    """The configuration of a file; None: no file, all defaults.

    Raises ConfigError with every fault, OSError when the file cannot be read.
    """
    files = Files(path)
    report = check_file(path, env, flags, terms=terms, files=files)
    return Checked(
        source=report.source,
        config=_good(report),
        warnings=report.warnings,
        files=tuple(files.read),
    )


class Files:
    """The files of one reading: the main one, and what it includes."""

    def __init__(self, path: str | None) -> None:
        self.read: list[str] = [] if path is None else [path]
        self.blank = False  # the main file says nothing at all
        self._folder = Path(path or ".").parent

    def main(self, path: str) -> str | Fault:
        """The main file's text, or why it cannot be one. Raises OSError."""
        text = _text(path)
        if isinstance(text, str):
            lines = (line.strip() for line in text.splitlines())
            self.blank = all(not line or line.startswith("#") for line in lines)
        return text

    def opener(self, entry: str) -> Sequence[tuple[str, str | Fault]]:
        """See includes.Opener."""
        pattern = str(self._folder / entry)
        names = sorted(glob.glob(pattern)) if glob.has_magic(entry) else [pattern]
        if glob.has_magic(entry) and (folder := str(Path(pattern).parent)) not in self.read:
            self.read.append(folder)  # files that come and go there matter
        if len(self.read) + len(names) > MAX_INCLUDED:
            raise OSError(f"more than {MAX_INCLUDED} files")
        self.read += [name for name in names if name not in self.read]
        return [(name, _text(name)) for name in names]


def check_file(
    path: str | None,
    env: Mapping[str, str],
    flags: Flags = NO_FLAGS,
    extra: Sequence[Extra] = (),
    terms: Sequence[Extra] = (),
    *,
    files: Files | None = None,
) -> Report:
    """Everything wrong and doubtful about a file. Raises OSError when it cannot be read."""
    if path is None:
        return check("", "defaults", env, flags=flags, extra=extra, terms=terms)
    files = files or Files(path)
    text = files.main(path)
    if isinstance(text, Fault):
        return Report(source=path, faults=[text], warnings=[], config=None)
    return check(text, path, env, flags=flags, extra=extra, terms=terms, opener=files.opener)


def _text(path: str) -> str | Fault:
    with Path(path).open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        return _refused(path, 0, 0, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = error.start - before.rfind(b"\n")
        return _refused(path, before.count(b"\n") + 1, column, "not UTF-8 text")


def _refused(path: str, line: int, column: int, message: str) -> Fault:
    return Fault(path=path, line=line, column=column, message=message)


def _good(report: Report) -> Config:
    if report.config is None:
        raise ConfigError(report.faults)
    return report.config
