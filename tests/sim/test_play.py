"""Faults in time, over real sockets, on both event loops."""

import socket
import struct

import pytest

from muxproxy.sim import SimThread

from .raw import CHAT, RESPONSES, connect, exchange, parse, read_all, read_until, request

TARGET = "/v1/chat/completions"
STREAM = CHAT | {"stream": True, "stream_options": {"include_usage": True}}


def send(sock: socket.socket, body: object = STREAM, **options: object) -> None:
    headers = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    sock.sendall(request(TARGET, body, headers))


def events(data: bytes) -> int:
    return data.count(b"data: ")


@pytest.mark.parametrize("n", [1, 3])
def test_drop_closes_without_a_terminator(sim: SimThread, n: int) -> None:
    with connect(sim.url) as sock:
        send(sock, drop_after=n)
        data = read_all(sock)
    assert events(data) == n
    assert not data.endswith(b"0\r\n\r\n")


def test_drop_after_everything_leaves_out_only_the_terminator(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        send(sock, drop_after=100000)
        data = read_all(sock)
    assert data.endswith(b"data: [DONE]\n\n\r\n")


def test_drop_before_and_after_the_head(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        send(sock, drop_after=0)
        assert read_all(sock) == b""
    with connect(sim.url) as sock:
        send(sock, drop_after="head")
        assert read_all(sock).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("where", [0, "head", 2])
def test_reset_is_a_reset(sim: SimThread, where: object) -> None:
    with connect(sim.url) as sock:
        send(sock, reset_after=where)
        if where == 2:
            read_until(sock, b"\n\n\r\n")
        with pytest.raises(ConnectionResetError):
            read_all(sock)
    sim.until(lambda s: s.records.open == 0)
    assert not sim.server.requests[0].closed_early


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("where", [0, "head", 2])
def test_hang_says_no_more_and_notes_who_leaves(
    sim: SimThread, where: object, body: object
) -> None:
    with connect(sim.url) as sock:
        send(sock, body, hang_after=where)
        if where == "head":
            read_until(sock, b"\r\n\r\n")
        sim.until(lambda s: bool(s.requests) and s.requests[0].complete)
        assert not sim.server.requests[0].closed_early
    sim.until(lambda s: s.requests[0].closed_early)
    assert not sim.server.requests[0].replied


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_a_paced_stream_is_noticed(sim: SimThread, kill: bool) -> None:
    sock = connect(sim.url)
    send(sock, tokens=1000, pace="5ms")
    sock.recv(100)
    if kill:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    sim.until(lambda s: s.requests[0].closed_early)
    assert sim.server.records.open == 0


def test_pace_and_ttft_change_no_byte(sim: SimThread) -> None:
    plain = exchange(sim.url, request(TARGET, STREAM, {"x-sim-close": "on"}))
    options = {"x-sim-close": "on", "x-sim-pace": "1ms", "x-sim-ttft": "20ms"}
    assert exchange(sim.url, request(TARGET, STREAM, options)) == plain


def test_lockstep_sends_a_chunk_only_after_the_one_before_was_acknowledged(
    sim: SimThread,
) -> None:
    with connect(sim.url) as sock, connect(sim.url) as side:
        send(sock, lockstep="t1", tokens=3)
        got = 0
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += read_until(sock, b"\r\n")
            if data.endswith(b"0\r\n\r\n"):
                break
            got += 1
            # Role, three words, finish; then the usage chunk glued to [DONE].
            assert events(data) == (got if got < 6 else 7)
            side.sendall(request("/sim/ack/t1", got))
            assert parse(read_until(side, b"}")).json() == {"acked": got}
        assert got == 6


def test_lockstep_of_a_json_answer(sim: SimThread) -> None:
    sim.run(sim.server.ack, "t2", 100)  # acknowledged beforehand: nothing waits
    with connect(sim.url) as sock:
        send(sock, CHAT, lockstep="t2", close="on")
        assert parse(read_all(sock)).json()["object"] == "chat.completion"


def test_a_slow_reader_holds_the_stream_back(sim: SimThread) -> None:
    """100 MiB to a client that does not read: the simulator waits, then all of it arrives."""
    size = 100 * 1024 * 1024
    with connect(sim.url) as sock:
        sock.sendall(request("/v1/files", b"", {"x-sim-size": str(size), "x-sim-close": "on"}))
        head = sock.recv(1)
        assert not sim.server.requests[0].replied
        got = len(head)
        buffer = bytearray(1 << 20)
        tail = b""
        while n := sock.recv_into(buffer):
            got += n
            tail = bytes(buffer[:n])
    assert tail
    assert size < got < size + 1000


def test_replies_follow_each_other_on_a_connection(sim: SimThread) -> None:
    with connect(sim.url) as sock:
        send(sock, STREAM)
        send(sock, CHAT | {"stream": True}, tokens=1)
        sock.sendall(request("/v1/responses", RESPONSES, {"x-sim-close": "on"}))
        data = read_all(sock)
    assert data.count(b"HTTP/1.1 200 OK") == 3
    assert data.count(b"[DONE]") == 2
    assert [r.connection for r in sim.server.requests] == [1, 1, 1]
    assert all(r.replied for r in sim.server.requests)
