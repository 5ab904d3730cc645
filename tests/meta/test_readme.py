"""The README's commands, as written there, against the demo that it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.config.load import load_file
from tests.conftest import _OURS, _PROXIES
from tests.meta.sources import ROOT
from tests.process.server import READY

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.M | re.S)
CURLS = re.findall(r"^\$ (curl .*)$", "\n".join(BLOCKS), re.M)
COMMANDS = re.findall(r"^\$ \.venv/bin/(muxproxy (?:calls|usage|budgets).*)$", README, re.M)


class Demo:
    """`muxproxy serve --demo` on the shipped configuration, in a folder of its own."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder

    def run(self, command: str, *, env: dict[str, str] | None = None) -> str:
        """What a shell command of the README prints, with this demo's address."""
        command = command.replace("localhost:8787", f"localhost:{self.port}")
        command = command.replace("127.0.0.1:8787", f"127.0.0.1:{self.port}")
        command = re.sub(r"^(?:\.venv/bin/)?muxproxy", f"{sys.executable} -m muxproxy", command)
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env=_environment(env),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """That of a machine with no key, no setting of ours and no proxy."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and name.lower() not in _PROXIES
    }
    return {**clean, "PYTHONPATH": str(ROOT), **(more or {})}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "config", folder / "config")
    process = subprocess.Popen(
        [sys.executable, "-m", "muxproxy", "serve", "--demo", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=_environment(),
    )
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if found := READY.search(line):
                break
        else:
            raise AssertionError("".join(seen))
        yield Demo(int(found[1]), folder)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def shown_after(command: str) -> str:
    """The first line that the README prints under a command."""
    return README.partition(f"$ {command}\n")[2].partition("\n")[0]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", CURLS)
def test_a_curl_call_answers_as_shown(command: str, demo: Demo) -> None:
    printed = demo.run(command)
    assert printed.splitlines()[0][:60] == shown_after(command)[:60]
    for name in re.findall(r"^(x-[\w-]+):", README, re.M) if "-si " in command else ():
        assert f"{name}:" in printed


def test_the_sdks_say_what_is_shown(demo: Demo) -> None:
    pytest.importorskip("openai")
    pytest.importorskip("anthropic")
    example = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert example is not None
    (demo.folder / "example.py").write_text(example[1])
    exports = re.findall(r"(\w+_(?:BASE_URL|API_KEY))=(\S+)", "\n".join(BLOCKS))
    env = {k: v.replace("127.0.0.1:8787", f"127.0.0.1:{demo.port}") for k, v in exports}
    assert set(env) >= {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"}
    printed = demo.run(f"{sys.executable} example.py", env=env)
    shown = README.partition("$ .venv/bin/python example.py\n")[2].partition("```")[0]
    assert printed == shown


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_the_columns_shown(command: str, demo: Demo) -> None:
    demo.run("curl -s localhost:8787/v1/messages -d '{\"model\":\"claude-haiku-4-5\","
             '"max_tokens":3,"messages":[]}\'')  # fmt: skip
    assert demo.run(command).split("\n")[0].split() == shown_after(f".venv/bin/{command}").split()


def test_the_demo_keeps_calls_that_name_a_real_host_on_this_machine(demo: Demo) -> None:
    for provider in load_file(str(ROOT / "config/muxproxy.yaml"), {}).config.providers.values():
        host = provider.base_url.replace("https://", "").partition("/")[0]
        refused = demo.run(
            f"curl -s -o /dev/null -w '%{{http_connect}}' -x 127.0.0.1:8787 https://{host}/ || true"
        )
        assert refused == "501"
