"""Finding and reading the configuration for a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from muxproxy.config.faults import ConfigError
from muxproxy.config.load import load_file
from muxproxy.config.model import Config

DEFAULT_FILES = ("muxproxy.yaml", "config/muxproxy.yaml")


def argument(parser: argparse.ArgumentParser) -> None:
    """`--config`, the same everywhere."""
    parser.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        help="the YAML file (default: $MUXPROXY_CONFIG, ./muxproxy.yaml, ./config/muxproxy.yaml)",
    )


def find(given: str | None, env: Mapping[str, str] = os.environ) -> str | None:
    """The file to read: given, from the environment, or the first default that exists."""
    if given:
        return given
    mode = env.get("MODELMUXER_MODE", "").strip().lower()
    if mode:
        return _of_mode(mode, env)
    if env.get("MUXPROXY_CONFIG"):
        return env["MUXPROXY_CONFIG"]
    return next((name for name in DEFAULT_FILES if Path(name).is_file()), None)


def _of_mode(mode: str, env: Mapping[str, str]) -> str:
    """MODELMUXER_MODE=basic or enhanced: the shipped file of that name, beside the usual one."""
    folders = (Path(env.get("MUXPROXY_CONFIG", "")).parent, Path("config"))
    paths = [folder / f"{mode}.yaml" for folder in folders]
    return str(next((path for path in paths if path.is_file()), paths[-1]))


def read(given: str | None) -> Config | None:
    """The configuration, or None after its faults were printed."""
    try:
        return load_file(find(given), os.environ).config
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return None
