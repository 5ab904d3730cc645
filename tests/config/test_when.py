"""The `when` language: what it means and what it refuses."""

# ruff: noqa: E501 (one case, one line)

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config import when
from muxproxy.config.when import Every, Option, Some, Test, Without
from muxproxy.rules.detectors import _DETECTORS

# A struct of the language, not a test case.
Test.__test__ = False


def read(value):
    problems = []
    tree = when.parse(value, lambda *p: problems.append(p))
    return tree, problems


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ({"model": "auto"}, Test("model", (Option("==", "auto"),))),
        ({"model": ["a*", None]}, Test("model", (Option("glob", "a*"), Option("null")))),
        ({"model": "!= x"}, Test("model", (Option("!=", "x"),))),
        ({"dialect": "openai"}, Test("dialect", (Option("==", "openai"),))),
        ({"stream": True}, Test("stream", (Option("==", True),))),
        ({"prompt_chars": "< 100"}, Test("prompt_chars", (Option("<", 100),))),
        ({"prompt_tokens": ">=32k"}, Test("prompt_tokens", (Option(">=", 32000),))),
        ({"n": 2}, Test("n", (Option("==", 2),))),
        ({"max_tokens": None}, Test("max_tokens", (Option("null"),))),
        ({"text": "code"}, Test("text", (Option("detector", "code"),))),
        ({"text": ["refund", "in voice"]}, Test("text", (Option("word", "refund"), Option("word", "in voice")))),
        ({"header.X-Team": "a"}, Test("header", (Option("==", "a"),), "x-team")),
        ({"header.x-n": "> 5"}, Test("header", (Option(">", 5),), "x-n")),
        ({"hour": "8-18"}, Test("hour", (Option("hours", (480, 1080)),))),
        ({"hour": 7}, Test("hour", (Option("hours", (420, 480)),))),
        ({"hour": "22:30-6"}, Test("hour", (Option("hours", (1350, 360)),))),
        ({"weekday": "Mon-Fri"}, Test("weekday", (Option("days", frozenset(range(5))),))),
        ({"weekday": "sat-mon"}, Test("weekday", (Option("days", frozenset({5, 6, 0})),))),
        ({"weekday": "sunday"}, Test("weekday", (Option("days", frozenset({6})),))),
        ({"budget.daily": "> 80%"}, Test("budget", (Option(">", 0.8),), "daily")),
        ({"any": [{"n": 1}, {"n": 2}]}, Some((Every((Test("n", (Option("==", 1),)),)), Every((Test("n", (Option("==", 2),)),))))),
        ({"not": {"n": 1}}, Without(Every((Test("n", (Option("==", 1),)),)))),
        ({"not": [{"n": 1}]}, Without(Some((Every((Test("n", (Option("==", 1),)),)),)))),
    ],
)  # fmt: skip
def test_conditions_are_read(value, want):
    tree, problems = read(value)
    assert problems == []
    assert tree == Every((want,))


def test_nothing_always_holds_and_tz_belongs_to_its_mapping():
    assert read(None) == (Every(()), [])
    assert read({}) == (Every(()), [])
    tree, problems = read({"hour": "8-18", "tz": "Europe/Berlin", "any": [{"hour": 9}]})
    assert problems == []
    assert [t.tz for t in when.tests(tree)] == ["Europe/Berlin", "UTC"]


@pytest.mark.parametrize(
    ("value", "path", "message", "hint"),
    [
        ({"modle": "x"}, ("modle",), "unknown condition modle", "did you mean model?"),
        ({"header": "x"}, ("header",), "unknown condition header", "write header.NAME"),
        ({"header.": "x"}, ("header.",), "'' is not a header name", "write header.x-team"),
        ({"budget": "x"}, ("budget",), "unknown condition budget", "write budget.NAME"),
        ({"model": []}, ("model",), "an empty list matches nothing", "remove the condition or name a value"),
        ({"model": {"a": 1}}, ("model",), "expected text, a list of texts or null", ""),
        ({"model": "> x"}, ("model",), "model is text: expected a value, a pattern or != value, got '> x'", ""),
        ({"model": "a[b"}, ("model",), "expected a pattern such as gpt-4o* (every [ needs its ]), got 'a[b'", ""),
        ({"model": ["!= a", "b"]}, ("model",), "!= in a list is always true", "write not: {...} with the list"),
        ({"dialect": "opnai"}, ("dialect",), "expected one of openai, responses, anthropic, gemini, got opnai", "did you mean openai?"),
        ({"stream": "yes"}, ("stream",), "expected true or false, got 'yes'", ""),
        ({"messages": None}, ("messages",), "messages always has a value: expected a number or a comparison", ""),
        ({"messages": "many"}, ("messages",), "expected a number or a comparison such as \"< 100\", got 'many'", ""),
        ({"messages": "< x"}, ("messages",), "expected a number or a comparison such as \"< 100\", got '< x'", ""),
        ({"messages": [1, "x"]}, ("messages", 1), "expected a number or a comparison such as \"< 100\", got 'x'", ""),
        ({"header.a": "> x"}, ("header.a",), "expected a number after the comparison, got 'x'", ""),
        ({"text": None}, ("text",), "expected a detector (code, complex, simple), words or /regex/flags", ""),
        ({"text": "!= code"}, ("text",), "text takes no comparison", "write not: {text: ...}"),
        ({"text": "/(/"}, ("text",), "not a regular expression: missing ), unterminated subpattern at position 0", ""),
        ({"text": "/a/q"}, ("text",), "expected /regex/ with flags of i, m, s, x, got flag q", ""),
        ({"hour": "8"}, None, "", ""),
        ({"hour": "25-3"}, ("hour",), 'expected hours such as "8-18", "22-6" or "8:30-17:00", got \'25-3\'', ""),
        ({"hour": "8-8"}, ("hour",), 'expected hours such as "8-18", "22-6" or "8:30-17:00", got \'8-8\'', ""),
        ({"hour": True}, ("hour",), 'expected hours such as "8-18", "22-6" or "8:30-17:00", got True', ""),
        ({"weekday": "feiertag"}, ("weekday",), "expected days such as \"mon-fri\" or [sat, sun], got 'feiertag'", ""),
        ({"weekday": 3}, ("weekday",), 'expected days such as "mon-fri" or [sat, sun], got 3', ""),
        ({"budget.d": "80%"}, ("budget.d",), "expected a comparison in per cent such as \"> 80%\", got '80%'", ""),
        ({"budget.d": "> $5"}, ("budget.d",), "expected a comparison in per cent such as \"> 80%\", got '> $5'", ""),
        ({"any": {"n": 1}}, ("any",), "expected a list of conditions: any: [{model: auto}, ...]", ""),
        ({"all": [3]}, ("all", 0), "expected conditions such as {model: auto}", ""),
        ({"not": 3}, ("not",), "expected conditions such as {model: auto}", ""),
        ({"any": [{"not": {"modl": 1}}]}, ("any", 0, "not", "modl"), "unknown condition modl", "did you mean model?"),
        ({"hour": "8-9", "tz": "Mars"}, ("tz",), "expected an IANA time zone such as UTC or Europe/Berlin, got 'Mars'", ""),
        ({"n": 1, "tz": "UTC"}, ("tz",), "tz says where hour and weekday are read; neither is here", ""),
    ],
)  # fmt: skip
def test_a_bad_condition_says_where_and_what(value, path, message, hint):
    _, problems = read(value)
    assert problems == ([] if path is None else [(path, message, hint)])


def test_every_named_detector_exists():
    assert set(when.DETECTORS) == set(_DETECTORS)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
NAMES = st.sampled_from([*when.FIELDS, "header.x", "budget.b", "tz", "all", "any", "not", "x"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_any_mapping_is_a_condition_or_has_problems(value):
    tree, _ = read(value)
    assert isinstance(tree, Every)
