"""The variables by which programs find the proxy, and what makes them trust the CA."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from muxproxy.ca.files import Folder

PASSWORD = "changeit"  # what everybody uses: Java's store holds certificates, nothing secret
HERE = ("127.0.0.1", "localhost", "::1")


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
        f"-Djavax.net.ssl.trustStorePassword={PASSWORD}",
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
        "NO_PROXY": ",".join(HERE),
        "no_proxy": ",".join(HERE),
        "NODE_USE_ENV_PROXY": "1",
    }


def exports(variables: Mapping[str, str]) -> str:
    """Lines for a POSIX shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
