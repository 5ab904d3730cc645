"""YAML text to nodes with their places."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.yamltree import MAX_DEPTH, parse, scalar


def read(text):
    faults = []
    root = parse(text, lambda line, column, message, hint: faults.append((line, column, message)))
    return root, faults


def plain(node):
    if node.kind == "map":
        return {key: plain(value) for key, (_, value) in node.pairs.items()}
    if node.kind == "list":
        return [plain(one) for one in node.items]
    return scalar(node.text) if node.plain else node.text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("off", "off"),
        ("no", "no"),
        ("12", 12),
        ("-3", -3),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 17),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("-", "-"),
        ("1_000", "1_000"),
        ("9" * 30, 1e30),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, want):
    found = scalar(text)
    assert found == want
    assert type(found) is type(want)


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        ("quoted numbers are text", 'a: "1"', {"a": "1"}),
        ("an explicit string", "a: !!str 1", {"a": "1"}),
        ("an explicit integer", 'a: !!int "1"', {"a": 1}),
        ("anchor and alias", "a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        (
            "merge",
            "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}",
            {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}},
        ),
        (
            "of merged maps the first wins",
            "a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}",
            {"a": {"p": 1}, "b": {"p": 2, "r": 3}, "c": {"p": 1, "r": 3}},
        ),
        ("a byte order mark", "\ufeffa: 1", {"a": 1}),
    ],
)
def test_documents(name, text, want):
    root, faults = read(text)
    assert faults == []
    assert plain(root) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a: 1\na: 2", (2, 1, "a is given twice")),
        ("a:\n  b: 1\n  c: 2\n  b: 3", (4, 3, "b is given twice")),
        ("a: *x", (1, 4, "no anchor &x before this")),
        ("a: &x [*x]", (1, 8, "*x stands inside its own anchor")),
        ("[1, 2]: x", (1, 1, "expected a name, got a list or mapping")),
        ("a: !thing 1", (1, 4, "tag !thing is not supported")),
        ("a: 1\n---\nb: 2", (2, 1, "a second document")),
        ("a: {<<: 3}", (1, 9, "<< expects a mapping or a list of them")),
        ("a: [1", (2, 1, "not YAML: did not find expected ',' or ']'")),
        ("a: @x", (1, 4, "not YAML: found character that cannot start any token")),
        ("a: b: c", (1, 5, "not YAML: mapping values are not allowed in this context")),
        ("[" * 200, (1, MAX_DEPTH + 1, f"nested more than {MAX_DEPTH} deep")),
        ("a: \x00", (1, 4, "not YAML: control characters are not allowed")),
    ],
)
def test_faults_have_their_place(text, want):
    _, faults = read(text)
    assert faults[0][:2] == want[:2]
    assert faults[0][2].startswith(want[2])


def test_places_count_characters_from_one():
    root, _ = read("a: é\nlist:\n  - x\n  - {k: v}")
    value = root.pairs["list"][1].items[1].pairs["k"][1]
    assert (value.line, value.column) == (4, 9)


def test_empty_text_is_no_node():
    assert read("") == (None, [])
    assert read("# only a comment\n") == (None, [])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#,?%@`\n \t<1~\x00\ud800é", max_size=60))
def test_any_text_gives_nodes_or_faults(text):
    root, faults = read(text)
    assert all(line >= 1 and column >= 1 and message for line, column, message in faults)
    if root is not None and not faults:
        plain(root)
