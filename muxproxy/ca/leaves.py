"""Server certificates minted on the fly, one per host, kept in memory only."""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import tempfile
import time
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from muxproxy.ca.authority import SKEW, Authority
from muxproxy.ca.names import covered, is_address

LIFETIME = datetime.timedelta(days=7)
RENEW = 86400.0  # seconds after which a new one is minted
_KEPT = 512
_LONGEST_COMMON_NAME = 64  # characters (RFC 5280 appendix A)


class Leaves:
    """TLS server contexts by host. All leaves share a key that lives as long as this object."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: dict[str, tuple[float, ssl.SSLContext]] = {}

    def covers(self, host: str) -> bool:
        """Whether the CA may certify `host` (plain)."""
        return covered(host, self.authority.names)

    def context(self, host: str) -> ssl.SSLContext:
        """For a TLS server that poses as `host` (plain). Raises ValueError beyond the names."""
        now = time.time()
        found = self._contexts.get(host)
        if found is not None and found[0] > now:
            return found[1]
        if not self.covers(host):
            raise ValueError(f"the CA must not certify {host}")
        context = self._context(self.pem(host, datetime.datetime.fromtimestamp(now, datetime.UTC)))
        if len(self._contexts) >= _KEPT:
            self._contexts.clear()
        self._contexts[host] = (now + RENEW, context)
        return context

    def pem(self, host: str, now: datetime.datetime) -> bytes:
        """Key and certificate."""
        issuer, public = self.authority.cert, self._key.public_key()
        name: x509.GeneralName = (
            x509.IPAddress(ip_address(host)) if is_address(host) else x509.DNSName(host)
        )
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "muxproxy")]
        # OpenSSL holds a common name to the constraints of host names, whatever it is.
        if len(host) <= _LONGEST_COMMON_NAME and not is_address(host):
            subject.append(x509.NameAttribute(NameOID.COMMON_NAME, host))
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        cert = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(issuer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - SKEW, issuer.not_valid_before_utc))
            .not_valid_after(min(now + LIFETIME, issuer.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
            .sign(self.authority.key, hashes.SHA256())
        )
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private + cert.public_bytes(serialization.Encoding.PEM)

    @staticmethod
    def _context(pem: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        # ssl reads files only. This one is 0600, and gone at once.
        handle, path = tempfile.mkstemp(prefix="muxproxy-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(pem)
            context.load_cert_chain(path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
