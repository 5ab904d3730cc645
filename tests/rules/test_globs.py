"""Shell patterns over names."""

from __future__ import annotations

import pytest

from muxproxy.rules.globs import glob


@pytest.mark.parametrize(
    ("pattern", "name", "want"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("*", "", True),
        ("*/llama-*", "meta/llama-3", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[ab]*", "bx", True),
        ("[!ab]*", "bx", False),
        ("A*", "abc", False),
        ("a*", "a\nb", True),
        ("a.c", "abc", False),
    ],
)
def test_globs(pattern, name, want):
    assert bool(glob(pattern)(name)) is want
