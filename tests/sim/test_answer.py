from muxproxy.sim.answer import data, event, json_answer, stream_answer


def test_framing_of_events() -> None:
    assert data({"a": "é"}) == 'data: {"a":"é"}\n\n'.encode()
    assert event("x", [1]) == b"event: x\ndata: [1]\n\n"


def test_answers() -> None:
    whole = json_answer({"a": 1}, [(b"x", b"y")])
    assert (whole.pieces, whole.stream) == ([b'{"a":1}'], False)
    assert whole.headers == [(b"Content-Type", b"application/json"), (b"x", b"y")]
    assert stream_answer([b"1", b"2"], []).stream
