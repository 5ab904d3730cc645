"""What the detectors see."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.rules.detectors import DETECTOR_BOUND, Reading, bounded, detect

CODE = [
    ("Here:\n```python\nx = 1\n```", "a code block"),
    ("~~~\nx\n~~~", "a code block"),
    ("what does `len(x)` do", "inline code"),
    ("def area(r):\n    return r", "a function definition"),
    ("class Foo(Bar):\n    pass", "a class"),
    ("function add(a, b) { return a }", "a function definition"),
    ("import numpy as np\nprint(1)", "an import"),
    ("from os import path", "an import"),
    ("#include <stdio.h>", "an include"),
    ("func main() {}", "a function definition"),
    ("pub fn run(x: u8)", "a function definition"),
    ("public static void main(String[] a)", "a method"),
    ("SELECT name FROM users", "an SQL query"),
    ("console.log('x')", "a call"),
    ("const x = 3", "a declaration"),
    ("items.map((x) => {", "an arrow function"),
    ("#!/bin/sh", "a script"),
    ("why does </div> not close", "markup"),
    ("I get TypeError: x is None", "an error message"),
    ("Write a Python script", "the programming word python"),
    ("How do I reverse a string in Java?", "the programming word java"),
    ("用Python写一个函数", "the programming word python"),
    ("a unit test for this", "the programming word unit test"),
    ("is C++ hard?", "the programming word c++"),
    ("please write a function that adds", "the programming request 'write a function'"),
    ("fix my code", "the programming request 'fix my code'"),
    ("implement the singleton class", "the programming request 'implement the singleton class'"),
]
NOT_CODE = [
    "What is the capital of France?",
    "Explain the class struggle in Marx",
    "the class of 2020",
    "import duties on steel from China",
    "the function of the liver",
    "Can you write a code of conduct for us?",
    "our return policy",
    "a public holiday (in May)",
    "select a gift from the list",
    "Define photosynthesis",
    "this method of cooking",
    "",
]
COMPLEX = [
    ("Analyze the causes of the war", "the word analyze"),
    ("Please EXPLAIN.", "the word explain"),
    ("debug this", "the word debug"),
    ("show your reasoning", "the word reasoning"),
    ("think step by step", "the word step by step"),
    ("list the pros and cons", "the word pros and cons"),
    ("What are the trade-offs?", "the word trade-offs"),
    ("the root cause?", "the word root cause"),
]
NOT_COMPLEX = ["What is 2+2?", "Hello!", "an unreasonable request", "step on it", ""]
SIMPLE = [
    ("What is the capital of France?", "only 30 characters"),
    ("hi", "only 2 characters"),
    ("x" * 99, "only 99 characters"),
    ("What is " + "a very " * 20 + "long question?", "a simple question"),
    ("Translate " + "good morning " * 10, "a simple question"),
]
NOT_SIMPLE = [
    "",
    "   \n",
    "x" * 100,
    "What is " + "x" * 200,
    "Explain this",
    "fix `x`",
    "Debug it",
    "Write about " + "the sea and " * 9,
]


@pytest.mark.parametrize(("text", "want"), CODE)
def test_code(text, want):
    assert detect("code", Reading(text)) == want


@pytest.mark.parametrize("text", NOT_CODE)
def test_prose_is_no_code(text):
    assert detect("code", Reading(text)) is None


@pytest.mark.parametrize(("text", "want"), COMPLEX)
def test_complex(text, want):
    assert detect("complex", Reading(text)) == want


@pytest.mark.parametrize("text", NOT_COMPLEX)
def test_not_complex(text):
    assert detect("complex", Reading(text)) is None


@pytest.mark.parametrize(("text", "want"), SIMPLE)
def test_simple(text, want):
    assert detect("simple", Reading(text)) == want


@pytest.mark.parametrize("text", NOT_SIMPLE)
def test_not_simple(text):
    assert detect("simple", Reading(text)) is None


def test_only_the_ends_of_a_long_text_are_read():
    assert bounded("abcdef", 2) == "ab\nef"
    assert bounded("abcd", 2) == "abcd"
    long = "x " * DETECTOR_BOUND
    assert detect("complex", Reading("analyze " + long + long)) is not None
    assert detect("complex", Reading(long + long + " analyze")) is not None
    assert detect("complex", Reading(long + " analyze " + long)) is None
    assert detect("code", Reading(long + "```" + long)) is not None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.sampled_from(["code", "complex", "simple"]))
def test_any_text_has_one_answer(text, name):
    first = detect(name, Reading(text))
    assert first == detect(name, Reading(text))
    assert first is None or (first.isprintable() and len(first) < 200)
