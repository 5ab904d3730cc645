"""Leaves: minted once per host, short-lived, never beyond the constraints."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509

from muxproxy.ca import leaves as module
from muxproxy.ca.authority import Authority, make
from muxproxy.ca.files import Folder
from muxproxy.ca.leaves import Leaves

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make(Folder(str(tmp_path / "ca")), ["example.com", "::1"], NOW)


def test_one_context_per_host(authority: Authority) -> None:
    leaves = Leaves(authority)
    assert leaves.context("a.example.com") is leaves.context("a.example.com")
    assert leaves.context("b.example.com") is not leaves.context("a.example.com")
    assert leaves.context("::1") is leaves.context("::1")


def test_a_day_later_it_is_minted_anew(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = Leaves(authority)
    first = leaves.context("example.com")
    later = module.time.time() + module.RENEW + 1
    monkeypatch.setattr(module.time, "time", lambda: later)
    assert leaves.context("example.com") is not first


@pytest.mark.parametrize("host", ["other.com", "::2", "example.com.evil"])
def test_never_beyond_the_names(authority: Authority, host: str) -> None:
    with pytest.raises(ValueError, match="must not certify"):
        Leaves(authority).context(host)


def test_short_lived_and_for_servers_only(authority: Authority) -> None:
    pem = Leaves(authority).pem("x" * 60 + ".example.com", NOW)  # too long for a common name
    cert = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    assert cert.not_valid_after_utc - NOW <= module.LIFETIME
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["x" * 60 + ".example.com"]


def test_no_key_stays_on_disk(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    assert isinstance(Leaves(authority).context("example.com"), ssl.SSLContext)
    assert set(tmp_path.iterdir()) == before
