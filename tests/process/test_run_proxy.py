"""`muxproxy run --proxy`: a program that knows one https URL, behind a muxproxy of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from muxproxy.sim.thread import in_thread
from tests.process.server import calls, command
from tests.wire.opened import certificate

PROGRAM = """
import json, os, urllib.request
body = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
request = urllib.request.Request(
    "https://api.openai.test/v1/chat/completions", json.dumps(body).encode(),
    {"content-type": "application/json", "authorization": "Bearer mine"})
print(json.load(urllib.request.urlopen(request))["object"])
"""


def test_an_https_program_is_metered(tmp_path: Path) -> None:
    context, authority = certificate("api.openai.test")
    authority.cert_pem.write_to_path(str(tmp_path / "upstream.pem"))
    with in_thread(context=context) as sim:
        (tmp_path / "muxproxy.yaml").write_text(
            f"""
state: {tmp_path}/books.db
unknown_price: allow
intercept: {{ca: {tmp_path}/ca}}
providers:
  openai:
    dialect: openai
    base_url: https://api.openai.test/v1
    api_key: k
    connect_to: 127.0.0.1:{sim.server.port}
    ca: {tmp_path}/upstream.pem
"""
        )
        done = command(
            "run", "--config", str(tmp_path / "muxproxy.yaml"), "--proxy", "--budget", "$1", "--",
            sys.executable, "-c", PROGRAM,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "chat.completion\n"), done.stderr
    assert "a new CA" in done.stderr and "in 1 call" in done.stderr
    (row,) = calls(tmp_path)
    assert (row["status"], row["end"], row["provider"]) == (200, "finished", "openai")
    assert row["run"].startswith("run-")
