import base64
import json
from pathlib import Path
from typing import Any

import pytest

from muxproxy.sim import in_thread
from muxproxy.sim.recordings import NotRecorded, Recordings, split
from tests.wire_corpus import WIRE, exchanges, needs_wire

from .raw import ask, connect, read_response, request

SSE = 'data: {"a":1}\n\n: note\r\n\r\ndata: é\n\nevent: x\ndata: last'


def put(folder: Path, name: str, stream: str | None, **response: Any) -> None:
    record = {"id": name, "stream": stream, "response": {"status": 200, "headers": {}} | response}
    (folder / f"{name}.json").write_text(json.dumps(record))


@pytest.mark.parametrize("inner", ["", "exchanges"])
def test_replays_status_headers_and_body(tmp_path: Path, inner: str) -> None:
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    put(folder, "s", "sse", content_type="text/event-stream", headers={"x-a": "1"}, body=SSE)
    raw = base64.b64encode(bytes(range(256))).decode()
    put(folder, "b", None, status=418, body_base64=raw, headers={"content-length": "9"})
    with in_thread(recordings=tmp_path) as sim:
        found = ask(sim.url, "/any/path", b"", recording="s")
        assert (found.status, found.body, found.get("x-a")) == (200, SSE.encode(), "1")
        assert found.get("content-type") == "text/event-stream"
        assert found.get("transfer-encoding") == "chunked"
        found = ask(sim.url, "/any/path", b"", recording="b", slice=7)
        assert (found.status, found.body) == (418, bytes(range(256)))
        assert ask(sim.url, "/x", b"", recording="c").status == 404
        assert ask(sim.url, "/x", b"", recording="../../etc/passwd").status == 404
    with in_thread() as sim:
        assert "folder" in ask(sim.url, "/x", b"", recording="s").json()["sim_error"]


def test_splitting_loses_nothing() -> None:
    assert split(SSE.encode(), "sse") == [
        b'data: {"a":1}\n\n',
        b": note\r\n\r\n",
        "data: é\n\n".encode(),
        b"event: x\ndata: last",
    ]
    frames = [bytes([0, 0, 0, 20]) + bytes(16), bytes([0, 0, 0, 16]) + bytes(12)]
    assert split(b"".join(frames), "aws-eventstream") == frames
    assert split(b"a\nb\n", "ndjson") == [b"a\n", b"b\n"]
    assert b"".join(split(bytes(5000), "json-array")) == bytes(5000)


def test_a_broken_recording_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(NotRecorded, match="cannot be read"):
        Recordings(tmp_path).answer("x")


@needs_wire
def test_every_recorded_exchange_comes_back_byte_for_byte() -> None:
    with in_thread(recordings=WIRE) as sim, connect(sim.url) as sock:
        for number, exchange in enumerate(exchanges()):
            options = {"x-sim-recording": exchange.id}
            if number % 3 == 0:
                options["x-sim-slice"] = "random" if number % 2 else "100"
            sock.sendall(request("/replay", b"", options))
            found = read_response(sock)
            assert found.status == exchange.status, exchange.id
            assert found.body == exchange.body, exchange.id
