"""What clients need to trust the CA: bundles beside it; `variables` names them.

A bundle is a copy of the system's roots with ours behind them, because most variables *replace*
what a program trusts. Nothing is installed anywhere.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import warnings
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from muxproxy.ca.authority import Authority
from muxproxy.ca.files import Folder, write
from muxproxy.ca.variables import PASSWORD

# Where systems keep their roots in one file, besides what OpenSSL itself was built with.
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSDs
)


def system_roots(env: Mapping[str, str], ours: Path) -> bytes:
    """The roots that programs trust now, as PEM: SSL_CERT_FILE's, else the system's."""
    given = env.get("SSL_CERT_FILE", "")
    paths = [given] if given and not _same(given, ours) else []
    for path in (*paths, ssl.get_default_verify_paths().openssl_cafile, *_ROOTS):
        try:
            data = Path(path).read_bytes()
        except OSError:
            continue
        if b"-----BEGIN CERTIFICATE-----" in data:
            return data.rstrip(b"\n") + b"\n"
    ders = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders).encode("ascii")


def _same(given: str, ours: Path) -> bool:
    return os.path.realpath(given) == os.path.realpath(ours)


def export(folder: Folder, authority: Authority, env: Mapping[str, str]) -> None:
    """Write the bundles. Raises OSError."""
    roots = system_roots(env, folder.bundle)
    write(folder.bundle, roots + authority.pem, 0o644)
    certs = []
    for part in roots.split(b"-----END CERTIFICATE-----"):
        begin = part.find(b"-----BEGIN CERTIFICATE-----")
        if begin < 0:
            continue
        pem = part[begin:] + b"-----END CERTIFICATE-----\n"
        # An odd old root: Java can do without.
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            certs.append(x509.load_pem_x509_certificate(pem))
    entries = [
        pkcs12.PKCS12Certificate(cert, f"root-{number}".encode())
        for number, cert in enumerate(certs)
    ]
    entries.append(pkcs12.PKCS12Certificate(authority.cert, b"muxproxy"))
    store = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD.encode()))
    write(folder.store, store, 0o644)
