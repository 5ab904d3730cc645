"""The CA: its files, and what OpenSSL makes of its constraints."""

from __future__ import annotations

import datetime
import stat
import subprocess
from pathlib import Path

import pytest

from muxproxy.ca.authority import BrokenAuthority, load, make, reissue
from muxproxy.ca.files import Folder
from muxproxy.ca.leaves import Leaves

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ["api.openai.com", "api.anthropic.com", "10.0.0.5"]


def verify(folder: Folder, leaf: Path, *more: str) -> tuple[bool, str]:
    """What `openssl verify` says, strictly, for a TLS server."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *more]
    done = subprocess.run(
        [*command, "-CAfile", str(folder.cert), str(leaf)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def forged(folder: Folder, host: str, where: Path) -> Path:
    """A leaf that our own code would not mint: what a thief of the key could make."""
    authority = load(folder)
    assert authority is not None
    leaves = Leaves(authority)
    pem = leaves.pem(host, NOW)
    leaf = where / "leaf.pem"
    leaf.write_bytes(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    return leaf


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("api.openai.com", True),
        ("eu.api.openai.com", True),  # a name constraint covers what is below it
        ("api.anthropic.com", True),
        ("10.0.0.5", True),
        ("openai.com", False),
        ("api.openai.com.evil.test", False),
        ("notapi.openai.com", False),
        ("bank.example", False),
        ("10.0.0.6", False),
        ("2001:db8::5", False),
    ],
)
def test_the_constraints_hold(tmp_path: Path, host: str, good: bool) -> None:
    folder = Folder(str(tmp_path / "ca"))
    make(folder, NAMES, NOW)
    option = "-verify_ip" if host[0].isdigit() else "-verify_hostname"
    found, said = verify(folder, forged(folder, host, tmp_path), option, host)
    assert found is good, said
    if not good:
        assert "permitted subtree violation" in said


@pytest.mark.parametrize(
    ("names", "host"),
    [(["api.openai.com"], "10.0.0.5"), (["api.openai.com"], "::1"), (["10.0.0.5"], "bank.example")],
)
def test_a_kind_of_name_that_is_not_wanted_is_not_free(
    tmp_path: Path, names: list[str], host: str
) -> None:
    folder = Folder(str(tmp_path / "ca"))
    make(folder, names, NOW)
    found, said = verify(folder, forged(folder, host, tmp_path))
    assert not found and "subtree violation" in said


def test_it_signs_no_further_ca_and_no_clients(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "ca"))
    make(folder, NAMES, NOW)
    leaf = forged(folder, "api.openai.com", tmp_path)
    found, said = verify(folder, leaf, "-purpose", "sslclient")
    assert not found and "certificate purpose" in said
    text = subprocess.run(
        ["openssl", "x509", "-in", str(folder.cert), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("CA:TRUE, pathlen:0", "TLS Web Server Authentication", "prime256v1"):
        assert word in text
    assert "Name Constraints: critical" in text


def test_the_key_is_ours_alone(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "deep" / "ca"))
    made = make(folder, NAMES, NOW)
    assert stat.S_IMODE(folder.key.stat().st_mode) == 0o600
    assert sorted(p.name for p in folder.path.iterdir()) == ["ca-key.pem", "ca.pem"]
    found = load(folder)
    assert found is not None
    assert (found.fingerprint, found.names) == (made.fingerprint, frozenset(NAMES))
    said = subprocess.run(
        ["openssl", "x509", "-in", str(folder.cert), "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.fingerprint in said


def test_nothing_is_no_fault(tmp_path: Path) -> None:
    assert load(Folder(str(tmp_path))) is None


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    make(folder, NAMES, NOW)
    folder.key.chmod(0o640)
    with pytest.raises(BrokenAuthority, match="chmod 600"):
        load(folder)


@pytest.mark.parametrize("which", ["cert", "key", "other key"])
def test_what_is_no_ca_of_ours_is_told(tmp_path: Path, which: str) -> None:
    folder = Folder(str(tmp_path / "a"))
    make(folder, NAMES, NOW)
    if which == "cert":
        folder.cert.write_text("nonsense")
    elif which == "key":
        folder.key.write_text("nonsense")
    else:
        other = Folder(str(tmp_path / "b"))
        make(other, NAMES, NOW)
        folder.key.write_bytes(other.key.read_bytes())
    with pytest.raises(BrokenAuthority, match="muxproxy ca"):
        load(folder)


def test_a_reissue_keeps_old_trust_for_old_hosts(tmp_path: Path) -> None:
    folder, before = Folder(str(tmp_path / "ca")), Folder(str(tmp_path / "old"))
    old = make(folder, ["api.openai.com"], NOW)
    before.open_up()
    before.cert.write_bytes(folder.cert.read_bytes())
    new = reissue(folder, old, NAMES, NOW)
    assert new.fingerprint != old.fingerprint
    leaf = forged(folder, "api.openai.com", tmp_path)
    assert verify(folder, leaf)[0] and verify(before, leaf)[0]
    leaf = forged(folder, "api.anthropic.com", tmp_path)
    assert verify(folder, leaf)[0] and not verify(before, leaf)[0]
