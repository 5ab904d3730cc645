"""Reading the configuration from a file: the only place that opens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from muxproxy.config.check import Extra, Report, check
from muxproxy.config.env import Flags
from muxproxy.config.faults import ConfigError, Fault
from muxproxy.config.model import Config

NO_FLAGS = Flags()


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that can be served, and what is doubtful about it."""

    config: Config
    warnings: list[Fault]


def check_file(
    path: str | None,
    env: Mapping[str, str],
    flags: Flags = NO_FLAGS,
    extra: Sequence[Extra] = (),
) -> Report:
    """Everything wrong with the file; None stands for an empty one. Raises OSError."""
    if path is None:
        return check("", "(defaults)", env, flags=flags, extra=extra)
    try:
        text = Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        fault = Fault(path=path, line=0, column=0, message=f"is not UTF-8 text: {error.reason}")
        return Report(source=path, faults=[fault], warnings=[], config=None)
    return check(text, path, env, flags=flags, extra=extra)


def load_file(path: str | None, env: Mapping[str, str], flags: Flags = NO_FLAGS) -> Loaded:
    """The configuration of a file. Raises ConfigError with all its faults, or OSError."""
    report = check_file(path, env, flags)
    if report.config is None:
        raise ConfigError(report.faults)
    return Loaded(report.config, report.warnings)
