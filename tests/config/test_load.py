"""A checked configuration from text or file, or every reason why not."""

from __future__ import annotations

import pytest

from muxproxy.config import load
from muxproxy.config.model import Config

BAD = "budgets:\n  - {name: b, limit: x}\nlisen: 1\nrules: [{name: a, to: nowhere}]\n"


def test_no_file_is_all_defaults():
    assert load.load("", "f", {}) == Config()
    assert load.load_file(None, {}).config == Config()


def test_every_fault_at_once_with_the_files_name(tmp_path):
    path = tmp_path / "mux.yaml"
    path.write_text(BAD)
    with pytest.raises(load.ConfigError) as caught:
        load.load_file(str(path), {})
    assert [(f.path, f.line, f.column) for f in caught.value.faults] == [
        (str(path), 2, 22),
        (str(path), 3, 1),
        (str(path), 4, 23),
    ]
    assert str(caught.value).count("\n") == 2
    report = load.check_file(str(path), {})
    assert report.config is None
    assert report.faults == caught.value.faults
    assert report.rows()[0] == {
        "level": "error",
        "path": str(path),
        "line": 2,
        "column": 22,
        "field": "budgets[0].limit",
        "message": "expected dollars such as $10, or tokens such as 200k tokens, got x",
        "hint": "",
    }
    with pytest.raises(load.ConfigError):
        load.load(BAD, "f", {})


def test_a_file_with_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "mux.yaml"
    path.write_bytes(b"\xef\xbb\xbfstate: a.db\r\nhosts: [x]\r\n")
    config = load.load_file(str(path), {}).config
    assert (config.state, config.hosts) == ("a.db", ["x"])


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mux.yaml"
    path.write_bytes(b"a: 1\nb: \xff")
    assert str(load.check_file(str(path), {}).faults[0]) == f"{path}:2:4: not UTF-8 text"
    with path.open("wb") as file:
        file.truncate(load.MAX_FILE_BYTES + 1)
    assert load.check_file(str(path), {}).faults[0].message == "larger than 16 MiB"
    with pytest.raises(OSError, match="missing"):
        load.check_file(str(tmp_path / "missing"), {})
