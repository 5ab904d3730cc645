"""What clients need to trust the CA: bundles beside it, and the variables that name them.

A bundle is a copy of the system's roots with ours behind them, because most variables *replace*
what a program trusts. Nothing is installed anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import ssl
import warnings
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from muxproxy.ca.authority import Authority
from muxproxy.ca.files import Folder, write

# Where systems keep their roots in one file, besides what OpenSSL itself was built with.
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSDs
)
_PASSWORD = "changeit"  # what everybody uses: the store holds certificates, nothing secret
NO_PROXY = "localhost,127.0.0.1,::1"


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
    store = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(_PASSWORD.encode()))
    write(folder.store, store, 0o644)


def trust_variables(folder: Folder) -> dict[str, str]:
    """What makes programs trust the CA, by ecosystem."""
    cert, bundle, store = (str(p.resolve()) for p in (folder.cert, folder.bundle, folder.store))
    return {
        "SSL_CERT_FILE": bundle,  # OpenSSL, Python's ssl and httpx, Go on Linux, Ruby, Rust
        "REQUESTS_CA_BUNDLE": bundle,  # Python's requests
        "CURL_CA_BUNDLE": bundle,  # curl
        "AWS_CA_BUNDLE": bundle,  # AWS's command line and SDKs
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": bundle,
        "NODE_EXTRA_CA_CERTS": cert,  # Node adds it to its own
        "DENO_CERT": cert,
        "JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={_quoted(store)} "
        f"-Djavax.net.ssl.trustStorePassword={_PASSWORD}",
    }


def _quoted(path: str) -> str:
    """As Java takes it in its options."""
    return f'"{path}"' if " " in path else path


def proxy_variables(url: str) -> dict[str, str]:
    """What makes programs use the proxy at `url`. Both spellings: curl reads only the small
    http_proxy, others only the capital ones. Node's own fetch wants to be told."""
    names = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
    return {
        **dict.fromkeys(names, url),
        "NO_PROXY": NO_PROXY,
        "no_proxy": NO_PROXY,
        "NODE_USE_ENV_PROXY": "1",
    }


def exports(variables: Mapping[str, str]) -> str:
    """Lines for a POSIX shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
