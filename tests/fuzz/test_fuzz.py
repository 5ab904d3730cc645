"""Arbitrary bytes where strangers' bytes are read: no crash, no hang, no dependence on the cut."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.loaded import read
from muxproxy.dialects.paths import classify
from muxproxy.errors import MuxError
from muxproxy.inspection import inspect
from muxproxy.proxy.affinity import _beginning
from muxproxy.proxy.opening import Events, document, overload
from muxproxy.sse import Framer

TIMES = int(os.environ.get("MUXPROXY_FUZZ", "1"))  # so many times the inputs

_LINES = (
    *(b"data: ", b"event: error\n", b"\n", b"\r\n", b"\r", b": ping\n", b'{"error":', b"{}"),
    *(b'{"type":"overloaded_error"}', b"}", b"[", b'"', b"\\u", b"\xff", b"null", b"\xef\xbb\xbf"),
)
STREAMS = st.lists(st.sampled_from(_LINES) | st.binary(max_size=8), max_size=30).map(b"".join)
_MEMBERS = (
    *(b'"model"', b'"messages"', b'"role"', b'"user"', b'"content"', b":", b",", b"{", b"}"),
    *(b"[", b"]", b"1e999", b"-0", b"true", b'"\\ud800"', b'"stream"', b'"contents"', b'"parts"'),
)
BODIES = st.lists(st.sampled_from(_MEMBERS) | st.binary(max_size=6), max_size=40).map(b"".join)
_WORDS = (
    *("providers:", "rules:", "models:", "\n", "  ", "- ", "{", "}", "[", "]", ": ", "name", "a"),
    *("retry", "cache", "ttl", "1h", "${A}", "&x", "*x", "<<", "|", '"', "'", "#", "!!int", "-1"),
)
FILES = st.lists(st.sampled_from(_WORDS) | st.text(max_size=4), max_size=40).map("".join)
PATHS = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1beta/models/m:generateContent",
)


@settings(max_examples=400 * TIMES, deadline=None)
@given(STREAMS, st.integers(1, 9))
def test_events_do_not_depend_on_the_cut(data: bytes, size: int) -> None:
    whole, cut = Framer(), Framer()
    events = [*whole.feed(data), *whole.finish()]
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert [e for part in parts for e in cut.feed(part)] + cut.finish() == events


@settings(max_examples=400 * TIMES, deadline=None)
@given(STREAMS)
def test_the_opening_of_an_answer_is_judged(data: bytes) -> None:
    events = Events()
    events.enough(data)
    for found in (overload(events.found), overload(data)):
        assert found is None or found.isprintable()
    document(data)


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=150 * TIMES, deadline=None)
@given(BODIES)
def test_a_body_is_understood_or_refused(path: str, body: bytes) -> None:
    _beginning(body)
    try:
        inspect(classify("POST", path), body)
    except MuxError as error:
        assert error.status in (400, 413)


@settings(max_examples=300 * TIMES, deadline=None)
@given(FILES)
def test_a_configuration_is_read_or_its_faults_are_told(text: str) -> None:
    loaded = read(text, "fuzz.yaml", {"A": "a"})
    assert all(str(fault) for fault in loaded.faults)
