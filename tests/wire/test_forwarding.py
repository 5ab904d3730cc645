"""The main road over real sockets: routed by the YAML, forwarded byte for byte, in the ledger."""

# ruff: noqa: E501 (bodies stand as they are sent)

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.stack import stack

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}
ANTHROPIC = {**CHAT, "model": "claude-sonnet-4-5", "max_tokens": 64}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}]}

ODD_BODIES = {
    "odd whitespace": b'\n { "model" :\t"gpt-4o-mini" ,"messages":[ {"role":"user","content":"a"}]}  ',
    "escapes and surrogates": b'{"messages":[{"content":"\\ud83d\\ude00 \\u0041\\n","role":"user"}],'
    b'"model":"gpt-4o-mini"}',
    "unknown fields": b'{"model":"gpt-4o-mini","messages":[],"future":{"model":"x","deep":[1,2.50]}}',
    "duplicate keys": b'{"model":"first","messages":[],"model":"gpt-4o-mini","messages":[]}',
    "big numbers": b'{"model":"gpt-4o-mini","messages":[],"seed":123456789012345678901234567890}',
    "key order": b'{"stream":false,"n":1,"messages":[{"content":"x","role":"user"}],"model":"gpt-4o-mini"}',
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES.keys())
async def test_a_body_that_no_rule_touches_goes_up_byte_for_byte(
    tmp_path: Path, body: bytes
) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post("/v1/chat/completions", body)
        assert answer.status == 200
        (seen,) = proxy.sim.requests
        assert hashlib.sha256(seen.body).digest() == hashlib.sha256(body).digest()


async def test_only_the_model_value_changes_when_an_alias_supplies_it(tmp_path: Path) -> None:
    body = (
        b'{"messages":[{"role":"user","content":"say \\"model\\": \\"small\\""}],'
        b'"metadata":{"model":"small"},"tools":[{"type":"function","function":{"name":"model",'
        b'"parameters":{"model":"small"}}}], "model" : "small" ,"n":1}'
    )
    async with stack(tmp_path, "models:\n  small: [openai/gpt-4o-mini]\n") as proxy:
        answer = await proxy.post("/v1/chat/completions", body)
        (seen,) = proxy.sim.requests
        assert seen.body == body.replace(b'"model" : "small"', b'"model" : "gpt-4o-mini"')
        receipt = await proxy.receipt(answer)
        assert receipt.edits == ("model", "router_metadata")
        assert (receipt.provider, receipt.model) == ("openai", "gpt-4o-mini")
        metadata = answer.json()["router_metadata"]
        assert metadata["selected_model"] == "gpt-4o-mini"


async def test_a_call_is_metered_and_stands_in_the_ledger(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT)
        usage = answer.json()["usage"]
        receipt = await proxy.receipt(answer)
        assert receipt.usage is not None
        assert receipt.usage.input_total == usage["prompt_tokens"]
        assert receipt.usage.output_total == usage["completion_tokens"]
        assert receipt.usage_source == "provider"
        assert receipt.end == "finished"
        # gpt-4o-mini: $0.15 and $0.60 per million tokens
        assert receipt.cost == usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 600
        assert answer.headers["x-muxproxy-provider"] == "openai"
        assert float(answer.headers["x-muxproxy-overhead-ms"]) > 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hello"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello"}),
        ("/v1/responses", {"model": "gpt-4o-mini", "input": "hello"}),
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages?beta=true", ANTHROPIC),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/v1/models/gemini-2.5-flash:generateContent", GEMINI),
        ("/v1beta/models/gemini-2.5-flash:generateContent", GEMINI),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GEMINI),
        ("/p/mistral/v1/chat/completions", {**CHAT, "model": "mistral-small-latest"}),
    ],
)
async def test_every_known_path_is_served_and_metered(
    tmp_path: Path, path: str, body: dict[str, object]
) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(path, body)
        assert answer.status == 200, answer.body
        receipt = await proxy.receipt(answer)
        assert receipt.usage is not None
        assert receipt.usage.input_total > 0
        if "/p/" in path:
            assert receipt.provider == "mistral"


async def test_the_providers_key_replaces_the_callers_everywhere(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        await proxy.post("/v1/chat/completions", CHAT, {"authorization": "Bearer mine"})
        await proxy.post("/v1/messages", ANTHROPIC, {"x-api-key": "mine"})
        await proxy.post("/v1/messages", ANTHROPIC, {"authorization": "Bearer mine"})
        path = "/v1beta/models/gemini-2.5-flash:generateContent"
        await proxy.post(path + "?key=mine&alt=json", GEMINI, {"x-goog-api-key": "mine"})
        for seen in proxy.sim.requests:
            assert b"mine" not in seen.target.encode() if isinstance(seen.target, str) else True
            assert not any(b"mine" in bytes(value) for _, value in _pairs(seen))
        keys = [dict(_pairs(seen)) for seen in proxy.sim.requests]
        assert keys[0][b"authorization"] == b"Bearer sk-openai"
        assert keys[1][b"x-api-key"] == b"sk-anthropic"
        assert keys[2][b"authorization"] == b"Bearer sk-anthropic"
        assert keys[3][b"x-goog-api-key"] == b"sk-google"


async def test_without_a_key_the_callers_own_passes_through(tmp_path: Path) -> None:
    providers = "\n  openai: {dialect: openai, base_url: SIM/v1}\n"
    async with stack(tmp_path, providers=providers) as proxy:
        await proxy.post("/v1/chat/completions", CHAT, {"authorization": "Bearer sk-callers"})
        (seen,) = proxy.sim.requests
        assert dict(_pairs(seen))[b"authorization"] == b"Bearer sk-callers"


async def test_hop_by_hop_and_own_headers_stay_here(tmp_path: Path) -> None:
    rules = "rules:\n  - {name: x, when: {header.x-team: search}, tag: t, continue: true}\n"
    async with stack(tmp_path, rules) as proxy:
        await proxy.post(
            "/v1/chat/completions",
            CHAT,
            {
                "connection": "keep-alive, x-named",
                "x-named": "1",
                "te": "trailers",
                "proxy-connection": "keep-alive",
                "x-muxproxy-run": "r1",
                "x-max-budget": "$1",
                "x-team": "search",
                "x-kept": "yes",
                "accept-encoding": "br, gzip;q=0.5, zstd",
            },
        )
        (seen,) = proxy.sim.requests
        names = dict(_pairs(seen))
        for gone in (b"x-named", b"te", b"proxy-connection", b"x-muxproxy-run", b"x-max-budget"):
            assert gone not in names
        assert b"x-team" not in names
        assert names[b"x-kept"] == b"yes"
        assert names[b"accept-encoding"] == b"gzip"
        (receipt,) = await proxy.settled(1)
        assert receipt.run == "r1"
        assert receipt.tags == ("t",)


async def test_unknown_paths_pass_through_unread(tmp_path: Path) -> None:
    body = b"--x\r\ncontent-disposition: form-data; name=file\r\n\r\n\x00\x01binary\r\n--x--\r\n"
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(
            "/v1/files", body, {"content-type": "multipart/form-data; boundary=x"}
        )
        assert answer.status == 200
        (seen,) = proxy.sim.requests
        assert seen.body == body
        assert (await proxy.receipt(answer)).endpoint == "other"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", ("error", "code")),
        ("/v1/messages", ("type",)),
        ("/v1beta/models/m:generateContent", ("error", "status")),
    ],
)
async def test_a_body_that_is_no_json_is_a_400_in_the_callers_dialect(
    tmp_path: Path, path: str, shape: tuple[str, ...]
) -> None:
    async with stack(tmp_path) as proxy:
        answer = await proxy.post(path, b'{"model": "gpt-4o", "messages": [}')
        assert answer.status == 400
        found = answer.json()
        for name in shape:
            found = found[name]
        assert answer.headers["x-should-retry"] == "false"
        assert not proxy.sim.requests
        (receipt,) = await proxy.settled(1)
        assert (receipt.end, receipt.code, receipt.cost) == ("refused", "invalid_json", 0)


async def test_rules_route_and_deny(tmp_path: Path) -> None:
    yaml = """
translation: off
models:
  small: [mistral/mistral-small-latest, anthropic/claude-3-5-haiku-latest]
  large: [openai/gpt-4o, anthropic/claude-sonnet-4-5]
rules:
  - {name: code, when: {text: code, any: [{model: auto}, {model: null}]}, to: large}
  - {name: short, when: {prompt_chars: "< 100", tools: false, model: [auto, null]}, to: small}
  - {name: blocked, when: {model: "*-preview"}, deny: "preview models are not allowed here"}
"""
    auto = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    code = {"messages": [{"role": "user", "content": "fix\n```python\ndef f(): pass\n```"}]}
    async with stack(tmp_path, yaml) as proxy:
        short = await proxy.post("/v1/chat/completions", auto)
        assert short.headers["x-muxproxy-rule"] == "short"
        assert short.headers["x-muxproxy-model"] == "mistral-small-latest"
        coded = await proxy.post("/v1/chat/completions", code)
        assert coded.headers["x-muxproxy-model"] == "gpt-4o"
        assert json.loads(proxy.sim.requests[1].body)["model"] == "gpt-4o"
        claude = await proxy.post("/v1/messages", {**auto, "max_tokens": 9})
        assert claude.headers["x-muxproxy-model"] == "claude-3-5-haiku-latest"
        denied = await proxy.post("/v1/chat/completions", {**auto, "model": "x-preview"})
        assert denied.status == 403
        assert "preview models" in denied.json()["error"]["message"]


def _pairs(seen: object) -> list[tuple[bytes, bytes]]:
    return [
        (
            (k if isinstance(k, bytes) else k.encode()).lower(),
            v if isinstance(v, bytes) else v.encode(),
        )
        for k, v in seen.headers  # type: ignore[attr-defined]
    ]
