"""The systems measured: how each is started in front of the simulated provider."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.process import (
    LOAD_CORE,
    PROXY_CORE,
    free_port,
    spawn,
    stop,
    wait_for_port,
)

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream sim {{ server 127.0.0.1:{sim}; keepalive 2048; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 10000000;
    location / {{
      proxy_pass http://sim;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

MUXPROXY = """
listen: 127.0.0.1:{port}
state: {folder}/bench.db
unknown_price: allow
providers:
  openai: {{dialect: openai, base_url: http://127.0.0.1:{sim}/v1, api_key: sk-provider}}
  anthropic: {{dialect: anthropic, base_url: http://127.0.0.1:{sim}, api_key: sk-provider}}
models:
  small: [openai/gpt-4o-mini]
  large: [openai/gpt-4o]
rules:
  - {{name: code, when: {{text: code, model: [auto, null]}}, to: large}}
  - {{name: short, when: {{prompt_chars: "< 100", tools: false, model: [auto, null]}}, to: small}}
  - {{name: team-x, when: {{header.x-team: search}}, tag: search, continue: true}}
  - {{name: blocked, when: {{model: "*-preview"}}, deny: "not here"}}
budgets:
  - {{name: daily, per: key, limit: $100000, window: day}}
  - {{name: all, per: all, limit: $1000000, window: month}}
limits:
  - {{name: fair, per: key, requests: 10000000/min}}
"""

LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{sim}/v1", api_key: k}}
litellm_settings: {{telemetry: false}}
"""


@dataclass
class System:
    """A running system under measurement."""

    name: str
    port: int
    pid: int


@contextmanager
def simulator() -> Iterator[int]:
    """The simulated provider on the load's core; its port."""
    port = free_port()
    process = spawn(
        [sys.executable, "-m", "muxproxy", "sim", "--listen", f"127.0.0.1:{port}", "--quiet",
         "--keep", "0"],
        LOAD_CORE,
    )  # fmt: skip
    try:
        wait_for_port(port)
        yield port
    finally:
        stop(process)


@contextmanager
def running(name: str, sim: int) -> Iterator[System]:
    """Start system `name` in front of the simulator at port `sim`."""
    with tempfile.TemporaryDirectory(prefix="muxproxy-bench-") as folder:
        port = free_port()
        command, env = _command(name, Path(folder), port, sim)
        log = open(Path(folder) / "log", "wb")  # noqa: SIM115
        process = spawn(
            command, PROXY_CORE, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for_port(port)
            yield System(name, port, process.pid)
        finally:
            stop(process)
            log.close()


def _command(name: str, folder: Path, port: int, sim: int) -> tuple[list[str], dict[str, str]]:
    values = {"folder": folder, "port": port, "sim": sim}
    if name == "nginx":
        (folder / "nginx.conf").write_text(NGINX.format(**values))
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", f"{folder}/nginx.conf"], {}
    if name == "litellm":
        (folder / "litellm.yaml").write_text(LITELLM.format(**values))
        binary = shutil.which("litellm") or "litellm"
        return [binary, "--config", f"{folder}/litellm.yaml", "--port", str(port)], {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True"
        }
    (folder / "muxproxy.yaml").write_text(MUXPROXY.format(**values))
    if name == "muxproxy-hypercorn":
        return (
            [sys.executable, "-m", "hypercorn", "muxproxy.app:app", "--bind", f"127.0.0.1:{port}",
             "--worker-class", "uvloop"],
            {"MUXPROXY_CONFIG": f"{folder}/muxproxy.yaml"},
        )  # fmt: skip
    return [sys.executable, "-m", "muxproxy", "serve", "--config", f"{folder}/muxproxy.yaml"], {}


def available(peers: bool) -> list[str]:
    """Names of the systems that can be measured here."""
    names = []
    if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
        names.append("nginx")
    names += ["muxproxy", "muxproxy-hypercorn"]
    if peers and shutil.which("litellm"):
        names.append("litellm")
    return names


def dump(results: object, path: str | None) -> None:
    if path:
        Path(path).write_text(json.dumps(results, indent=2) + "\n")
