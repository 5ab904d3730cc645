"""The bounded search agrees with `re` and never hangs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config import patterns
from muxproxy.rules import linear
from muxproxy.rules.linear import MAX_WORK, Searcher

PATTERNS = [
    "/foo.*bar/",
    "/(a+)+$/",
    r"/^a.*\bfoo\b/im",
    "/(a|ab)*c/",
    "/x*/",
    "/a{2,5}b?c$/",
    r"/[a-c]+\d{1,3}(?:x|yz)\Z/",
    r"/\Bb+/s",
    "/(?i:A)b*c/",
    "/(?!x)abc/",
    r"/\s+$/m",
    "/^$/m",
    "/$/",
    "/a*?b{0,3}c+/",
    r"/[^\n]+\nz/",
    "/(|a)+b/",
    "/(a*)*b/",
    "/ſ+|K/i",
    r"/\A\w+\W*$/",
]


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="abcxfoK1 \n_zſ", max_size=20))
def test_the_machine_finds_what_re_finds(text, value):
    regex = patterns.read(text)
    want = regex.compiled.search(value) is not None
    searcher = Searcher(regex)
    assert searcher.search(value) is want
    if regex.program:
        assert searcher._run(value) is want
        assert searcher._run(value) is want


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/(a+)+$/", "a" * 130_000 + "b"),
        ("/foo.*bar/", "foo" * 43_000),
        ("/(a|b)*a(a|b){20}c/s", "abbab" * 26_000 + "d"),
        ("/(x{1,30}a?){1,20}y/", "x" * 130_000 + "z"),
        (r"/(\w+\s?)*$/", "word " * 26_000 + "!"),
        ("/(.*)(.*)(.*)(.*)[^a]$/s", "a" * 130_000),
    ],
)
def test_patterns_that_hang_re_end(text, value):
    """Bounded by counted work, not by a clock."""
    searcher = Searcher(patterns.read(text))
    searcher.search(value)
    assert searcher._work <= MAX_WORK + 2 * patterns.MAX_PROGRAM


def test_giving_up_is_no_match(monkeypatch):
    monkeypatch.setattr(linear, "MAX_WORK", 10)
    searcher = Searcher(patterns.read("/(a|b)+c(x|y)*$/"))
    assert searcher.search("ab" * 600 + "cx") is False


def test_forgetting_does_not_change_an_answer(monkeypatch):
    monkeypatch.setattr(linear, "MAX_TRANSITIONS", 3)
    searcher = Searcher(patterns.read("/a.*b.*c.*d$/s"))
    for text in ("a--b--c--d" * 60, "dcba" * 200, "abc" + "x" * 500 + "d"):
        assert searcher._run(text) is (searcher._regex.compiled.search(text) is not None)
