"""Framing and faults that show in the bytes alone."""

import gzip
import http.client
import json
import zlib

import pytest

from muxproxy.sim import SimThread
from muxproxy.sim.answer import Answer
from muxproxy.sim.render import Stamped, render
from muxproxy.sim.script import Options, ScriptError

from .raw import CHAT, ask, exchange, parse, request

STREAM = CHAT | {"stream": True}


def raw(url: str, body: object = CHAT, **options: object) -> bytes:
    headers = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    data = request("/v1/chat/completions", body, headers | {"Connection": "close"})
    return exchange(url, data)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("size", ["1", "7", "1000000", "random"])
@pytest.mark.parametrize("pace", ["0", "1ms"])
def test_slices_change_no_byte(sim: SimThread, body: object, size: str, pace: str) -> None:
    plain = raw(sim.url, body, tokens=3)
    assert raw(sim.url, body, tokens=3, slice=size, pace=pace) == plain


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_framing_follows_chunked(shared: SimThread, body: object) -> None:
    plain = ask(shared.url, body=body)
    for flag, framing in [("on", "transfer-encoding"), ("off", None)]:
        found = ask(shared.url, body=body, chunked=flag)
        assert found.body == plain.body
        if framing:
            assert found.get(framing) == "chunked"
        else:
            assert found.get("transfer-encoding") is None
    assert (plain.get("content-length") is None) == (body is STREAM)


def test_http_10_gets_no_chunks(shared: SimThread) -> None:
    data = request("/v1/chat/completions", STREAM).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    found = parse(exchange(shared.url, data))
    assert found.get("transfer-encoding") is None
    assert found.get("connection") == "close"
    assert found.data()[-1] == "[DONE]"


def test_gzip(shared: SimThread) -> None:
    whole = ask(shared.url, gzip="on")
    assert json.loads(gzip.decompress(whole.body)) == ask(shared.url).json()
    streamed = ask(shared.url, body=STREAM, gzip="on")
    assert streamed.get("content-encoding") == "gzip"
    assert zlib.decompress(streamed.body, 31) == ask(shared.url, body=STREAM).body


def test_every_gzip_chunk_can_be_read_when_it_arrives() -> None:
    answer = Answer(200, [], [b"one", b"two"], stream=True)
    reply = render(answer, Options(gzip=True), "s", method="POST", http11=True, keep=True)
    first = reply.frames[0]
    assert isinstance(first, bytes)
    packed = first.partition(b"\r\n\r\n")[2].partition(b"\r\n")[2][:-2]
    assert zlib.decompressobj(31).decompress(packed) == b"one"


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_wrong_lengths(shared: SimThread, body: object) -> None:
    plain = ask(shared.url, body=body).body
    head, _, rest = raw(shared.url, body, wrong_length="short").partition(b"\r\n\r\n")
    declared = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    assert declared < len(rest) == len(plain)
    with pytest.raises(http.client.IncompleteRead):
        parse(raw(shared.url, body, wrong_length="long"))


def test_garbage_head_is_no_http(shared: SimThread) -> None:
    with pytest.raises(http.client.BadStatusLine):
        parse(raw(shared.url, garbage="head"))


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_garbage_chunk_breaks_the_framing(shared: SimThread, body: object) -> None:
    with pytest.raises(http.client.IncompleteRead):
        parse(raw(shared.url, body, garbage="chunk"))


def test_garbage_json_is_well_framed(shared: SimThread) -> None:
    with pytest.raises(json.JSONDecodeError):
        ask(shared.url, garbage="json").json()
    events = ask(shared.url, body=STREAM, garbage="json")
    with pytest.raises(json.JSONDecodeError):
        events.data()
    assert len(events.events()) == len(ask(shared.url, body=STREAM).events())


def test_garbage_body_is_other_bytes_of_the_same_length(shared: SimThread) -> None:
    plain, junk = ask(shared.url), ask(shared.url, garbage="body")
    assert len(junk.body) == len(plain.body)
    assert junk.body != plain.body


def test_garbage_sse_keeps_the_good_events(shared: SimThread) -> None:
    plain = ask(shared.url, body=STREAM).events()
    junk = ask(shared.url, body=STREAM, garbage="sse").events()
    assert len(junk) > len(plain)
    assert set(plain) <= set(junk)


def test_stamps_are_numbers_in_every_event(shared: SimThread) -> None:
    rows = ask(shared.url, body=STREAM, timestamp="on").data()
    stamps = [row["sim_ns"] for row in rows[:-1]]
    assert stamps == sorted(stamps)
    assert all(isinstance(stamp, int) and stamp > 0 for stamp in stamps)
    assert ask(shared.url, timestamp="on").json()["sim_ns"] > 0
    assert ask(shared.url, timestamp="on", slice=3).status == 400


def test_stamped_frames_are_not_rendered_twice() -> None:
    answer = Answer(200, [], [b'data: {"a":1}\n\n', b"data: [DONE]\n\n"], stream=True)
    reply = render(answer, Options(timestamp=True), "s", method="POST", http11=True, keep=True)
    assert [isinstance(frame, Stamped) for frame in reply.frames] == [True, False]
    with pytest.raises(ScriptError):
        render(
            answer, Options(timestamp=True, gzip=True), "s", method="GET", http11=True, keep=True
        )


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(shared: SimThread, status: int) -> None:
    found = ask(shared.url, status=status)
    assert (found.status, found.body, found.get("content-length")) == (status, b"", None)


def test_early_hints(shared: SimThread) -> None:
    data = raw(shared.url, early_hints="on")
    first, _, rest = data.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 103 ")
    assert parse(rest).json()["object"] == "chat.completion"


def test_close(shared: SimThread) -> None:
    data = request("/v1/chat/completions", CHAT, {"x-sim-close": "on"})
    assert parse(exchange(shared.url, data)).get("connection") == "close"


def test_many_bytes(shared: SimThread) -> None:
    found = ask(shared.url, "/v1/files/x/content", b"", size=3_000_001)
    assert len(found.body) == 3_000_001
