import json
from pathlib import Path

import pytest

from muxproxy.sim.script import (
    AFTER_HEAD,
    BEFORE_HEAD,
    READERS,
    Entry,
    Options,
    ScriptError,
    Scripts,
    duration,
    load,
    options_from,
    options_in_model,
    read_options,
)


@pytest.mark.parametrize(
    ("text", "want"), [("250ms", 0.25), ("2s", 2), ("1.5", 1.5), ("3m", 180), ("50us", 5e-5)]
)
def test_durations(text: str, want: float) -> None:
    assert duration(text) == pytest.approx(want)


def test_every_option_is_read_from_text() -> None:
    pairs = {
        "tokens": "5",
        "ttft": "10ms",
        "pace": "20/s",
        "usage": "zero",
        "tools": "2",
        "text": "base64:aGkKdGhlcmU=",
        "drop-after": "0",
        "reset-after": "head",
        "hang-after": "3",
        "slice": "random",
        "chunked": "off",
        "retry-after": "7",
    }
    found = read_options(pairs.items())
    assert (found.tokens, found.ttft, found.pace, found.usage) == (5, 0.01, 0.05, "zero")
    assert (found.drop_after, found.reset_after, found.hang_after) == (BEFORE_HEAD, AFTER_HEAD, 3)
    assert (found.text, found.slice, found.chunked) == ("hi\nthere", "random", False)
    assert found.retry_after == "7"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokns", "5"),
        ("tokens", "five"),
        ("tokens", "-1"),
        ("usage", "maybe"),
        ("pace", "quick"),
        ("status", "99"),
        ("slice", "0"),
        ("garbage", "some"),
        ("gzip", "perhaps"),
        ("text", "base64:%%"),
    ],
)
def test_what_is_not_understood_is_an_error(name: str, value: str) -> None:
    with pytest.raises(ScriptError, match=name):
        read_options([(name, value)])


def test_values_from_json() -> None:
    found = options_from({"tokens": 3, "gzip": True, "headers": {"a": "b"}, "body": {"x": [1]}})
    assert (found.tokens, found.gzip, found.headers) == (3, True, (("a", "b"),))
    assert found.body == b'{"x":[1]}'
    assert options_from({"body_base64": "/w=="}).body == b"\xff"


def test_a_model_name_may_carry_the_script() -> None:
    found = options_in_model("sim-tokens=50,pace=10ms")
    assert (found.tokens, found.pace) == (50, 0.01)
    assert options_in_model("gpt-4o") == Options()


def test_the_queue_takes_the_first_entry_that_fits() -> None:
    scripts = Scripts()
    for_b = Entry(Options(tokens=1), path="/b/")
    for_model = Entry(Options(tokens=2), model="mini", times=2)
    forever = Entry(Options(tokens=3), times=None)
    scripts.entries += [for_b, for_model, forever]
    asked = [
        ("/a/v1", "x"),
        ("/a/v1", "gpt-mini"),
        ("/b/v1", "mini"),
        ("/b/v1", "mini"),
        ("/b/", ""),
    ]
    taken = [scripts.take(*request) for request in asked]
    assert [entry.options.tokens for entry in taken if entry] == [3, 2, 1, 2, 3]


def test_script_files(tmp_path: Path) -> None:
    rows = [{"status": 429, "path": "/v1"}, {"tokens": 7, "times": 0}]
    texts = {
        "a.json": json.dumps(rows),
        "b.jsonl": "\n".join(map(json.dumps, rows)),
        "c.yaml": "- {status: 429, path: /v1}\n- {tokens: 7, times: 0}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        first, second = load(tmp_path / name)
        assert (first.options.status, first.path, first.times) == (429, "/v1", 1)
        assert (second.options.tokens, second.times) == (7, None)
    (tmp_path / "d.json").write_text('[{"tokns": 1}]')
    with pytest.raises(ScriptError, match=r"d\.json.*tokns"):
        load(tmp_path / "d.json")


def test_the_reference_names_every_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sim.md").read_text()
    assert [key for key in READERS if f"`{key.replace('_', '-')}`" not in text] == []
