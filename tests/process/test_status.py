"""`status`, `top` in a terminal of 80x24, and `health` over TLS and unix sockets."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from muxproxy.cli import view
from muxproxy.sim.thread import SimThread, in_thread
from tests.process.server import Served, command, served, write_config

ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z])")
BUDGETS = "budgets:\n" + "".join(f"  - {{name: b{n}, limit: ${n + 1}}}\n" for n in range(12))


@pytest.fixture(scope="module")
def sim() -> Iterator[SimThread]:
    with in_thread() as server:
        yield server


def ask(server: Served, times: int = 1) -> None:
    body = '{"model":"gpt-4o","max_tokens":5,"messages":[]}'
    for _ in range(times):
        url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
        subprocess.run(["curl", "-sf", "-o", "/dev/null", "-d", body, url], check=True)


def test_status_says_how_it_is(tmp_path: Path, sim: SimThread) -> None:
    with served(tmp_path, sim.url, BUDGETS) as server:
        ask(server, 3)
        address = ["--address", f"127.0.0.1:{server.port}"]
        done = command("status", *address)
        assert done.returncode == 0, done.stderr
        assert re.search(r"muxproxy \S+  ready  up \d+", done.stdout)
        assert "requests 3" in done.stdout and "today $0.0" in done.stdout
        assert "b11: " in done.stdout and "openai " in done.stdout
        assert done.stdout.count("200 ") == 3
        assert "\x1b" not in done.stdout
        found = json.loads(command("status", *address, "--json").stdout)
        assert found["totals"]["requests"] == 3
        assert found["config"]["current"] is True
        server.config.write_text(server.config.read_text() + "rulez: []\n")
        until(lambda: command("status", *address).returncode == 1)
        told = command("status", *address).stdout
        assert "the last good one stays" in told and "did you mean rules?" in told
    assert command("status", *address).returncode == 1


def until(check: Callable[[], bool]) -> None:
    """Something that must come."""
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


class Terminal:
    """A pty, and what a program drew on it."""

    def __init__(self, arguments: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run with `&`
            os.execv(sys.executable, [sys.executable, "-m", "muxproxy", *arguments])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = ""

    def read_until(self, check: Callable[[list[str]], bool]) -> list[str]:
        """The lines of the last whole screen for which `check` holds."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode()
            screens = self.seen.split("\x1b[H")[1:]
            for screen in screens[::-1]:
                if screen.endswith("\x1b[J") and check(lines := self._plain(screen)):
                    return lines
        raise AssertionError(self.seen[-2000:])

    def _plain(self, screen: str) -> list[str]:
        return ESCAPE.sub("", screen).replace("\r", "").split("\n")

    def end(self, key: bytes) -> int:
        """Press a key; the exit code."""
        os.write(self.fd, key)
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # a pty's end
                break
            if not data:
                break
            self.seen += data.decode()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_top_shows_it_live_on_80_by_24(tmp_path: Path, sim: SimThread) -> None:
    with served(tmp_path, sim.url, BUDGETS) as server:
        address = ["--address", f"127.0.0.1:{server.port}"]
        terminal = Terminal(["top", "--every", "0.2", *address])
        terminal.read_until(lambda lines: "requests 0" in lines[2])
        ask(server, 30)
        lines = terminal.read_until(lambda lines: "requests 30" in lines[2])
        assert len(lines) <= 24 and max(map(len, lines)) <= 80
        assert "BUDGETS" in lines and "PROVIDERS" in lines and "LAST CALLS" in lines
        assert any("more" in line for line in lines)
        assert re.search(r"[\d.]+ req/s +\d+ tok/s", lines[2])
        assert "\x1b[32m" in terminal.seen
        assert terminal.end(b"q") == 0
        assert terminal.seen.endswith("\x1b[?25h\x1b[?1049l")
        other = Terminal(["top", *address])
        other.read_until(lambda lines: "ready" in lines[0])
        assert other.end(b"\x03") == 0
    assert command("top", *address).returncode == 2  # no terminal


@pytest.mark.parametrize(("width", "height"), [(80, 24), (30, 8), (200, 60)])
def test_a_page_is_never_larger_than_its_terminal(width: int, height: int) -> None:
    budget = {
        "name": "a\x1b[2J" * 9,
        "scope": "s",
        "limit": 0,
        "spent": 1,
        "held": 0,
        "window": "day",
    }
    call = {"time": "2026-01-01T00:00:00.000Z", "status": 200, "end": "error", "cost_usd": None,
            "total_ms": 1.0, "rule": "r" * 99, "provider": None, "model": None}  # fmt: skip
    provider = {
        "name": "p",
        "key": "set",
        "free": False,
        "dialect": "openai",
        "connections": {},
        "models": [{"model": "m", "state": "open", "latency_ms": 3.0}],
    }
    now = {
        "version": "1", "ready": False, "uptime_s": 90000, "in_flight": 0, "streams": 0,
        "detail": {"ledger": "full"}, "totals": {"requests": 1}, "budgets": [budget] * 50,
        "config": {"files": ["f", "g"], "since": "2026-01-01T00:00:00Z", "error": "a\nb",
                   "restart_needed": ["listen"], "warnings": ["w"]},
        "today": {"requests": 0, "cost_usd": None}, "providers": [provider] * 50,
        "calls": [call] * 50,
    }  # fmt: skip
    for paint in (view.Paint(True), view.Paint(False)):
        lines = view.page(now, None, width, height, paint)
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
        assert len(plain) <= height and max(map(len, plain)) <= width
        assert "\x1b" not in "".join(plain)


def test_health_speaks_tls_and_unix_sockets(tmp_path: Path, sim: SimThread) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("gateway.test")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    socket = tmp_path / "mux.sock"
    tls = f"{{address: '127.0.0.1:0', tls: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}"
    for listen, announced in ((tls, "https://127.0.0.1:"), (f"unix:{socket}", f"unix:{socket}")):
        path = write_config(tmp_path, sim.url)
        path.write_text(path.read_text().replace("127.0.0.1:0", listen, 1))
        process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "serve", "--config", str(path)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        assert announced in line
        place = line.split()[-1]
        for arguments in (["--address", place], []) if "unix" in place else (["--address", place],):
            done = command("health", "--config", str(path), *arguments)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("ready")
        process.terminate()
        process.communicate()
        assert command("health", "--config", str(path), "--address", place).returncode == 1
