"""POST /v1/feedback: ratings are kept with their call, of its own caller only, and hold no text."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from muxproxy.sim.server import start
from tests.http_client import Answer, call
from tests.process.server import calls, command, served
from tests.stack import ID, Stack, stack

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
PATH = "/v1/feedback"
KEYS = """
auth: {mode: keys, user_header: x-user}
keys:
  - {name: ann, value: key-ann}
  - {name: bob, value: key-bob}
  - {name: cat, value: key-cat, user: cat}
"""


def bearer(name: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-{name}", **{f"x-{k}": v for k, v in more.items()}}


async def asked(proxy: Stack, headers: dict[str, str] | None = None) -> str:
    answer = await proxy.post("/v1/chat/completions", CHAT, headers)
    assert answer.status == 200, answer.body
    await proxy.receipt(answer)
    return answer.headers[ID]


async def rate(
    proxy: Stack, id: str, score: Any, headers: dict[str, str] | None = None, **more: Any
) -> Answer:
    return await proxy.post(PATH, {"id": id, "score": score, **more}, headers)


@pytest.mark.parametrize(
    ("score", "kept"),
    [(0.25, 0.25), (1, 1.0), (0, 0.0), (True, 1.0), (False, 0.0), ("good", 1.0), ("bad", 0.0)],
)
async def test_a_rating_stands_with_its_call(tmp_path: Path, score: Any, kept: float) -> None:
    async with stack(tmp_path) as proxy:
        id = await asked(proxy)
        answer = await rate(proxy, id, score)
        assert (answer.status, answer.json()) == (200, {"id": id, "score": kept})
        assert (await proxy.settled(1))[0].feedback == kept
        shown = (await proxy.get(f"/v1/calls/{id}")).json()
        assert (shown["feedback"], shown["explored"]) == (kept, False)
        assert (await proxy.get("/v1/calls")).json()["calls"][0]["feedback"] == kept
        assert b"muxproxy_feedback_total 1.0" in (await proxy.get("/metrics")).body


async def test_a_second_rating_replaces_the_first(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        id = await asked(proxy)
        assert (await rate(proxy, id, 0.1)).status == 200
        assert (await rate(proxy, id, 0.9)).status == 200
        assert (await proxy.settled(1))[0].feedback == 0.9


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"id": "0" * 16, "score": 1}, 404, "no call of yours"),
        ({"id": "xyz", "score": 1}, 400, "16 hex digits"),
        ({"id": "-1", "score": 1}, 400, "16 hex digits"),
        ({"id": "1", "score": 1.5}, 400, "score: 1.5 is not within 0..1"),
        ({"id": "1", "score": -1}, 400, "not within 0..1"),
        ({"id": "1", "score": "fine"}, 400, '"good" or "bad"'),
        ({"id": "1", "score": None}, 400, "score"),
        ({"id": "1"}, 400, "score"),
        ({"score": 1}, 400, "id"),
        ({"id": "1", "score": 1, "comment": "nice"}, 400, "comment"),
        ([], 400, "expected"),
        (b'{"id": "1", "score": NaN}', 400, "expected"),
        (b"nonsense", 400, "expected"),
        (b'"' + b"x" * 9000 + b'"', 400, "short"),
    ],
)
async def test_what_is_no_rating_is_refused_with_the_fix(
    tmp_path: Path, body: Any, status: int, word: str
) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(PATH, body)
        assert answer.status == status, answer.body
        assert word in answer.json()["error"]["message"]


async def test_only_a_post_of_json_rates(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        id = await asked(proxy)
        form = await proxy.post(PATH, f'{{"id": "{id}", "score": 1}}'.encode(), PLAIN)
        assert form.status == 400 and "content-type" in form.json()["error"]["message"]
        assert (await proxy.get(PATH)).status == 405
        page = await rate(proxy, id, 1, {"origin": "https://evil.test"})
        assert page.status == 403
        assert (await proxy.settled(1))[0].feedback is None


PLAIN = {"content-type": "text/plain"}


async def test_callers_rate_their_own_calls_only(tmp_path: Path) -> None:
    async with stack(tmp_path, KEYS) as proxy:
        anns = await asked(proxy, bearer("ann"))
        users = await asked(proxy, bearer("ann", user="u1"))
        cats = await asked(proxy, bearer("cat"))
        assert (await rate(proxy, anns, 1)).status == 401
        other = await rate(proxy, anns, 1, bearer("bob"))
        unknown = await rate(proxy, "0" * 16, 1, bearer("bob"))
        assert (other.status, other.body) == (404, unknown.body)
        assert (await rate(proxy, anns, 1, bearer("ann"))).status == 200
        assert (await rate(proxy, users, 1, bearer("ann", user="u2"))).status == 404
        assert (await rate(proxy, users, 1, bearer("ann", user="u1"))).status == 200
        assert (await rate(proxy, users, 0, bearer("ann"))).status == 200  # whose key it is
        assert (await rate(proxy, cats, 1, bearer("ann"))).status == 404
        assert (await rate(proxy, cats, 1, bearer("cat"))).status == 200
        assert [r.feedback for r in await proxy.settled(3)] == [1.0, 0.0, 1.0]


async def test_with_a_door_for_operators_both_take_ratings(tmp_path: Path) -> None:
    async with stack(tmp_path, f"{KEYS}admin: 127.0.0.1:0\n") as proxy:
        (admin,) = set(proxy.runtime.ports) - {proxy.port}
        id = await asked(proxy, bearer("ann"))
        assert (await rate(proxy, id, 0.5, bearer("bob"))).status == 404
        assert (await rate(proxy, id, 0.6, bearer("ann"))).status == 200
        body = {"id": id, "score": 0.7}
        assert (await call(admin, "POST", PATH, body)).status == 401
        assert (await call(admin, "POST", PATH, body, bearer("bob"))).status == 200
        assert (await proxy.settled(1))[0].feedback == 0.7


async def test_kill_9_keeps_what_was_answered(tmp_path: Path) -> None:
    sim = await start()
    with served(tmp_path, sim.url) as server:
        ids = []
        for score in (0.25, 0.75):
            answer = await call(server.port, "POST", "/v1/chat/completions", CHAT)
            ids.append(answer.headers[ID])
            async with asyncio.timeout(10):
                while (
                    await call(server.port, "POST", PATH, {"id": ids[-1], "score": score})
                ).status == 404:
                    pass
        server.signal(signal.SIGKILL)
        server.wait()
    await sim.aclose()
    with served(tmp_path, "http://127.0.0.1:9") as server:
        shown = await call(server.port, "GET", f"/v1/calls/{ids[0]}", None)
        assert shown.json()["feedback"] == 0.25
    rows = {row["id"]: row["feedback"] for row in calls(tmp_path)}
    assert [rows[id] for id in ids] == [0.25, 0.75]
    table = command("calls", "--config", str(tmp_path / "muxproxy.yaml")).stdout
    assert ", rated 0.75" in table  # it may have died before the receipt was written
