"""Regular expressions of rules: which are fast, and which are refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config import patterns


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        (r"/\binvoice\b/i", True),
        ("/invoice|refund|vat/", True),
        (r"/\d{1,3}/", True),
        ("/(?!x)abc/", True),
        (r"/(a)\1/", None),
        ("/foo.*bar/", False),
        ("/(a+)+$/", False),
        ("/(a|ab)*c/", False),
        ("/(a?){30}b/", False),
        ("/a{0,500}b/", False),
    ],
)
def test_only_patterns_without_unbounded_repeats_are_fast(text, fast):
    if fast is None:
        with pytest.raises(ValueError, match="a back-reference cannot stand with repeats"):
            patterns.read(text)
        return
    regex = patterns.read(text)
    assert regex.fast is fast
    assert regex.fast or regex.program


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/(/", "not a regular expression: missing )"),
        ("/a/g", "got flag g"),
        ("//", "expected a pattern of 1 to 2000 characters"),
        ("/" + "a" * 3000 + "/", "expected a pattern of 1 to 2000 characters"),
        ("/(?=a+)b/", "look-ahead and look-behind cannot stand with repeats"),
        ("/(a{500}){500}b*/", "bounded repeats are too large"),
        ("/[[a]/", "doubtful regular expression"),
        ("/" + "(" * 900 + ")" * 900 + "/", "nested too deep"),
        ("/a{99999999999}/", "not a regular expression"),
    ],
)
def test_what_cannot_be_searched_safely_is_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        patterns.read(text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("/foo.*barbaz/", "barbaz"),
        ("/FooS+/i", "foos"),
        ("/hidden/i", "dden"),
        ("/(a|b)+/", ""),
        ("/aß/i", "a"),
    ],
)
def test_the_literal_that_every_match_has(text, want):
    assert patterns.read(text).literal.startswith(want[:3])


def test_what_counts_as_a_pattern():
    assert patterns.is_regex("/a/")
    assert patterns.is_regex("/a/i")
    assert not patterns.is_regex("/")
    assert not patterns.is_regex("/etc")
    assert not patterns.is_regex("a/b")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab.*+?()[]{}|^$\\dwsb,2-0/<=!:P#x \n", max_size=24))
def test_any_source_is_a_pattern_or_a_value_error(source):
    with contextlib.suppress(ValueError):
        patterns.read(f"/{source}/")
