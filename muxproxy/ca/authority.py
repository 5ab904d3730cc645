"""Making, loading and reissuing the CA.

An EC P-256 key; a certificate that may sign for servers only, for no other CA, and by its name
constraints for the intercepted hosts only: whoever stole the key could pose as the configured
providers to programs that trust it, and as nobody else.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from ipaddress import ip_network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from muxproxy.ca.files import Folder, write
from muxproxy.ca.names import is_address

LIFETIME = datetime.timedelta(days=730)
SKEW = datetime.timedelta(days=1)  # clocks of clients that are behind
# Stands where a CA is to certify addresses only: without any name, every name would be allowed.
_NO_NAME = "muxproxy.invalid"


class BrokenAuthority(Exception):
    """The files are there and are no CA of ours; the text says what to do."""


class Authority:
    """A certificate and its key. `names`: what it may certify."""

    def __init__(self, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.cert = cert
        self.key = key
        self.names = _names(cert)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.cert.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256, as `openssl x509 -fingerprint -sha256` writes it."""
        return self.cert.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def ends(self) -> datetime.datetime:
        """When it expires."""
        return self.cert.not_valid_after_utc


def make(folder: Folder, names: Sequence[str], now: datetime.datetime) -> Authority:
    """A new key and its certificate, written to `folder`. Raises OSError."""
    return _issue(folder, ec.generate_private_key(ec.SECP256R1()), names, now)


def reissue(
    folder: Folder, old: Authority, names: Sequence[str], now: datetime.datetime
) -> Authority:
    """Another certificate for the same key and name: programs that trust the old one go on
    trusting leaves for the hosts that it covers. Raises OSError."""
    return _issue(folder, old.key, names, now)


def load(folder: Folder) -> Authority | None:
    """What lies in `folder`; None: nothing. Raises BrokenAuthority."""
    try:
        cert_pem, key_pem = folder.cert.read_bytes(), folder.key.read_bytes()
        mode = os.stat(folder.key).st_mode & 0o777
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenAuthority(f"the CA in {folder.path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise BrokenAuthority(
            f"{folder.key} may be read by others ({mode:o}): chmod 600 it, or make a new CA with "
            "`muxproxy ca --new-key` if somebody may have"
        )
    try:
        cert = x509.load_pem_x509_certificate(cert_pem)
        key = serialization.load_pem_private_key(key_pem, None)
        ours = isinstance(key, ec.EllipticCurvePrivateKey) and (
            key.public_key() == cert.public_key()
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        ours = False
    if not ours:
        raise BrokenAuthority(
            f"{folder.cert} and {folder.key} are no CA of muxproxy's: move them away and run "
            "`muxproxy ca`"
        )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(cert, key)


def _issue(
    folder: Folder, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime.datetime
) -> Authority:
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "muxproxy"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"muxproxy CA {identifier.digest.hex()[:12]}"),
        ]
    )
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_constraints(names), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Authority(cert, key)
    folder.open_up()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write(folder.key, private, 0o600)
    write(folder.cert, made.pem, 0o644)
    return made


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _constraints(names: Sequence[str]) -> x509.NameConstraints:
    """A kind of name that no permitted entry speaks of is free: so none may stay unspoken of."""
    hosts = [name for name in names if not is_address(name)] or [_NO_NAME]
    addresses = [name for name in names if is_address(name)]
    return x509.NameConstraints(
        [
            *(x509.DNSName(name) for name in hosts),
            *(x509.IPAddress(ip_network(address)) for address in addresses),
        ],
        None
        if addresses
        else [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))],
    )


def _names(cert: x509.Certificate) -> frozenset[str]:
    try:
        found = cert.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = []
    for entry in found.permitted_subtrees or ():
        if isinstance(entry, x509.DNSName):
            names.append(entry.value)
        elif isinstance(entry, x509.IPAddress):
            names.append(str(entry.value).partition("/")[0])
    return frozenset(names) - {_NO_NAME}
