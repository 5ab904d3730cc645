"""Which egress proxy a URL needs, and what a proxy URL says. Pure: the environment comes in."""

import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

_PORTS = {"http": 80, "https": 443}


class ProxyAddress(NamedTuple):
    """Where the proxy listens, and the Proxy-Authorization value from its userinfo."""

    host: str
    port: int
    authorization: bytes | None


def egress_proxy(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy URL that `env` wants for `url`, or None for a direct connection.

    HTTPS_PROXY or HTTP_PROXY by the URL's scheme, else ALL_PROXY; the lower-case name wins. In a
    CGI (REQUEST_METHOD set) upper-case HTTP_PROXY may come from a client's Proxy header, so it is
    ignored (CVE-2016-5385). NO_PROXY lists hosts (a name covers its subdomains, a leading dot or
    `*.` is allowed), host:port, addresses, networks in CIDR form, or `*`.
    Loopback is never proxied.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not host:
        return None
    address = _address(host)
    if _is_loopback(host, address):
        return None
    proxy = _variable(env, f"{parts.scheme}_proxy") or _variable(env, "all_proxy")
    if not proxy:
        return None
    exempt = _variable(env, "no_proxy") or ""
    if _exempt(host, parts.port or _PORTS[parts.scheme], address, exempt):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def without_own(env: Mapping[str, str], port: int) -> tuple[dict[str, str], list[str]]:
    """`env` without proxy variables that lead to that port of this machine, and their names: who
    exported HTTPS_PROXY for muxproxy's clients may start muxproxy in the same shell."""
    own = []
    for name, value in env.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and value.strip():
            url = value if "://" in value else f"http://{value}"
            try:
                parts = urlsplit(url)
                leads = parts.port == port and parts.hostname is not None
            except ValueError:
                continue
            host = parts.hostname or ""
            if leads and _is_loopback(host, _address(host)):
                own.append(name)
    return {name: value for name, value in env.items() if name not in own}, own


def parse_proxy(url: str) -> ProxyAddress:
    """Raises ValueError, naming no secret, unless `url` is http://[user:password@]host[:port]."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        raise ValueError("the egress proxy's URL has no valid port") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("the egress proxy must be http://[user:password@]host[:port]")
    userinfo = parts.netloc.rpartition("@")[0]
    authorization = None
    if userinfo:
        user, _, password = userinfo.partition(":")
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        authorization = b"Basic " + base64.b64encode(pair)
    return ProxyAddress(parts.hostname, port, authorization)


def _variable(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    if value:
        return value
    if name == "http_proxy" and "REQUEST_METHOD" in env:
        return None
    return env.get(name.upper(), "").strip() or None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _exempt(
    host: str,
    port: int,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
    no_proxy: str,
) -> bool:
    for raw in no_proxy.replace(" ", ",").split(","):
        entry = raw.strip().lower()
        if not entry:
            continue
        if entry == "*":
            return True
        if address is not None and _covers(entry, address):
            return True
        name, entry_port = _split_port(entry)
        if entry_port is not None and entry_port != port:
            continue
        if address is not None:
            if _address(name) == address:
                return True
            continue
        name = name.removeprefix("*").lstrip(".").rstrip(".")
        if name and (host == name or host.endswith("." + name)):
            return True
    return False


def _covers(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """host:port, [v6]:port, or either without a port."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and ":" not in name:
        return name, int(digits)
    return entry, None
