"""Edits of top-level members: the right value changes, and no other byte."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.codec import scan, set_members, set_model

MODEL_CASES = [
    ("plain", b'{"model":"a"}', b'{"model":"NEW"}'),
    ("spaces", b' {\n "model" :\t"a" , "x":1 }\n ', b' {\n "model" :\t"NEW" , "x":1 }\n '),
    ("bom", b'\xef\xbb\xbf{"model":"a"}', b'\xef\xbb\xbf{"model":"NEW"}'),
    (
        "in messages, tools, metadata and strings",
        b'{"messages":[{"model":"a"}],"t":"say \\"model\\":\\"a\\"","model":"a","m":{"model":"a"}}',
        b'{"messages":[{"model":"a"}],"t":"say \\"model\\":\\"a\\"","model":"NEW",'
        b'"m":{"model":"a"}}',
    ),
    ("as a value", b'{"x":"model","model":"a"}', b'{"x":"model","model":"NEW"}'),
    ("nested only", b'{"x":{"model":"a"}}', b'{"x":{"model":"a"},"model":"NEW"}'),
    ("value only", b'{"x":"model"}', b'{"x":"model","model":"NEW"}'),
    (
        "nested before an escaped one",
        b'{"x":{"model":"a"},"mod\\u0065l":"a"}',
        b'{"x":{"model":"a"},"mod\\u0065l":"NEW"}',
    ),
    ("duplicated: the last", b'{"model":"a","model":"a"}', b'{"model":"a","model":"NEW"}'),
    (
        "duplicated, last escaped",
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"model":"a","\\u006dodel":"NEW"}',
    ),
    ("escaped value", b'{"model":"\\u0061"}', b'{"model":"NEW"}'),
    ("escaped slash", b'{"model":"a\\/b","n":1}', b'{"model":"NEW","n":1}'),
    ("null", b'{"model":null,"x":1}', b'{"model":"NEW","x":1}'),
    ("a container", b'{"model":{"a":["}"]},"x":1}', b'{"model":"NEW","x":1}'),
    ("absent", b'{"x":1}', b'{"x":1,"model":"NEW"}'),
    ("absent, spaced", b'{"x":1 \n} ', b'{"x":1 \n,"model":"NEW"} '),
    ("empty", b"{}", b'{"model":"NEW"}'),
    ("empty, spaced", b"\t{ \n}\n", b'\t{ \n"model":"NEW"}\n'),
    ("empty object as the last value", b'{"x":{}}', b'{"x":{},"model":"NEW"}'),
    ("NaN elsewhere", b'{"x":NaN,"model":"a"}', b'{"x":NaN,"model":"NEW"}'),
    (
        "lone surrogates",
        b'{"\\ud800":"\\udc00","model":"a"}',
        b'{"\\ud800":"\\udc00","model":"NEW"}',
    ),
    (
        "surrogate pairs",
        b'{"x":"\\ud83d\\ude00","model":"a"}',
        b'{"x":"\\ud83d\\ude00","model":"NEW"}',
    ),
    (
        "huge number",
        b'{"x":' + b"9" * 5000 + b',"model":"a"}',
        b'{"x":' + b"9" * 5000 + b',"model":"NEW"}',
    ),
    (
        "backslashes before a quote",
        b'{"x":"\\\\","y":"\\\\\\"","model":"a"}',
        b'{"x":"\\\\","y":"\\\\\\"","model":"NEW"}',
    ),
    (
        "a key that ends alike",
        b'{"xmodel":"a","\\"model":"b"}',
        b'{"xmodel":"a","\\"model":"b","model":"NEW"}',
    ),
]


@pytest.mark.parametrize(
    ("body", "want"), [c[1:] for c in MODEL_CASES], ids=[c[0] for c in MODEL_CASES]
)
def test_set_model(body: bytes, want: bytes) -> None:
    assert set_model(body, "a", "NEW") == want
    assert set_members(body, {"model": "NEW"}) == want


REMOVE_CASES = [
    ("first", b'{"x":1, "a":2}', b'{"a":2}'),
    ("last", b'{"a":2 , "x":1 }', b'{"a":2 }'),
    ("middle", b'{"a":2,\n "x":[1,{"x":2}],\n "b":3}', b'{"a":2,\n "b":3}'),
    ("only", b'{ "x":1 }', b"{  }"),
    ("all duplicates", b'{"x":1,"a":2,"x":3,"b":4,"x":5}', b'{"a":2,"b":4}'),
    ("only duplicates", b'{"x":1,"x":2}', b"{}"),
    ("two neighbours at the end", b'{"a":1,"x":1,"y":2}', b'{"a":1}'),
    ("two neighbours at the start", b'{"x":1,"y":2,"a":1}', b'{"a":1}'),
    ("escaped", b'{"\\u0078":1,"a":2}', b'{"a":2}'),
    ("absent, but nested", b'{"a":{"x":1}}', b'{"a":{"x":1}}'),
]


@pytest.mark.parametrize(
    ("body", "want"), [c[1:] for c in REMOVE_CASES], ids=[c[0] for c in REMOVE_CASES]
)
def test_remove(body: bytes, want: bytes) -> None:
    assert set_members(body, {}, remove={"x", "y"}) == want


NESTED_CASES = [
    ("absent", b'{"a":1}', b'{"a":1,"o":{"u":true}}'),
    ("null", b'{"o":null}', b'{"o":{"u":true}}'),
    ("empty", b'{"o":{ }}', b'{"o":{ "u":true}}'),
    ("inserted", b'{"o": {"z":1}, "a":1}', b'{"o": {"z":1,"u":true}, "a":1}'),
    ("edited", b'{"o":{"u":false ,"z":{"u":false}}}', b'{"o":{"u":true ,"z":{"u":false}}}'),
    ("no object: left alone", b'{"o":[1]}', b'{"o":[1]}'),
]


@pytest.mark.parametrize(
    ("body", "want"), [c[1:] for c in NESTED_CASES], ids=[c[0] for c in NESTED_CASES]
)
def test_nested(body: bytes, want: bytes) -> None:
    assert set_members(body, {}, nested={"o": {"u": True}}) == want


def test_everything_at_once() -> None:
    body = b'{"max_budget":1,"model":"a","stream":true,"cascade_config":{"x":[1]}}'
    got = set_members(
        body,
        {"model": "b", "max_tokens": 5},
        remove={"max_budget", "cascade_config"},
        nested={"stream_options": {"include_usage": True}},
    )
    assert got == (
        b'{"model":"b","stream":true,"max_tokens":5,"stream_options":{"include_usage":true}}'
    )


def test_nothing_to_do_gives_the_same_object() -> None:
    body = b'{"a":1}'
    assert set_members(body, {}, remove={"x"}) is body


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"}"', b"}", b"{", b'{"a"}', b'{"a":1', b'{"a":"', b'{"a":[1']
)
def test_what_is_no_object_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        scan(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'"}"', b"}", b"1"])
def test_nothing_is_inserted_into_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ValueError):
        set_members(body, {"x": 1})


def test_deep_nesting_needs_no_stack() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    mixed = b'{"a":[' * 20_000 + b"]}" * 20_000
    body = b'{"x":' + deep + b',"y":' + mixed + b',"model":"a","z":{"model":"q"}}'
    assert set_model(body, "a", "b") == body.replace(b'"model":"a"', b'"model":"b"')


@pytest.mark.parametrize("run", [1, 62, 63, 64, 65, 127, 4094, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("filler", [0, 4090, 20_000])
def test_long_strings_with_runs_of_backslashes(run: int, filler: int) -> None:
    text = "x" * filler + "\\" * run + '"' + "y" * filler + "\\" * run
    body = json.dumps({"t": text, "u": {"t": text}, "model": "a", "v": {"model": text}}).encode()
    edited = set_members(body, {"model": "b"})
    assert json.loads(edited) == {**json.loads(body), "model": "b"}
    assert len(scan(body)) == 4


def test_large_media_is_skipped_not_walked() -> None:
    media = b"iVBORw0KGgo/+AAA" * 500_000
    body = b'{"model":"a","x":[{"model":"q","d":"' + media + b'"}],"model":"b"}'
    assert set_members(body, {"model": "c"}) == body[: -len(b'"b"}')] + b'"c"}'


names = st.sampled_from(["model", "x", "y", "mo", "é", '"', "\\", "stream_options", ""])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | names
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names | st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
spaces = st.text(alphabet=" \t\r\n", max_size=2)


@st.composite
def bodies(draw: Any) -> bytes:
    """Objects in any spelling: spaces, escapes, duplicates."""
    pairs = draw(st.lists(st.tuples(names, values), max_size=6))
    parts = []
    for name, value in pairs:
        if draw(st.booleans()):
            key = '"' + "".join(f"\\u{ord(c):04x}" for c in name) + '"'
        else:
            key = json.dumps(name, ensure_ascii=draw(st.booleans()))
        text = json.dumps(
            value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
        )
        parts.append(draw(spaces) + key + draw(spaces) + ":" + draw(spaces) + text + draw(spaces))
    inside = ",".join(parts) or draw(spaces)
    return (draw(spaces) + "{" + inside + "}" + draw(spaces)).encode("utf-8", "replace")


@settings(max_examples=200, deadline=None)
@given(bodies(), names, st.one_of(st.text(max_size=5), st.integers(), st.none()))
def test_setting_is_what_json_sees_and_nothing_else_changes(
    body: bytes, name: str, new: Any
) -> None:
    edited = set_members(body, {name: new})
    before = json.loads(body)
    assert json.loads(edited) == {**before, name: new}
    written = json.dumps(new, ensure_ascii=False, separators=(",", ":")).encode()
    members = [m for m in scan(body) if m.name == name]
    if members:
        last = members[-1]
        assert edited[: last.value] == body[: last.value]
        assert edited[len(edited) - len(body) + last.end :] == body[last.end :]
        assert json.loads(edited[last.value : len(edited) - len(body) + last.end]) == json.loads(
            written
        )
    else:
        end = body.rindex(b"}")
        assert edited[:end] == body[:end]
        assert edited.endswith(body[end:])


@settings(max_examples=200, deadline=None)
@given(bodies(), st.sets(names, max_size=3))
def test_removing_keeps_the_rest(body: bytes, gone: set[str]) -> None:
    edited = set_members(body, {}, remove=gone)
    before = json.loads(body, object_pairs_hook=list) or []
    assert (json.loads(edited, object_pairs_hook=list) or []) == [
        p for p in before if p[0] not in gone
    ]
    assert [body[m.start : m.end] for m in scan(body) if m.name not in gone] == [
        edited[m.start : m.end] for m in scan(edited)
    ]


@settings(max_examples=200, deadline=None)
@given(bodies())
def test_scan_agrees_with_json(body: bytes) -> None:
    pairs = json.loads(body, object_pairs_hook=list) or []
    found = scan(body)
    assert [m.name for m in found] == [name for name, _ in pairs]
    for member in found:
        json.loads(body[member.value : member.end])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_garbage_is_a_value_error_at_worst(body: bytes) -> None:
    for text in (body, b"{" + body + b"}"):
        with contextlib.suppress(ValueError):
            set_members(text, {"model": "x", "y": 1}, remove={"z"})
