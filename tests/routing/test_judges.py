"""What the judges find, and what they let pass."""

from __future__ import annotations

import pytest

from muxproxy.config.strategies import JUDGES
from muxproxy.routing.judges import Said, Wanted, agree, fault, fits, gist

SCHEMA = {
    "type": "object",
    "required": ["n"],
    "additionalProperties": False,
    "properties": {
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ({"n": 1}, True),
        ({"n": 1.0, "tags": ["a", "b"], "note": None}, True),
        ({"n": "1"}, False),
        ({"n": True}, False),
        ({}, False),
        ({"n": 1, "x": 1}, False),
        ({"n": 1, "tags": ["c"]}, False),
        ({"n": 1, "note": 3}, False),
        ([1], False),
    ],
)
def test_schemas(value, good):
    assert fits(value, SCHEMA) is good


@pytest.mark.parametrize(
    ("said", "wanted", "why"),
    [
        (Said(text="Paris."), Wanted(), None),
        (Said(text=""), Wanted(), "empty"),
        (Said(text="x", finish="length"), Wanted(), "finish length"),
        (Said(text="I can't help with that"), Wanted(), "refusal"),
        (Said(text="I'm not sure, 4?"), Wanted(), "hedging"),
        (Said(text="I'm not sure, 4?"), Wanted(strict=False), None),
        (Said(text='{"n": 1}'), Wanted(json=True, schema=SCHEMA), None),
        (
            Said(text='{"m": 1}'),
            Wanted(json=True, schema=SCHEMA),
            "JSON that does not fit the schema",
        ),
        (Said(text="["), Wanted(json=True), "invalid JSON"),
        (Said(calls=[("f", '{"n": 2}')]), Wanted(tools={"f": SCHEMA}), None),
        (Said(calls=[("f", "{")]), Wanted(tools={"f": SCHEMA}), "a tool call that is no JSON"),
        (Said(calls=[("g", "{}")]), Wanted(tools={"f": None}), "a tool that was not offered"),
        (Said(text="a", logprobs=[-2.0]), Wanted(), "unsure (14% a token)"),
        (Said(text="a", logprobs=[-0.1]), Wanted(), None),
        (Said(text="to be or not " * 30), Wanted(), "repetitive"),
    ],
)
def test_faults(said, wanted, why):
    assert fault(said, wanted, JUDGES) == why
    assert fault(said, wanted, ()) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The answer is 1,200.", "so $1200", True),
        ("#### 18", "19", False),
        ('```json\n{"reasoning": "x 3", "answer": "18"}\n```', "18.0", True),
        ("The answer is (C).", "C", True),
        ("Answer: A", "Answer: B", False),
        ("B) because it is", "The answer is **B**", True),
        ("I think it is Paris", "I think it is Rome", False),
        ("A cat sat there", "A dog ran home", False),
        ("Answer: I'm not sure", "The answer is I.", False),
        ("Hello, World", "hello world", True),
    ],
)
def test_agreement(one, other, same):
    assert agree(Said(text=one), Said(text=other)) is same


def test_calls_agree_whatever_the_order_of_their_members():
    one = Said(calls=[("f", '{"a": 1, "b": 2}')])
    assert agree(one, Said(calls=[("f", '{"b": 2, "a": 1}')]))
    assert not agree(one, Said(text="f"))
    assert gist("") == ""
