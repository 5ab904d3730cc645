"""Bundles and variables."""

from __future__ import annotations

import datetime
import shlex
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import pkcs12

from muxproxy.ca.authority import make
from muxproxy.ca.files import Folder
from muxproxy.ca.trust import export, system_roots
from muxproxy.ca.variables import exports, proxy_variables, trust_variables

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def corporate(tmp_path: Path) -> Path:
    """What SSL_CERT_FILE names in an office."""
    path = tmp_path / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def test_a_bundle_holds_what_was_trusted_and_ours(tmp_path: Path, corporate: Path) -> None:
    folder = Folder(str(tmp_path / "ca"))
    authority = make(folder, ["example.com"], NOW)
    for _ in range(2):  # also when our bundle is what SSL_CERT_FILE names by now
        export(folder, authority, {"SSL_CERT_FILE": str(corporate)})
    assert folder.bundle.read_bytes() == corporate.read_bytes() + authority.pem
    context = ssl.create_default_context(cafile=str(folder.bundle))
    assert len(context.get_ca_certs()) == 2
    store = pkcs12.load_pkcs12(folder.store.read_bytes(), b"changeit")
    assert {c.friendly_name for c in store.additional_certs} == {b"root-0", b"muxproxy"}


def test_our_own_bundle_is_not_bundled_again(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "ca"))
    authority = make(folder, ["example.com"], NOW)
    export(folder, authority, {})
    size = folder.bundle.stat().st_size
    export(folder, authority, {"SSL_CERT_FILE": str(folder.bundle)})
    assert folder.bundle.stat().st_size == size
    assert system_roots({"SSL_CERT_FILE": str(folder.bundle)}, folder.bundle).count(b"BEGIN") > 1


def test_a_shell_reads_the_variables(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "with space" / "$HOME"))
    variables = trust_variables(folder) | proxy_variables("http://127.0.0.1:8787")
    script = exports(variables) + "".join(f'printf "%s\\n" "${name}"\n' for name in variables)
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == list(variables.values())
    for name in (
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "HTTPS_PROXY",
        "NO_PROXY",
    ):
        assert variables[name]
    assert shlex.split(variables["JAVA_TOOL_OPTIONS"])[0].startswith("-Djavax.net.ssl.trustStore=")
