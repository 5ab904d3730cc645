"""`muxproxy run`: any program behind a muxproxy of its own, with a budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.cli.client_env import KEYS, OTHER_KEYS, WITH_V1, WITHOUT
from muxproxy.sim.thread import SimThread, in_thread
from tests.process.server import READY, calls, command, write_config

# Asks as often as its argument says; prints each status, and at last its environment.
PROGRAM = """
import json, os, sys, urllib.error, urllib.request
for number in range(int(sys.argv[1])):
    body = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json", "x-muxproxy-run": f"escaping-{number}",
         "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    try:
        print(urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error:
        print(error.code)
print(json.dumps(dict(os.environ)))
sys.exit(7)
"""
KEY = "sk-the-real-one"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimThread]:
    with in_thread() as server:
        yield server


def run(folder: Path, *arguments: str, asks: int = 3) -> subprocess.CompletedProcess[str]:
    """`muxproxy run ARGUMENTS -- PROGRAM`."""
    given = {**dict.fromkeys((*KEYS, *OTHER_KEYS), KEY), "ODD_NAME": "k", "NO_PROXY": "corp.test"}
    return command(
        "run", "--config", str(folder / "muxproxy.yaml"), *arguments, "--",
        sys.executable, "-c", PROGRAM, str(asks), env=given,
    )  # fmt: skip


def test_a_program_runs_under_its_budget(tmp_path: Path, sim: SimThread) -> None:
    write_config(tmp_path, sim.url)
    # A call holds a tenth of a cent for its output.
    done = run(tmp_path, "--budget", "$0.0015", asks=5)
    assert done.returncode == 7, done.stderr
    *statuses, environment = done.stdout.splitlines()
    assert statuses[0] == "200" and statuses[-1] == "402"
    env = json.loads(environment)
    base = env["MUXPROXY_URL"]
    assert {env[name] for name in WITH_V1} == {f"{base}/v1"}
    assert {env[name] for name in WITHOUT} == {base}
    assert {name for name, value in env.items() if KEY in value or value == "k"} == set()
    assert all(env[name].startswith("muxproxy-run-") for name in KEYS)
    assert not set(OTHER_KEYS) & set(env)
    assert env["NO_PROXY"] == "corp.test,127.0.0.1,localhost,::1"
    rows = calls(tmp_path)
    (name,) = {row["run"] for row in rows}
    assert name.startswith("run-")
    served = [row for row in rows if row["status"] == 200]
    spent = sum(row["cost_usd"] for row in served)
    assert 0 < spent <= 0.0015
    first, *rest = done.stderr.splitlines()
    assert first.startswith("muxproxy: $0.00") and f"in {len(served)} call" in first
    assert any("openai/gpt-4o" in line for line in rest)
    assert f"refused: {statuses.count('402')} budget_exceeded" in done.stderr
    # Without a budget the program keeps its keys, and its calls are counted all the same.
    free = run(tmp_path, asks=1)
    assert json.loads(free.stdout.splitlines()[-1])["GROQ_API_KEY"] == KEY
    assert "in 1 call" in free.stderr and " of $" not in free.stderr.splitlines()[0]


def test_it_keeps_books_of_its_own_beside_a_running_muxproxy(
    tmp_path: Path, sim: SimThread
) -> None:
    path = write_config(tmp_path, sim.url)
    server = subprocess.Popen(
        [sys.executable, "-m", "muxproxy", "serve", "--config", str(path)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    assert READY.search(server.stderr.readline())
    done = run(tmp_path, "--budget", "$1", asks=1)
    assert done.returncode == 7, done.stderr
    assert "this run keeps books of its own" in done.stderr
    assert "in 1 call" in done.stderr
    server.terminate()
    server.communicate()
    assert calls(tmp_path) == []


def test_signals_and_exit_codes_are_the_programs(tmp_path: Path, sim: SimThread) -> None:
    path = write_config(tmp_path, sim.url)
    waits = (
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(33))\n"
        "print('up', flush=True)\n"
        "signal.pause()\n"
    )
    for number, want in ((signal.SIGUSR1, 33), (signal.SIGTERM, 128 + 15), (signal.SIGINT, 1)):
        process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "run", "-q", "-c", str(path), "--",
             sys.executable, "-c", waits],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(number)
        code = process.wait(20)
        process.stdout.close()
        assert code in (want, 130), number  # Python ends with 130 after an unhandled Ctrl-C


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--"], 2),
        (["--", "no-such-command-anywhere"], 127),
        (["--budget", "cheap", "--", "true"], 2),
        (["--config", "/nowhere.yaml", "--", "true"], 2),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], code: int) -> None:
    done = command("run", *arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr and "Traceback" not in done.stderr


def test_without_a_configuration_it_starts_from_the_keys_it_finds(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MUXPROXY")}
    done = subprocess.run(
        [sys.executable, "-m", "muxproxy", "run", "--demo", "--budget", "$1", "--",
         sys.executable, "-c", PROGRAM, "1"],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        env={**clean, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("200")
    assert "using the starter of `init`" in done.stderr


def test_env_prints_what_a_shell_takes(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "listen: {address: '0.0.0.0:9443', tls: {cert: a, key: b}}\n"
        "auth: {mode: keys}\nkeys: [{name: a, value: k}]\n"
    )
    done = command("env", "--config", str(path))
    assert "export OPENAI_BASE_URL=https://127.0.0.1:9443/v1\n" in done.stdout
    assert "export ANTHROPIC_BASE_URL=https://127.0.0.1:9443\n" in done.stdout
    found = json.loads(command("env", "--url", "http://h:1/v1/", "--json").stdout)
    assert found["GROQ_BASE_URL"] == "http://h:1"
