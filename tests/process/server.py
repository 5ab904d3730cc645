"""The installed command in a process of its own, in front of a simulator."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY = re.compile(r"listening on http://[\d.]+:(\d+)")


class Served:
    """A running `muxproxy serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.config = folder / "muxproxy.yaml"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 15.0) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def log_line(self, containing: str) -> str:
        """Read stderr until a line contains the text."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if containing in line:
                return line
        raise AssertionError(f"the log ended without {containing!r}")


def write_config(folder: Path, sim: str, yaml: str = "") -> Path:
    """A configuration with the simulator as its openai and anthropic."""
    path = folder / "muxproxy.yaml"
    path.write_text(
        f"listen: 127.0.0.1:0\nstate: {folder}/books.db\nunknown_price: allow\n"
        f"log: {{level: info}}\nproviders:\n"
        f"  openai: {{dialect: openai, base_url: {sim}/v1, api_key: k}}\n"
        f"  anthropic: {{dialect: anthropic, base_url: {sim}, api_key: k}}\n{yaml}"
    )
    return path


@contextmanager
def served(folder: Path, sim: str, yaml: str = "", *arguments: str) -> Iterator[Served]:
    """Start it, wait until it serves, and make sure it is gone afterwards."""
    config = write_config(folder, sim, yaml)
    process = subprocess.Popen(
        [sys.executable, "-m", "muxproxy", "serve", "--config", str(config), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            found = READY.search(line)
            if found is not None:
                break
        else:
            raise AssertionError(f"it did not start: {''.join(seen)}")
        yield Served(process, int(found.group(1)), folder)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def command(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "muxproxy", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )


def calls(folder: Path) -> list[dict[str, Any]]:
    """`muxproxy calls --json`, oldest first."""
    done = command(
        "calls", "--json", "--limit", "100000", "--config", str(folder / "muxproxy.yaml")
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()][::-1]
