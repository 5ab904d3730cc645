"""From a provider's configuration to an OriginSpec."""

import pytest

from muxproxy.config.model import Pool, Provider, Timeouts
from muxproxy.upstream import OriginSpec, origin_of, spec_from


def provider(url: str = "https://api.example/v1", **members: object) -> Provider:
    return Provider(dialect="openai", base_url=url, **members)  # type: ignore[arg-type]


def test_everything_is_carried_over() -> None:
    spec = spec_from(
        provider(
            ca="/ca.pem",
            insecure_skip_verify=True,
            timeouts=Timeouts(connect="250ms", first_byte="1m", idle="2s", total="1h"),
            pool=Pool(max_connections=5, max_idle=2, idle_expiry="3s"),
        ),
        {"HTTPS_PROXY": "http://u:s3cret@proxy:1"},
    )
    assert spec == OriginSpec(
        scheme="https",
        host="api.example",
        port=443,
        ca="/ca.pem",
        verify=False,
        proxy="http://u:s3cret@proxy:1",
        connect=0.25,
        first_byte=60.0,
        idle=2.0,
        total=3600.0,
        max_connections=5,
        max_idle=2,
        idle_expiry=3.0,
    )
    assert "s3cret" not in repr(spec) and "proxied" in repr(spec)


def test_the_providers_own_proxy_comes_first() -> None:
    env = {"ALL_PROXY": "http://env"}
    assert spec_from(provider(), env).proxy == "http://env"
    assert spec_from(provider(proxy="none"), env).proxy is None
    assert spec_from(provider(proxy="http://own"), env).proxy == "http://own"
    assert spec_from(provider("http+unix://%2Frun%2Fx"), env).proxy is None


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("https://API.example/v1", ("https", "api.example", 443)),
        ("http://api.example:8080", ("http", "api.example", 8080)),
        ("http://[::1]:11434/v1", ("http", "::1", 11434)),
        ("https://api.example./", ("https", "api.example", 443)),
        ("https://b\u00fccher.example/", ("https", "xn--bcher-kva.example", 443)),
        ("http+unix://%2Frun%2Fx.sock/v1", ("http+unix", "/run/x.sock", 0)),
    ],
)
def test_urls(url: str, want: tuple[str, str, int]) -> None:
    assert origin_of(url) == want


@pytest.mark.parametrize("url", ["ftp://a", "https://", "a.example", "http+unix://x", ""])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(ValueError):
        origin_of(url)
