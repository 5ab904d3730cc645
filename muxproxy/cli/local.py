"""Asking the muxproxy that runs here: over HTTP, TLS or a unix socket."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import sys
from typing import Any

from muxproxy.cli import config_file
from muxproxy.config import units
from muxproxy.config.model import Config, Listen

KEY = "MUXPROXY_KEY"


class Unanswered(Exception):
    """Nobody answers; the text says where and why."""


def arguments(parser: argparse.ArgumentParser, timeout: float = 3.0) -> None:
    """`--config`, `--address`, `--key`, `--timeout` and `--json`."""
    config_file.argument(parser)
    parser.add_argument(
        "--address", metavar="H:P", help="or https://H:P, unix:/PATH; default: as configured"
    )
    parser.add_argument("--key", metavar="KEY", help=f"with auth.mode: keys; default: ${KEY}")
    parser.add_argument("--timeout", type=float, default=timeout, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


class Local:
    """One address."""

    def __init__(self, address: str, *, tls: bool, timeout: float, key: str | None) -> None:
        """Raises ValueError for what is no address."""
        scheme, mark, rest = address.partition("://")
        self.tls = tls or (bool(mark) and scheme == "https")
        self.name = address
        self._endpoint = units.address((rest if mark else address).rstrip("/"))
        self._timeout = timeout
        self._key = key

    def get(self, path: str) -> tuple[int, Any]:
        """(status, decoded JSON). Raises Unanswered."""
        headers = {"host": "localhost"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        connection = self._connection()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unanswered(
                f"nothing answers at {self.name}: {error}{self._hint(error)}"
            ) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        place = self._endpoint
        if place.unix is not None:
            return _Unix(place.unix, self._timeout)
        host = place.host if place.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        if not self.tls:
            return http.client.HTTPConnection(host, place.port, timeout=self._timeout)
        context = ssl.create_default_context()
        if place.loopback or place.host in ("", "0.0.0.0", "::"):
            # Ourselves on this machine: its certificate is for the name that others use.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, place.port, timeout=self._timeout, context=context)

    def _hint(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(error):
            return " (it wants a client certificate: set admin: for a door without one)"
        return ""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def find(args: argparse.Namespace, *, control: bool) -> Local | None:
    """Where to ask, or None after the reason was printed. `control`: for more than health."""
    address, tls = args.address or os.environ.get("MUXPROXY_LISTEN"), False
    if args.address is None:
        config = config_file.read(args.config)
        if config is None:
            return None
        if control and config.admin is not None:
            address = config.admin
        else:
            own, tls = listening(config)
            address = address or own
    try:
        return Local(
            address or "", tls=tls, timeout=args.timeout, key=args.key or os.environ.get(KEY)
        )
    except ValueError as error:
        print(f"--address: {error}", file=sys.stderr)
        return None


def listening(config: Config) -> tuple[str, bool]:
    """(address of the main door, whether it speaks TLS)."""
    listen = config.listen
    if isinstance(listen, Listen):
        return listen.address, listen.tls is not None
    return listen, False


def base_url(config: Config) -> str:
    """What clients on this machine put before the path."""
    address, tls = listening(config)
    place = units.address(address)
    host = place.host if place.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{place.port}"
