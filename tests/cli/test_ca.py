"""`muxproxy ca`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muxproxy.cli import main

YAML = """
listen: 127.0.0.1:9999
intercept: {{ca: {ca}}}
providers:
  openai: {{dialect: openai, base_url: https://api.openai.com/v1}}
"""
MORE = "  anthropic: {dialect: anthropic, base_url: https://api.anthropic.com}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    path = tmp_path / "muxproxy.yaml"
    path.write_text(YAML.format(ca=tmp_path / "ca"))
    return path


def told(capsys: pytest.CaptureFixture[str], file: Path, *more: str) -> dict[str, object]:
    assert main(["ca", "--config", str(file), "--json", *more]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_it_is_made_once_and_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, file)
    assert first["covers"] == ["api.openai.com"]
    assert "new CA" in str(first["news"])
    again = told(capsys, file)
    assert again["sha256"] == first["sha256"] and not again["news"]
    assert main(["ca", "-c", str(file)]) == 0
    page = capsys.readouterr().out
    for word in (str(first["sha256"]), str(first["certificate"]), "SSL_CERT_FILE"):
        assert word in page


def test_other_hosts_reissue_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, file)
    before = file.read_text()
    file.write_text(before + MORE)
    more = told(capsys, file)
    assert more["covers"] == ["api.anthropic.com", "api.openai.com"]
    assert "same key" in str(more["news"]) and "covers api.anthropic.com" in str(more["news"])
    assert more["sha256"] != first["sha256"]
    file.write_text(before)
    assert "no longer covers api.anthropic.com" in str(told(capsys, file)["news"])


def test_a_new_key_is_made_when_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = file.parent / "ca" / "ca-key.pem"
    told(capsys, file)
    before = key.read_bytes()
    assert "have to trust it" in str(told(capsys, file, "--new-key")["news"])
    assert key.read_bytes() != before


def test_env_prints_nothing_but_exports(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ca", "-c", str(file), "--env", "--proxy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("export ") for line in lines)
    assert "export HTTPS_PROXY=http://127.0.0.1:9999" in lines


def test_what_cannot_be_done_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, file)
    (file.parent / "ca" / "ca-key.pem").write_text("nonsense")
    assert main(["ca", "-c", str(file)]) == 2
    assert "muxproxy ca" in capsys.readouterr().err
    file.write_text("providers: {}\n")
    assert main(["ca", "-c", str(file)]) == 2
    assert "no provider has a host" in capsys.readouterr().err


def test_env_with_a_proxy(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`muxproxy env --proxy`: base URLs, and for programs that read none, the proxy and trust."""
    monkeypatch.setenv("NO_PROXY", "corp.test")
    assert main(["env", "-c", str(file), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "HTTPS_PROXY" not in plain and not (file.parent / "ca").exists()
    assert main(["env", "-c", str(file), "--json", "--proxy"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["HTTPS_PROXY"] == "http://127.0.0.1:9999"
    assert found["OPENAI_BASE_URL"] == "http://127.0.0.1:9999/v1"
    assert found["NO_PROXY"].split(",") == ["corp.test", "127.0.0.1", "localhost", "::1"]
    assert Path(found["SSL_CERT_FILE"]).read_text().count("BEGIN CERTIFICATE") > 1
    assert Path(found["NODE_EXTRA_CA_CERTS"]).is_file()
    (file.parent / "ca" / "ca-key.pem").write_text("nonsense")
    assert main(["env", "-c", str(file), "--proxy"]) == 2
    assert "muxproxy ca" in capsys.readouterr().err
