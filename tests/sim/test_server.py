"""Scripts, expectations, control paths and the determinism of the whole."""

import ssl

import pytest
import trustme

from muxproxy.sim import SimServer, SimThread, in_thread, start

from .raw import CHAT, GEMINI, MESSAGES, RESPONSES, ask, connect, parse, read_all, request


def test_the_same_request_gets_the_same_bytes_and_another_seed_other_words() -> None:
    with in_thread() as one, in_thread() as two, in_thread(seed="other") as three:
        answers = [ask(sim.url).body for sim in (one, one, two, three)]
    assert answers[0] == answers[1] == answers[2] != answers[3]


def test_scripts_are_used_in_order_where_they_fit(sim: SimThread) -> None:
    sim.run(sim.server.script, {"status": 429}, path="/a/")
    sim.run(sim.server.script, tokens=2, model="gpt-4o", times=2)
    found = [ask(sim.url, target) for target in ["/b/v1/chat/completions"] * 3]
    assert [r.json()["usage"]["completion_tokens"] for r in found] == [2, 2, 24]
    assert [ask(sim.url, "/a/v1/chat/completions").status for _ in "12"] == [429, 200]


def test_headers_win_over_scripts_and_for_narrows_them(sim: SimThread) -> None:
    sim.run(sim.server.script, tokens=2, times=None)
    assert ask(sim.url, tokens=3).json()["usage"]["completion_tokens"] == 3
    only = {"for": "/a/", "status": 500}
    assert ask(sim.url, "/a/v1/chat/completions", **only).status == 500
    assert ask(sim.url, "/b/v1/chat/completions", **only).status == 200


def test_a_literal_reply(sim: SimThread) -> None:
    sim.run(
        sim.server.script, status=418, headers={"Content-Type": "a/b"}, body="tea", chunked=True
    )
    found = ask(sim.url)
    assert (found.status, found.body, found.get("content-type")) == (418, b"tea", "a/b")


def test_options_in_the_model_name(sim: SimThread) -> None:
    found = ask(sim.url, body=CHAT | {"model": "sim-tokens=3,thinking=1"}).json()
    assert found["usage"]["completion_tokens"] == 4


def test_expectations(sim: SimThread) -> None:
    wish = {
        "path": "/v1/x",
        "headers": {"x-a": "1", "host": None},
        "absent": ("x-b",),
        "body": b"b",
    }
    for headers, status in [({"x-a": "1"}, 200), ({"x-a": "2", "X-B": "y"}, 400)]:
        sim.run(sim.server.expect, **wish)
        with connect(sim.url) as sock:
            sock.sendall(request("/v1/x", b"b", headers | {"Connection": "close"}))
            assert parse(read_all(sock)).status == status
    assert sim.server.faults == ["header x-a is ['2'], expected '1'", "header x-b is present"]


def test_a_misspelt_option_is_told(sim: SimThread) -> None:
    found = ask(sim.url, tokns=1)
    assert found.status == 400
    assert "unknown option 'tokns'" in found.json()["sim_error"]


def test_control_paths(sim: SimThread) -> None:
    queued = ask(sim.url, "/sim/script", [{"status": 401}, {"tokens": 1}])
    assert queued.json() == {"scripts": 2}
    assert ask(sim.url).status == 401
    assert ask(sim.url, "/sim/script", method="DELETE").json() == {"scripts": 0}
    ask(sim.url, "/v1/other?q=1", b"abc")
    rows = ask(sim.url, "/sim/requests", None, method="GET").json()
    assert [row["target"] for row in rows] == ["/v1/chat/completions", "/v1/other?q=1"]
    assert all(row["complete"] and not row["closed_early"] for row in rows)
    assert ask(sim.url, "/sim/health", None, method="GET").json()["status"] == "ok"
    assert ask(sim.url, "/sim/requests", None, method="DELETE").status == 200
    assert sim.server.requests == []
    assert ask(sim.url, "/sim/ack/x", {"count": "y"}).status == 400
    assert ask(sim.url, "/sim/script", [{"tokns": 1}]).status == 400
    assert ask(sim.url, "/sim/nothing").status == 404


@pytest.mark.parametrize(
    ("target", "body", "where"),
    [
        ("/v1/chat/completions", CHAT, ("usage", "prompt_tokens")),
        ("/v1/messages", MESSAGES, ("usage", "input_tokens")),
        ("/v1/responses", RESPONSES, ("usage", "input_tokens")),
        ("/v1/models/g:generateContent", GEMINI, ("usageMetadata", "promptTokenCount")),
    ],
)
def test_input_can_be_told(shared: SimThread, target: str, body: object, where: list[str]) -> None:
    found = ask(shared.url, target, body, input=1234).json()
    assert found[where[0]][where[1]] == 1234


async def test_tls() -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    with in_thread(context=server_side) as sim:
        assert sim.url.startswith("https://")
        with (
            connect(sim.url) as plain,
            client_side.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(request("/v1/chat/completions", CHAT, {"Connection": "close"}))
            assert parse(read_all(sock)).status == 200


async def test_in_the_same_loop_with_defaults() -> None:
    server: SimServer = await start(defaults={"tokens": 2, "pace": "1ms"}, keep_requests=1)
    server.script(tools=1)
    assert server.requests == []
    await server.until(lambda s: s.port > 0)
    await server.aclose()


def test_the_reply_cache_is_bounded_and_knows_headers(sim: SimThread) -> None:
    for number in range(300):
        body = CHAT | {"user": str(number)}
        assert ask(sim.url, body=body).status == 200
    assert len(sim.server._replies) <= 256
    assert ask(sim.url, tokens=1).body != ask(sim.url, tokens=2).body
