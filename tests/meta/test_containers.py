"""What runs muxproxy elsewhere: images, compose files, scripts, licences. No engine is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from muxproxy.cli.config_file import find
from muxproxy.config.load import load_file
from muxproxy.sim.thread import in_thread
from tests.meta.sources import ROOT
from tests.process.server import READY

COMPOSE = yaml.safe_load((ROOT / "container-compose.yaml").read_text())
CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_the_image_copies_what_is_there_and_is_no_root() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.M):
        *sources, _ = line.split()
        assert [s for s in sources if not (ROOT / s).exists()] == []
    assert "\nUSER 10001\n" in CONTAINERFILE
    assert '"muxproxy", "health"' in CONTAINERFILE


def test_compose_runs_a_sidecar_with_as_little_as_it_needs() -> None:
    services = COMPOSE["services"]
    sidecar = services["muxproxy"]
    assert sidecar["network_mode"] == "service:app"
    assert sidecar["read_only"] is True and sidecar["cap_drop"] == ["ALL"]
    assert "ports" not in sidecar and "ports" not in services["app"]
    # No provider key reaches the app.
    assert not [name for name in services["app"]["environment"] if name.endswith("_KEY")]
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    asked = set(re.findall(r"\$\{(\w+):-", (ROOT / "container-compose.yaml").read_text()))
    assert set(example) == asked
    env = {name: "k" for name in example if name.endswith("_KEY")} | {
        name: value for name, value in example.items() if name.endswith("_UPSTREAM")
    }
    config = load_file(str(ROOT / "config/container.yaml"), env).config
    shipped = load_file(str(ROOT / "config/muxproxy.yaml"), env).config
    for name, provider in config.providers.items():
        assert provider.base_url == shipped.providers[name].base_url


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """What the compose file starts, as plain processes on this machine."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copytree(ROOT / "config", folder / "config")
    with in_thread() as sim:
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MUXPROXY_CONFIG": str(folder / "config/container.yaml"),
            "MUXPROXY_STATE": str(folder / "books.db"),
            "MUXPROXY_LISTEN": "127.0.0.1:0",
            **{f"{name}_UPSTREAM": sim.url for name in ("ANTHROPIC", "GEMINI")},
            "OPENAI_UPSTREAM": f"{sim.url}/v1",
            **{f"{name}_API_KEY": "simulated" for name in ("OPENAI", "ANTHROPIC", "GEMINI")},
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "serve"],
            stderr=subprocess.PIPE, text=True, cwd=folder, env=env,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            found = READY.search(process.stderr.readline())
            assert found is not None
            yield int(found[1])
        finally:
            process.terminate()
            process.communicate(timeout=15)


def test_the_sample_app_gets_its_answers(sidecar: int) -> None:
    env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{sidecar}/v1", "ROUNDS": "3", "EVERY": "0"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/app.py")],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **env},
    )  # fmt: skip
    rules = re.findall(r"\(rule (\w+)\)", done.stdout)
    assert rules == ["rest", "code", "rest"], done.stdout


def test_smoke_passes_on_what_works_and_fails_on_what_does_not(sidecar: int) -> None:
    def smoke(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts/smoke"), "--url", url, "--api-key", "any"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    good = smoke(f"http://127.0.0.1:{sidecar}/v1/")
    assert good.returncode == 0, good.stdout
    assert good.stdout.count("ok  ") == len(good.stdout.splitlines()) == 12
    bad = smoke("http://127.0.0.1:1")
    assert bad.returncode == 1
    assert "no answer" in bad.stdout


ENGINES = """#!/bin/sh
[ "$1" = info ] && exit {info}
[ "$1 $2" = "system status" ] && exit {info}
[ "$1 $2" = "compose version" ] && exit {compose}
echo "{name} $*" >> "{log}"
"""


def engine(folder: Path, name: str, *, works: bool = True, compose: bool = True) -> None:
    """A container engine that only writes down how it was called."""
    path = folder / name
    path.write_text(
        ENGINES.format(name=name, log=folder / "log", info=int(not works), compose=int(not compose))
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def auto(folder: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, stderr, and the engines' calls."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    for tool in ("bash", "dirname", "sed", "head", "od", "tr", "cat", "env"):
        link = folder / tool
        if not link.exists() and (real := shutil.which(tool)):
            link.symlink_to(real)
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(ROOT / "scripts/container-auto.sh"), *arguments],
        capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": str(folder), "HOME": str(folder)},
    )  # fmt: skip
    return (
        done.returncode,
        done.stdout + done.stderr,
        (log.read_text().splitlines() if log.exists() else []),
    )


def test_the_engine_that_answers_is_used(tmp_path: Path) -> None:
    assert auto(tmp_path)[0] == 1
    engine(tmp_path, "docker", works=False)  # a client without its daemon
    engine(tmp_path, "podman", compose=False)
    engine(tmp_path, "podman-compose")
    code, _, calls = auto(tmp_path, "up")
    assert (code, calls) == (0, ["podman-compose -f container-compose.yaml up --build --detach"])
    engine(tmp_path, "docker")
    assert auto(tmp_path, "which")[1] == "docker\n"
    assert auto(tmp_path, "down")[2] == ["docker compose -f container-compose.yaml down"]
    assert auto(tmp_path, "up", "--dry-run")[2] == []
    assert auto(tmp_path, "sideways")[0] == 2


def test_apples_container_gets_its_commands_and_the_key_is_not_shown(tmp_path: Path) -> None:
    engine(tmp_path, "container")
    code, shown, calls = auto(tmp_path, "up")
    assert code == 0, shown
    assert calls[0] == "container build --tag muxproxy --file Containerfile ."
    served = next(call for call in calls if "ALLOWED_API_KEYS" in call)
    key = re.search(r"ALLOWED_API_KEYS=(\w{32})", served)
    assert key is not None
    assert shown.count(key[1]) == 1  # told to its owner, once, and not with the commands
    assert "MUXPROXY_LISTEN=0.0.0.0:8787" in served


@pytest.mark.parametrize("mode", ["basic", "enhanced"])
def test_modelmuxers_modes_are_configurations(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = find(None, {"MODELMUXER_MODE": mode})
    assert path == f"config/{mode}.yaml"
    beside = find(None, {"MODELMUXER_MODE": mode, "MUXPROXY_CONFIG": str(ROOT / "config/x.yaml")})
    assert beside == str(ROOT / path)
    assert find("mine.yaml", {"MODELMUXER_MODE": mode}) == "mine.yaml"
    config = load_file(path, {"DEBUG": "true"}).config
    assert (config.log.level, config.log.exchanges) == ("debug", "all")
    assert load_file(path, {"DEBUG": "express:*"}).config.log.level == "info"


def test_every_package_that_comes_along_has_its_licence() -> None:
    page = (ROOT / "THIRD_PARTY_LICENSES.md").read_text()
    listed = dict(re.findall(r"^\| ([\w.-]+) \| [^|]+ \| ([^|]+) \|$", page, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["tokenizers"]]
    names = {re.split(r"[\[<>=]", text)[0].lower().replace("_", "-") for text in wanted}
    assert names - {name.lower().replace("_", "-") for name in listed} == set()
    assert [name for name, licence in listed.items() if licence == "see its files"] == []
    assert not [name for name, text in listed.items() if re.search(r"\bA?GPL", text)]


def test_the_workflows_are_yaml_with_jobs() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yaml"):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        assert {"test", "lint", "audit", "image"} <= set(jobs)
        for script in re.findall(r"\bscripts/([\w-]+)", json.dumps(jobs)):
            assert (ROOT / "scripts" / script).exists() or script == "constraints", script
