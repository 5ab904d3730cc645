"""Which hosts a CA has to cover, and which it covers."""

from __future__ import annotations

import pytest

from muxproxy.ca.names import covered, matches, plain, settings, uncovered, wanted
from muxproxy.config.model import Config, Intercept, Provider


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("API.OpenAI.com.", "api.openai.com"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("10.0.0.5", "10.0.0.5"),
    ],
)
def test_one_spelling_per_host(text: str, name: str) -> None:
    assert plain(text) == name


@pytest.mark.parametrize(
    ("host", "glob", "means"),
    [
        ("a.example.com", "*.example.com", True),
        ("a.b.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("badexample.com", "*.example.com", False),
        ("example.com", "Example.COM", True),
        ("a.example.com", "example.com", False),
    ],
)
def test_globs(host: str, glob: str, means: bool) -> None:
    assert matches(host, [glob]) is means


def test_what_a_configuration_wants() -> None:
    def provider(url: str, **more: object) -> Provider:
        return Provider(dialect="openai", base_url=url, **more)  # type: ignore[arg-type]

    config = Config(
        providers={
            "a": provider("https://api.openai.com/v1", hosts=["Relay.example."]),
            "b": provider("http://127.0.0.1:11434/v1"),  # no TLS, no name
            "c": provider("http://llm.internal:8000"),
            "d": provider("https://[2001:db8::1]:8443/"),
        },
        intercept=["*.azure.example"],
    )
    assert wanted(config) == [
        "2001:db8::1",
        "api.openai.com",
        "azure.example",
        "llm.internal",
        "relay.example",
    ]
    assert settings(Config(intercept="off")) == Intercept()


def test_cover() -> None:
    names = ["example.com", "10.0.0.5"]
    for host, good in (
        ("example.com", True),
        ("a.example.com", True),
        ("notexample.com", False),
        ("10.0.0.5", True),
        ("10.0.0.50", False),
    ):
        assert covered(host, names) is good, host
    assert uncovered(["a.example.com", "other.com"], names) == ["other.com"]
