"""Names to candidates."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Caller, Target
from muxproxy.rules.context import Context, NoBudgets, no_text
from muxproxy.rules.resolve import Resolver
from muxproxy.rules.strategist import Listed
from tests.rules.support import NOON, ask, config


def resolve(names, settings=None, **given):
    resolver = Resolver(settings or config(), Listed())
    resolver.prepare(names)
    choice = resolver.resolve(
        names, Context(Caller(), ask(**given), [], NOON, NoBudgets(), no_text)
    )
    return [f"{t.provider}:{t.model}" for t in choice.candidates], choice


@pytest.mark.parametrize(
    ("names", "dialect", "want"),
    [
        (("small",), "openai", ["mistral:tiny-1", "anthropic:haiku-1"]),
        (("mistral/a/b",), "openai", ["mistral:a/b"]),
        (("gpt-x",), "openai", ["openai:gpt-x"]),
        (("gpt-x",), "anthropic", ["anthropic:gpt-x"]),
        (("unknown/gpt-x",), "gemini", ["google:unknown/gpt-x"]),
        (("openai/",), "openai", ["openai:openai/"]),
        (("bare",), "anthropic", ["anthropic:big-1"]),
        (
            ("nested",),
            "openai",
            ["mistral:tiny-1", "anthropic:haiku-1", "openai:big-1", "anthropic:sonnet-1"],
        ),
        (
            ("large", "small", "openai/big-1"),
            "openai",
            ["openai:big-1", "anthropic:sonnet-1", "mistral:tiny-1", "anthropic:haiku-1"],
        ),
        (("gpt-x",), "smoke signals", []),
    ],
)
def test_names(names, dialect, want):
    assert resolve(names, dialect=dialect)[0] == want


@pytest.mark.parametrize(
    ("providers", "dialect", "want"),
    [
        ("a: openai", "openai", "a"),
        ("a: anthropic, b: openai, c: openai", "openai", "b"),
        ("a: openai, b: responses", "responses", "a"),
        ("b: responses, a: openai", "responses", "b"),
        ("b: responses", "openai", "b"),  # translated
        ("b: openai, a: gemini", "anthropic", "b"),
        ("a: gemini", "gemini", "a"),
        ("a: openai", "unheard", None),
    ],
)
def test_home(providers, dialect, want):
    lines = (
        f"  {name}: {{dialect: {kind}, base_url: http://x}}"
        for name, kind in (p.split(": ") for p in providers.split(", "))
    )
    settings = config(base="providers:\n" + "\n".join(lines))
    assert Resolver(settings, Listed()).home(dialect) == want


def test_an_alias_may_be_called_like_its_model():
    settings = config("  gpt-4o: [gpt-4o, small]\n")
    assert resolve(("gpt-4o",), settings)[0] == [
        "openai:gpt-4o",
        "mistral:tiny-1",
        "anthropic:haiku-1",
    ]


def test_unchecked_circles_end():
    settings = Config(models={"a": ["b"], "b": ["a"], "c": Strategy(strategy="hybrid", cheap="c")})
    assert resolve(("a",), settings)[0] == []
    assert resolve(("c",), settings)[0] == []


STRATEGIES = """  auto: {strategy: hybrid, cheap: small, strong: large}
  any: {strategy: weighted, models: [large, mistral/tiny-1]}
  both: [google/flash-1, auto]
  deep: {strategy: heuristic, cheap: any, strong: auto}
"""


@pytest.mark.parametrize(
    ("name", "first", "reason"),
    [
        ("auto", "mistral:tiny-1", "auto in the order listed"),
        ("any", "openai:big-1", "any in the order listed"),
        ("both", "google:flash-1", "auto in the order listed"),
        ("deep", "openai:big-1", "deep in the order listed"),
    ],
)
def test_strategies(name, first, reason):
    found, choice = resolve((name,), config(STRATEGIES), text="hi")
    assert found[0] == first
    assert len(found) == len(set(found)) >= 3
    assert (choice.strategy, choice.reason) == ("listed", reason)


def test_another_strategist_decides():
    class Backwards(Listed):
        def order(self, alias, spec, pools, context):
            return super().order(alias, spec, type(pools)(pools.strong, pools.cheap), context)

    resolver = Resolver(config(STRATEGIES), Backwards())
    resolver.prepare(("auto",))
    context = Context(Caller(), ask(text="hi"), [], NOON, NoBudgets(), no_text)
    assert resolver.resolve(("auto",), context).candidates[0] == Target("openai", "big-1")
