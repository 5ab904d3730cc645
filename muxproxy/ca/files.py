"""Where a CA lies: its key is 0600, what clients have to read is readable."""

from __future__ import annotations

import os
from pathlib import Path

CERT = "ca.pem"
KEY = "ca-key.pem"
BUNDLE = "bundle.pem"
STORE = "truststore.p12"


class Folder:
    """The files of one CA."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @property
    def cert(self) -> Path:
        """The certificate: what a client has to trust."""
        return self.path / CERT

    @property
    def key(self) -> Path:
        """The private key. Never leaves this machine."""
        return self.path / KEY

    @property
    def bundle(self) -> Path:
        """The system's roots and ours, for clients that take one file in place of the system's."""
        return self.path / BUNDLE

    @property
    def store(self) -> Path:
        """The same for Java."""
        return self.path / STORE

    def version(self) -> int:
        """Changes whenever the certificate does; 0: there is none."""
        try:
            return self.cert.stat().st_mtime_ns
        except OSError:
            return 0

    def open_up(self) -> None:
        """Make the folder. Its files but the key may be read by whoever may enter it."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step; it has `mode` before it holds a byte."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
