"""Who calls: our keys wherever an SDK puts one, 401 in each dialect, and never a key upstream."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from muxproxy.sim.record import Recorded
from tests.http_client import Answer, encode
from tests.stack import Stack, stack
from tests.wire.balance import balanced, code_in, fetch, sums

OURS = "mux-key-of-ann-1234567890"
HASHED = "mux-key-of-bob-0987654321"
DIGEST = hashlib.sha256(HASHED.encode()).hexdigest()
YAML = f"""
translation: off
auth: {{mode: keys, user_header: x-user, run_header: x-session}}
keys:
  - {{name: ann, value: "${{ANN_KEY}}", team: red, tags: [t1, t2]}}
  - {{name: bob, sha256: {DIGEST}, user: robert, models: [small, gpt-4o-mini, "claude-*"]}}
models: {{small: [openai/gpt-4o, anthropic/claude-opus-4], big: [openai/gpt-4o]}}
rules: [{{name: tagging, when: {{team: red}}, tag: t3, continue: true}}]
budgets: [{{name: each, per: key, limit: $100, window: month}}]
"""
ENV = {"ANN_KEY": OURS}
# One provider with a key of its own, the others without: the caller's must not slip through.
PROVIDERS = """
  openai:    {dialect: openai,    base_url: "SIM/v1", api_key: sk-openai}
  mistral:   {dialect: openai,    base_url: "SIM/v1"}
  anthropic: {dialect: anthropic, base_url: "SIM"}
  google:    {dialect: gemini,    base_url: "SIM"}
"""
USER = {"role": "user", "content": "Say hello"}
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [USER], "max_tokens": 9}
CLAUDE = {**CHAT, "model": "claude-sonnet-4-5"}
GENERATE: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}]}
PATH = "/v1/chat/completions"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"

# Where each SDK puts a key.
PLACES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "openai": (PATH, CHAT, {"authorization": "Bearer KEY"}),
    "openai, lower case": (PATH, CHAT, {"authorization": "bearer KEY"}),
    "openai responses": (
        "/v1/responses",
        {"model": "gpt-4o-mini", "input": "hi"},
        {"authorization": "Bearer KEY"},
    ),
    "azure openai": (PATH, CHAT, {"api-key": "KEY"}),
    "groq": ("/openai/v1/chat/completions", CHAT, {"authorization": "Bearer KEY"}),
    "mistral": ("/p/mistral/v1/chat/completions", CHAT, {"authorization": "Bearer KEY"}),
    "anthropic": ("/v1/messages", CLAUDE, {"x-api-key": "KEY"}),
    "anthropic, bearer": ("/v1/messages", CLAUDE, {"authorization": "Bearer KEY"}),
    "gemini": (GEMINI, GENERATE, {"x-goog-api-key": "KEY"}),
    "gemini, in the query": (GEMINI + "?key=KEY&alt=json", GENERATE, {}),
    "gemini, last in the query": (GEMINI + "?alt=json&key=KEY", GENERATE, {}),
    "ours beside a stranger's": (
        PATH,
        CHAT,
        {"authorization": "Bearer sk-somebody", "x-api-key": "KEY"},
    ),
    "an unread path": ("/v1/files", {"any": "thing"}, {"authorization": "Bearer KEY"}),
}
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATH, CHAT),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "hi"}),
    "anthropic": ("/v1/messages", CLAUDE),
    "gemini": (GEMINI, GENERATE),
}


def holds(seen: Recorded, secret: str) -> bool:
    """Whether the provider was shown the secret anywhere."""
    raw = secret.encode()
    return (
        raw in seen.target.encode()
        or any(raw in name or raw in value for name, value in seen.headers)
        or raw in (seen.body or b"")
    )


@pytest.mark.parametrize("key", [OURS, HASHED], ids=["value", "sha256"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_key_is_known_where_an_sdk_puts_it_and_stays_here(
    tmp_path: Path, place: str, key: str
) -> None:
    path, body, headers = PLACES[place]
    given = {name: value.replace("KEY", key) for name, value in headers.items()}
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        answer = await fetch(proxy.port, path.replace("KEY", key), body, given)
        if key == HASHED and "gemini" in place:
            assert (answer.status, code_in(answer.json(), "gemini")) == (403, "forbidden")
            return
        assert answer.status == 200, answer.body
        (seen,) = proxy.sim.requests
        assert not holds(seen, key)
        receipt = await proxy.receipt(answer)
        assert receipt.caller == ("ann" if key == OURS else "bob")
        if receipt.provider == "openai":
            assert seen.get("authorization") == "Bearer sk-openai"
        else:
            assert [seen.get(n) for n in ("authorization", "x-api-key", "x-goog-api-key")] == [
                None
            ] * 3
        await balanced(proxy, 1)
        assert key.encode() not in (tmp_path / "books.db-wal").read_bytes()


STRANGERS = {
    "no key": {},
    "a stranger's key": {"authorization": "Bearer sk-stranger", "x-api-key": "sk-stranger"},
    "another scheme": {"authorization": f"Basic {OURS}"},
    "an empty key": {"authorization": "Bearer ", "x-api-key": ""},
    "the hash itself": {"authorization": f"Bearer {DIGEST}"},
    "nearly a key": {"authorization": f"Bearer {OURS[:-1]}"},
}


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_gets_401_in_its_dialect(
    tmp_path: Path, headers: dict[str, str], kind: str
) -> None:
    path, body = DIALECTS[kind]
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        answer = await fetch(proxy.port, path, body, headers)
        assert_unauthorized(answer, kind)
        assert not proxy.sim.requests
        (receipt,) = await balanced(proxy, 1)
        assert (receipt.end, receipt.status, receipt.code) == ("refused", 401, "unauthorized")


def assert_unauthorized(answer: Answer, kind: str) -> None:
    """What makes the dialect's SDK raise its AuthenticationError, and not try again."""
    assert answer.status == 401
    assert code_in(answer.json(), kind) == "unauthorized"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert b"sk-stranger" not in answer.body and OURS.encode() not in answer.body


async def test_the_control_plane_wants_a_key_too(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        for path in ("/v1/calls", "/v1/analytics/costs", "/user/stats", "/openapi.json"):
            assert (await proxy.get(path)).status == 401, path
        for path in ("/v1/analytics/budgets", "/metrics", "/v1/models", "/docs"):
            assert (await proxy.get(path)).status == 401, path
            known = await proxy.get(path, {"authorization": f"Bearer {OURS}"})
            assert known.status == 200, path
        for path in ("/health", "/ready", "/"):
            assert (await proxy.get(path)).status == 200


MODELS = {
    "an alias that is named": ("small", 200),
    "a model that is named": ("gpt-4o-mini", 200),
    "another model": ("gpt-4o", 403),
    "another alias": ("big", 403),
    "by way of its provider": ("openai/gpt-4o", 403),
    "a model that a glob covers, at another provider": ("anthropic/claude-x", 400),
}


@pytest.mark.parametrize(("model", "status"), MODELS.values(), ids=MODELS)
async def test_models_per_key(tmp_path: Path, model: str, status: int) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        bob = {"authorization": f"Bearer {HASHED}"}
        answer = await fetch(proxy.port, PATH, {**CHAT, "model": model}, bob)
        assert answer.status == status, answer.body
        if status == 403:
            assert code_in(answer.json(), "chat") == "forbidden"
            assert answer.headers["x-should-retry"] == "false"
            assert not proxy.sim.requests
        everything = {"authorization": f"Bearer {OURS}"}
        free = await fetch(proxy.port, PATH, {**CHAT, "model": model}, everything)
        assert free.status == (200 if status != 400 else 400)


async def test_who_asked_stands_in_the_row(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        ann, bob = ({"authorization": f"Bearer {key}"} for key in (OURS, HASHED))
        named = {**ann, "x-user": "header", "x-muxproxy-run": "r1", "x-session": "s1"}
        await fetch(proxy.port, PATH, {**CHAT, "user": "body"}, named)
        await fetch(proxy.port, PATH, {**CHAT, "user": "body"}, {**ann, "x-session": "s1"})
        await fetch(proxy.port, PATH, {**CHAT, "user": "body"}, {**bob, "x-user": "header"})
        metadata = {**CLAUDE, "metadata": {"user_id": "meta"}}
        await fetch(proxy.port, "/v1/messages", metadata, bob)
        receipts = await balanced(proxy, 4)
        assert [(r.caller, r.user, r.team, r.run) for r in receipts] == [
            ("ann", "header", "red", "r1"),
            ("ann", "body", "red", "s1"),
            ("bob", "robert", None, None),  # what the key says cannot be talked away
            ("bob", "robert", None, None),
        ]
        assert [r.tags for r in receipts] == [("t1", "t2", "t3")] * 2 + [(), ()]
        seen = proxy.sim.requests
        assert all(s.get(name) is None for s in seen for name in ("x-user", "x-session"))
        assert sums(proxy, "each").keys() == {"ann", "bob"}
        spent = {
            name: sum(r.cost or 0 for r in receipts if r.caller == name) for name in ("ann", "bob")
        }
        assert {name: nano for name, (nano, _) in sums(proxy, "each").items()} == spent


async def test_allowed_api_keys_of_the_environment_turn_keys_on(tmp_path: Path) -> None:
    env = {"ALLOWED_API_KEYS": f"{OURS}, {HASHED},"}
    async with stack(tmp_path, "", providers=PROVIDERS, env=env) as proxy:
        for key in (OURS, HASHED):
            headers = {"authorization": f"Bearer {key}"}
            assert (await fetch(proxy.port, PATH, CHAT, headers)).status == 200
        assert (await fetch(proxy.port, PATH, CHAT)).status == 401
        receipts = await balanced(proxy, 3)
        names = [f"env-{hashlib.sha256(key.encode()).hexdigest()[:8]}" for key in (OURS, HASHED)]
        assert [r.caller for r in receipts] == [*names, "anonymous"]
        assert not any(holds(seen, key) for seen in proxy.sim.requests for key in (OURS, HASHED))


async def test_in_open_mode_callers_are_told_apart_by_a_hash_of_their_own_key(
    tmp_path: Path,
) -> None:
    yaml = "budgets: [{name: each, per: key, limit: $100, window: month}]\n"
    async with stack(tmp_path, yaml, providers=PROVIDERS) as proxy:
        for key in ("sk-one", "sk-two", "sk-one"):
            await fetch(proxy.port, "/v1/messages", CLAUDE, {"x-api-key": key})
        await fetch(proxy.port, PATH, CHAT)
        receipts = await balanced(proxy, 4)
        callers = [r.caller for r in receipts]
        assert callers[0] == callers[2] != callers[1]
        assert callers[3] == "anonymous"
        assert not any("sk-" in caller for caller in callers)
        assert [s.get("x-api-key") for s in proxy.sim.requests[:3]] == [
            "sk-one",
            "sk-two",
            "sk-one",
        ]
        assert sums(proxy, "each").keys() == set(callers)


async def test_a_key_that_is_taken_out_of_the_file_is_refused_after_the_reload(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        bob = {"authorization": f"Bearer {HASHED}"}
        assert (await fetch(proxy.port, PATH, CHAT, bob)).status == 200
        path = tmp_path / "muxproxy.yaml"
        path.write_text(path.read_text().replace(DIGEST, hashlib.sha256(b"new").hexdigest()))
        await proxy.runtime.reload()
        assert (await fetch(proxy.port, PATH, CHAT, bob)).status == 401


# -- through the forward proxy -------------------------------------------------------------------


async def _absolute(proxy: Stack, headers: dict[str, str]) -> Answer:
    """A call to the simulator's address as if it were a stranger's host."""
    return await fetch(proxy.port, f"{proxy.sim.url}/v1/files", {"any": "thing"}, headers)


FOREIGN = """
  openai: {dialect: openai, base_url: "https://api.openai.com/v1", api_key: sk-openai}
"""
INSIDE = YAML.replace("anthropic/claude-opus-4", "openai/gpt-4.1") + (
    "server: {inside_hosts: [127.0.0.1]}\n"
)


async def test_in_keys_mode_the_forward_proxy_wants_a_key(tmp_path: Path) -> None:
    async with stack(tmp_path, INSIDE, providers=FOREIGN, env=ENV) as proxy:
        answer = await _absolute(proxy, {})
        assert answer.status in (401, 407)
        assert not proxy.sim.requests


async def test_our_key_does_not_reach_a_host_of_no_provider(tmp_path: Path) -> None:
    async with stack(tmp_path, INSIDE, providers=FOREIGN, env=ENV) as proxy:
        for headers in ({"authorization": f"Bearer {OURS}"}, {"x-api-key": OURS}):
            assert (await _absolute(proxy, headers)).status == 200
        theirs = {"authorization": "Bearer theirs", "x-api-key": OURS}
        await _absolute(proxy, theirs)
        assert not any(holds(seen, OURS) for seen in proxy.sim.requests)
        assert proxy.sim.requests[2].get("authorization") == "Bearer theirs"


async def test_in_keys_mode_a_tunnel_wants_a_key(tmp_path: Path) -> None:
    async with stack(tmp_path, INSIDE, providers=FOREIGN, env=ENV) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        target = f"127.0.0.1:{proxy.sim.port}"
        writer.write(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            line = await reader.readline()
        writer.close()
        assert line.split()[1] in (b"401", b"407")


async def test_a_key_under_an_escaped_name_is_none(tmp_path: Path) -> None:
    """Only `key=` is taken out on the way up, so only `key=` is believed."""
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        answer = await fetch(proxy.port, f"{GEMINI}?alt=json&x=key=1&k%65y={OURS}", GENERATE)
        assert answer.status == 401
        assert not any(holds(seen, OURS) for seen in proxy.sim.requests)


async def test_a_thousand_guesses_are_refused_and_cost_no_memory(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as proxy:
        data = encode(CHAT)
        for start in range(0, 1000, 100):
            answers = await asyncio.gather(
                *(
                    fetch(proxy.port, PATH, data, {"authorization": f"Bearer guess-{n}"})
                    for n in range(start, start + 100)
                )
            )
            assert {a.status for a in answers} == {401}
        assert len(proxy.runtime.snapshot.auth._known) <= 4096
        assert (await fetch(proxy.port, PATH, data, {"x-api-key": OURS})).status == 200
