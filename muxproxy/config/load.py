"""The door to the configuration: a checked Config, or every reason why not.

The only module that opens the YAML file. The environment comes in as a mapping.
"""

from __future__ import annotations

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


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration without faults, and what is doubtful about it."""

    source: str
    config: Config
    warnings: list[Fault]


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
    report = check_file(path, env, flags, terms=terms)
    return Checked(source=report.source, config=_good(report), warnings=report.warnings)


def check_file(
    path: str | None,
    env: Mapping[str, str],
    flags: Flags = NO_FLAGS,
    extra: Sequence[Extra] = (),
    terms: Sequence[Extra] = (),
) -> Report:
    """Everything wrong and doubtful about a file. Raises OSError when it cannot be read."""
    if path is None:
        return check("", "defaults", env, flags=flags, extra=extra, terms=terms)
    with Path(path).open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        return _refused(path, 0, 0, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return check(raw.decode("utf-8-sig"), path, env, flags=flags, extra=extra, terms=terms)
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = error.start - before.rfind(b"\n")
        return _refused(path, before.count(b"\n") + 1, column, "not UTF-8 text")


def _refused(path: str, line: int, column: int, message: str) -> Report:
    fault = Fault(path=path, line=line, column=column, message=message)
    return Report(source=path, faults=[fault], warnings=[], config=None)


def _good(report: Report) -> Config:
    if report.config is None:
        raise ConfigError(report.faults)
    return report.config
