"""Malformed requests: refused, closed, and never seen by the app."""

import json
from operator import attrgetter

import pytest

from muxproxy.doors import DoorLimits
from tests.doors.harness import SMALL, Echo, client_of, request, serving, until
from tests.doors.malformed import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_a_malformed_request_is_refused_and_never_reaches_the_app(case: Case) -> None:
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(case.raw)
        answer = await client.read()
        assert answer.status == case.status
        assert answer.headers["connection"] == "close"
        error = json.loads(answer.body)["error"]
        assert set(error) == {"message", "type", "code"}
        assert door.stats.refused == {error["code"]: 1}
        assert await client.closed()
        assert not [call for call in app.calls if call.complete]
        if not case.late:
            assert not app.calls
        else:
            await until(lambda: door.in_flight == 0)
            assert all(call.left for call in app.calls)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_the_verdict_on_a_malformed_request_holds_behind_a_good_one(case: Case) -> None:
    """Pipelined: the good one is answered, the bad one refused, whatever follows is not read."""
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request(path="/good") + case.raw + request(path="/smuggled"))
        assert (await client.read()).headers["x-path"] == "/good"
        answer = await client.read()
        assert answer.status == case.status
        assert await client.closed()
        assert "/smuggled" not in [call.scope["path"] for call in app.calls]
        assert [c.scope["path"] for c in app.calls if c.complete] == ["/good"]


async def test_a_fault_late_in_an_upload_reaches_the_app_as_a_disconnect() -> None:
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request("POST", fields="Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n")
        await until(lambda: app.calls and app.calls[0].body == b"hello")
        client.send(b"zz\r\n")
        assert (await client.read()).status == 400
        await app.over.wait()
        assert app.calls[0].left and not app.calls[0].complete


async def test_a_chunked_body_beyond_the_limit_is_cut_off() -> None:
    app = Echo()
    async with serving(app, DoorLimits(max_body=1000)) as door, client_of(door) as client:
        client.send(request("POST", fields="Transfer-Encoding: chunked\r\n"))
        client.send(b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n")
        assert (await client.read()).status == 413
        await until(lambda: door.in_flight == 0)
        assert not any(call.complete for call in app.calls)
