"""The commands of the pages, in order, in one folder, against a demo; what they print is as shown.

In what is shown a number stands for any number, and `...` for anything.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import _OURS, _PROXIES
from tests.meta.sources import ROOT
from tests.process.server import READY

PAGES = ("tutorial.md", "api.md")
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Demo:
    """`muxproxy serve --demo` in a folder of its own, on the starter configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        command = folder / "bin/muxproxy"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m muxproxy "$@"\n')
        command.chmod(0o755)
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_OURS) and name.lower() not in _PROXIES
        }
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.env = {**clean, "PYTHONPATH": str(ROOT), "PATH": path}
        self.port = 0

    def serve(self) -> subprocess.Popen[str]:
        """Start it; its port."""
        process = subprocess.Popen(
            ["muxproxy", "serve", "--demo", "--listen", "127.0.0.1:0"],
            stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.env,
        )  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if found := READY.search(line):
                self.port = int(found[1])
                return process
        raise AssertionError("it did not start")

    def run(self, command: str) -> str:
        """What a command prints, with this demo's address."""
        at_home = re.sub(r"(localhost|127\.0\.0\.1):8787", rf"\1:{self.port}", command)
        since = self.since() if ">> muxproxy.yaml" in command else ""
        here = {"MUXPROXY_LISTEN": f"127.0.0.1:{self.port}"} if self.port else {}
        done = subprocess.run(
            ["bash", "-c", at_home], capture_output=True, text=True, timeout=60, check=False,
            cwd=self.folder, env={**self.env, **here},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        while since and self.since() == since:
            time.sleep(0.02)
        return done.stdout + done.stderr

    def since(self) -> str:
        """When the configuration in force was taken."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/v1/status") as answer:
            return str(json.load(answer)["config"]["since"])


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    processes: list[subprocess.Popen[str]] = []
    demo.started = processes.append  # type: ignore[attr-defined]
    yield demo
    for process in processes:
        ended = process.poll()
        process.terminate()
        _, log = process.communicate(timeout=15)
        print(f"exit code before the end: {ended}\n{log}")  # shown where the test failed


def steps(page: str) -> list[tuple[str, list[str]]]:
    """(command, the lines shown under it)."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(line: str) -> str:
    """A shown line as a regular expression."""
    parts = [re.sub(r"\d+", r"\\d+", re.escape(part)) for part in line.split("...")]
    return ".*".join(parts)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_print_what_is_shown(name: str, demo: Demo) -> None:
    found = steps((ROOT / "docs" / name).read_text())
    if not any(command.startswith("muxproxy serve") for command, _ in found):
        demo.run("muxproxy init")
        demo.started(demo.serve())  # type: ignore[attr-defined]
    for command, shown in found:
        if command.startswith("muxproxy serve"):
            demo.started(demo.serve())  # type: ignore[attr-defined]
            continue
        printed = demo.run(command)
        wanted = "\n.*".join(pattern(line) for line in shown)
        assert re.search(wanted, printed, re.S), f"$ {command}\n{printed}\n--- shown:\n{shown}"


def test_every_path_of_the_api_is_on_its_page_and_no_other() -> None:
    from muxproxy.control import openapi

    page = (ROOT / "docs/api.md").read_text()
    named = set(re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", page))
    own = {
        (method.upper(), path) for path, operations in openapi._OWN.items() for method in operations
    }
    assert named == own
