"""The TLS side of a listener: certificate, client certificates, ALPN."""

from __future__ import annotations

import ssl

import msgspec


class DoorTls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files. `client_ca` makes a client certificate signed by it mandatory; `http2` offers
    h2 by ALPN beside http/1.1."""

    cert: str
    key: str
    client_ca: str | None = None
    http2: bool = True


def server_context(tls: DoorTls) -> ssl.SSLContext:
    """Raises OSError or ssl.SSLError for files that cannot be read or do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Of TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 4.2). Every client of
    # this decade has one of them, whatever kind of key the certificate has.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    # Renegotiation and compression: attack surface that no HTTP client needs.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(tls.cert, tls.key)
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2", "http/1.1"] if tls.http2 else ["http/1.1"])
    return context
