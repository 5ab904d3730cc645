"""Which hosts the CA may certify. Plain functions over names.

A *name* is a host ("api.openai.com", which as a name constraint also covers its subdomains) or an
address. A *glob* is a host, or `*.` and a host for everything below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from muxproxy.config.model import Config, Intercept, Provider


def plain(host: str) -> str:
    """One spelling per host: lower case, no trailing dot, no brackets, addresses canonical."""
    text = host.strip().lower().removesuffix(".").strip("[]")
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def is_address(name: str) -> bool:
    """Whether the name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def matches(host: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs means `host` (plain)."""
    for glob in globs:
        if glob.startswith("*."):
            if host.endswith(glob[1:].lower()):
                return True
        elif host == plain(glob):
            return True
    return False


def settings(config: Config) -> Intercept:
    """`intercept:` in its long form; `off` is for the caller to look at."""
    given = config.intercept
    if isinstance(given, Intercept):
        return given
    return Intercept(hosts=given) if isinstance(given, list) else Intercept()


def wanted(config: Config) -> list[str]:
    """The names that the CA has to cover for this configuration, sorted."""
    found = {plain(glob.removeprefix("*.")) for glob in settings(config).hosts}
    for provider in config.providers.values():
        found |= _hosts(provider)
    return sorted(found)


def _hosts(provider: Provider) -> set[str]:
    """A provider's names. One on plain http at an address has no TLS that could be ended."""
    url = urlsplit(provider.base_url)
    found = {plain(host) for host in provider.hosts}
    host = plain(url.hostname or "")
    if url.scheme == "https" or (url.scheme == "http" and "." in host and not is_address(host)):
        found.add(host)
    return {host for host in found if host}


def covered(host: str, names: Collection[str]) -> bool:
    """Whether a CA constrained to `names` may certify `host` (plain)."""
    if host in names:
        return True
    if is_address(host):
        return False
    return any(host.endswith("." + name) for name in names)


def uncovered(wanted_names: Iterable[str], names: Collection[str]) -> list[str]:
    """Those that a CA constrained to `names` may not certify."""
    return [name for name in wanted_names if not covered(name, names)]
