"""The browser is not a caller: which Host and Origin may reach us.

Any web page can post to a port on localhost, and DNS rebinding can make its own name resolve to
127.0.0.1. So `Host` must be a loopback name, the listen address or named in `hosts:`, and a foreign
`Origin` needs `origins:` (DESIGN section 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from muxproxy.errors import MuxError

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
_CACHE_LIMIT = 1024


def split_host(value: str) -> str:
    """The host of a `host[:port]`, lower case, without brackets and a trailing dot."""
    host = value.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.removesuffix(".")


def is_loopback(host: str) -> bool:
    """localhost, *.localhost (RFC 6761) and the loopback ranges."""
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class BrowserRules:
    """Judges Host, Origin and Sec-Fetch-Site; remembers the hosts it has judged."""

    __slots__ = ("_good", "_hosts", "_origins")

    def __init__(self, listen_hosts: Iterable[str], hosts: list[str], origins: list[str]) -> None:
        self._hosts = {split_host(h) for h in (*listen_hosts, *hosts)}
        self._origins = {o.rstrip("/").lower().encode() for o in origins}
        self._good: set[bytes] = set()

    def check(self, fields: Mapping[bytes, bytes], *, origin_form: bool = True) -> None:
        """Raise MuxError 421 or 403. `fields`: header name (lower case) -> value.

        `origin_form` False skips Host: there the target names the host.
        """
        host = fields.get(b"host")
        origin = fields.get(b"origin")
        site = fields.get(b"sec-fetch-site")
        if origin_form and host is not None and host not in self._good:
            self._judge_host(host)
        if origin is None and site is None:
            return
        allowed = origin is not None and origin.lower() in self._origins
        if origin is not None and not allowed and not _same_origin(origin, host):
            raise MuxError(
                "origin_not_allowed",
                f"requests from the web page {_show(origin)} are refused; "
                "list it under origins: in the configuration to allow it",
            )
        if site == b"cross-site" and not allowed:
            raise MuxError(
                "origin_not_allowed",
                "cross-site browser requests are refused; list the page's origin under origins:",
            )

    def _judge_host(self, host: bytes) -> None:
        name = split_host(host.decode("latin-1"))
        if not (is_loopback(name) or name in self._hosts):
            raise MuxError(
                "misdirected_request",
                f"Host {_show(host)} is not served here; add it to hosts: in the configuration, "
                "or point base_url at the listen address",
            )
        if len(self._good) < _CACHE_LIMIT:
            self._good.add(host)


def _same_origin(origin: bytes, host: bytes | None) -> bool:
    return host is not None and origin.lower() in (b"http://" + host, b"https://" + host)


def _show(value: bytes) -> str:
    return ascii(value[:100].decode("latin-1"))
