"""The command as a process."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.sim import main

from .raw import PATIENCE, ask


def test_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"status": 503}\n{"tokens": 1}\n')
    (tmp_path / "r.json").write_text('{"stream": null, "response": {"status": 299, "body": "x"}}')
    command = [sys.executable, "-m", "muxproxy.sim", "--script", str(script)]
    command += ["--recordings", str(tmp_path), "--listen", "127.0.0.1:0", "--seed", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        assert ask(ready["url"]).status == 503
        assert ask(ready["url"]).json()["usage"]["completion_tokens"] == 1
        assert ask(ready["url"], recording="r").status == 299
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["--listen", "nowhere"],
        ["--listen", "127.0.0.1:99999"],
        ["--recordings", "/does/not/exist"],
        ["--script", "/does/not/exist"],
        ["--unknown"],
    ],
)
def test_a_wrong_call_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err
