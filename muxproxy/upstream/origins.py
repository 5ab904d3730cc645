"""From the configuration of a provider to where its connections lead."""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote, urlsplit

from muxproxy.config.model import Provider
from muxproxy.config.units import address, duration
from muxproxy.upstream.egress import egress_proxy
from muxproxy.upstream.spec import OriginSpec

_PORTS: dict[str, int] = {"http": 80, "https": 443}


def spec_from(provider: Provider, env: Mapping[str, str]) -> OriginSpec:
    """The spec of `provider`; `env` is asked for an egress proxy unless it names one or "none".

    Raises ValueError for a base_url that is not http, https or http+unix (its socket's path
    percent-encoded in the host's place), or a duration that cannot be read.
    """
    times, pool = provider.timeouts, provider.pool
    scheme, host, port = origin_of(provider.base_url)
    if provider.proxy is None:
        # Who says where to connect means that place, not a proxy's idea of the name.
        proxy = None if provider.connect_to else egress_proxy(provider.base_url, env)
    else:
        proxy = None if provider.proxy == "none" else str(provider.proxy)
    led = address(provider.connect_to) if provider.connect_to is not None else None
    return OriginSpec(
        scheme=scheme,
        host=host,
        port=port,
        ca=provider.ca,
        verify=not provider.insecure_skip_verify,
        proxy=None if scheme == "http+unix" else proxy,
        connect=duration(times.connect),
        first_byte=duration(times.first_byte),
        idle=duration(times.idle),
        total=None if times.total is None else duration(times.total),
        max_connections=pool.max_connections,
        max_idle=pool.max_idle,
        idle_expiry=duration(pool.idle_expiry),
        connect_to=None if led is None else (led.host, led.port),
    )


def origin_of(url: str) -> tuple[Literal["http", "https", "http+unix"], str, int]:
    """Scheme, host (ASCII, lower case, no brackets) and port of a URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        path = unquote(parts.netloc)
        if not path.startswith("/"):
            raise ValueError("http+unix:// needs a percent-encoded absolute path")
        return "http+unix", path, 0
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not host:
        raise ValueError("an upstream URL must be http://host or https://host")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return scheme, host, parts.port or _PORTS[scheme]
