"""Requests as they come: recorded exactly, answered in order, refused when malformed."""

from muxproxy.sim import SimThread

from .raw import CHAT, connect, parse, read_all, read_response, read_until, request

ODD = (
    b"POST /v1/files?a=1&a=2 HTTP/1.1\r\nHost: sim\r\nX-Dup: 1\r\nx-dup:2\r\nX-DUP:  3 \r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)


def test_a_request_is_recorded_as_received(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        sock.sendall(ODD)
        echo = read_response(sock).json()
    (seen,) = sim.server.requests
    assert (seen.method, seen.target, seen.path) == ("POST", "/v1/files?a=1&a=2", "/v1/files")
    assert seen.headers[1:4] == [(b"X-Dup", b"1"), (b"x-dup", b"2"), (b"X-DUP", b"3")]
    assert seen.get("X-dup") == "1"
    assert (seen.body, echo["body_sha256"], echo["body_bytes"]) == (b"abc", seen.sha256, 3)
    assert echo["headers"][1:4] == [["X-Dup", "1"], ["x-dup", "2"], ["X-DUP", "3"]]
    assert echo["query"] == "a=1&a=2"


def test_a_request_cut_off_is_recorded_as_incomplete(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        sock.sendall(request("/v1/files", b"x" * 10)[:-3])
        sim.until(lambda s: len(s.requests) == 1)
    sim.until(lambda s: s.requests[0].closed_early)
    assert not sim.server.requests[0].complete


def test_expect_continue(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        data = request("/v1/files", b"hello", {"Expect": "100-continue"})
        head, body = data[:-5], data[-5:]
        sock.sendall(head)
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_response(sock).json()["body_bytes"] == 5


def test_head_has_the_length_and_no_body(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        sock.sendall(request("/", None, method="HEAD"))
        data = read_until(sock, b"\r\n\r\n")
        sock.sendall(request("/sim/health", None, {"Connection": "close"}, "GET"))
        found = parse(read_all(sock), "GET")
    assert b"Content-Length: " in data
    assert found.json()["requests"] == 1


def test_malformed_requests_are_refused_and_told(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        assert parse(read_all(sock)).status == 400
    assert "content-length" in sim.server.faults[0]
    with connect(sim.url) as sock:
        sock.sendall(ODD.replace(b"3\r\nabc", b"z\r\nabc"))
        assert parse(read_all(sock)).status == 400
    assert not sim.server.requests[-1].complete


def test_a_large_upload_arrives_whole(sim: SimThread) -> None:
    body = bytes(range(256)) * 4096 * 16
    with connect(sim.url) as sock:
        sock.sendall(request("/v1/files", body))
        assert read_response(sock).json()["body_bytes"] == len(body)
    assert sim.server.requests[0].body == body


def test_a_pipeline_longer_than_the_stack(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        sock.sendall(request("/v1/files", b"") * 3000 + request("/x", CHAT, {"x-sim-close": "on"}))
        data = read_all(sock)
    assert data.count(b"HTTP/1.1 200 OK\r\n") == 3001
