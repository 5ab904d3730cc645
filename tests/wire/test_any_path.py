"""Paths that muxproxy does not know: passed through as they are, metered where the answer tells."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer, head, read_body, read_head
from tests.stack import stack

PRICES = """
unknown_price: deny
prices:
  openai/gpt-4o-transcribe: {input: $2.50, output: $10, audio_in: $6}
  openai/gpt-image-1: {input: $5, output: $40, image_in: $10}
  openai/dall-e-3: {request: $0.04}
  openai/gpt-4o-mini-tts: {input: $0.60, output: $12}
"""
BUDGET = 'budgets: [{name: b, limit: "$100", window: month}]\n'
BOUNDARY = "a-boundary"


def form(fields: list[tuple[str, str]], file: bytes = b"RIFFdata") -> tuple[bytes, dict[str, str]]:
    """multipart/form-data as SDKs write it: fields, then the file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n".encode()
        + file
        + b"\r\n"
    )
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return body, {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'}


async def upload(port: int, path: str, body: bytes, fields: dict[str, str], size: int) -> Answer:
    """A POST whose body comes in pieces of `size`, the head alone first."""
    async with asyncio.timeout(15):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("POST", path, fields, len(body), "localhost"))
        for at in range(0, len(body), size):
            await asyncio.sleep(0)
            writer.write(body[at : at + size])
            await writer.drain()
        status, found = await read_head(reader)
        content, broken = await read_body(reader, found)
        writer.close()
        return Answer(status, found, content, broken)


TRANSCRIBED = {
    "text": "hello",
    "usage": {
        "type": "tokens",
        "input_tokens": 100,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 90},
        "output_tokens": 20,
        "total_tokens": 120,
    },
}
DRAWN = {
    "created": 1,
    "data": [{"b64_json": "aGk="}],
    "usage": {
        "input_tokens": 60,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 40},
        "output_tokens": 1000,
        "total_tokens": 1060,
    },
}


def served(proxy: Any, answer: object, kind: str = "application/json") -> None:
    """The next call is answered so."""
    body = answer if isinstance(answer, str) else json.dumps(answer)
    proxy.sim.script({"body": body, "headers": {"content-type": kind}})


@pytest.mark.parametrize("size", [10**6, 50, 7])
async def test_a_transcription_is_priced_by_its_usage(tmp_path: Path, size: int) -> None:
    async with stack(tmp_path, PRICES + BUDGET) as proxy:
        body, fields = form([("model", "gpt-4o-transcribe"), ("language", "en")])
        served(proxy, TRANSCRIBED)
        answer = await upload(proxy.port, "/v1/audio/transcriptions", body, fields, size)
        assert answer.json() == TRANSCRIBED
        receipt = await proxy.receipt(answer)
        assert (receipt.endpoint, receipt.model) == ("other", "gpt-4o-transcribe")
        assert receipt.usage is not None and receipt.usage_source == "provider"
        assert (receipt.usage.input, receipt.usage.audio_in, receipt.usage.output) == (100, 90, 20)
        assert receipt.cost == 10 * 2500 + 90 * 6000 + 20 * 10_000
        assert proxy.sim.requests[0].sha256 == hashlib.sha256(body).hexdigest()
        assert proxy.runtime.budgets()[0]["held"] == 0


async def test_an_image_is_priced_by_its_usage(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES + BUDGET) as proxy:
        served(proxy, DRAWN)
        asked = {"model": "gpt-image-1", "prompt": "a cat"}
        answer = await proxy.post("/v1/images/generations", asked)
        receipt = await proxy.receipt(answer)
        assert receipt.cost == 20 * 5000 + 40 * 10_000 + 1000 * 40_000
        assert json.loads(proxy.sim.requests[0].body or b"") == asked


async def test_a_price_per_request(tmp_path: Path) -> None:
    async with stack(tmp_path, PRICES + BUDGET) as proxy:
        served(proxy, {"created": 1, "data": [{"url": "https://x"}]})
        answer = await proxy.post("/v1/images/generations", {"model": "dall-e-3", "prompt": "x"})
        receipt = await proxy.receipt(answer)
        assert (receipt.cost, receipt.usage_source) == (40_000_000, "counted")
        assert proxy.runtime.budgets()[0]["spent"] == pytest.approx(0.04)
        refused = await proxy.post(
            "/v1/images/generations",
            {"model": "dall-e-3", "prompt": "x"},
            {"x-max-budget": "0.03"},
        )
        assert refused.status == 402


async def test_speech_without_usage_is_booked_as_held(tmp_path: Path) -> None:
    audio = bytes(range(256)) * 500
    async with stack(tmp_path, PRICES + BUDGET) as proxy:
        proxy.sim.script({"size": len(audio)})
        asked = {"model": "gpt-4o-mini-tts", "input": "hello", "voice": "alloy"}
        answer = await proxy.post("/v1/audio/speech", asked)
        assert len(answer.body) == len(audio)
        receipt = await proxy.receipt(answer)
        assert receipt.usage_source == "estimated"
        assert receipt.cost == receipt.held and receipt.cost


@pytest.mark.parametrize(("policy", "status"), [("deny", 402), ("allow", 200)])
async def test_what_has_no_price_is_under_unknown_price(
    tmp_path: Path, policy: str, status: int
) -> None:
    yaml = f"unknown_price: {policy}\n{BUDGET}"
    async with stack(tmp_path, yaml) as proxy:
        body, fields = form([("purpose", "batch")])
        answer = await upload(proxy.port, "/v1/files", body, fields, 10**6)
        assert answer.status == status, answer.body
        receipt = await proxy.receipt(answer)
        if status == 402:
            assert receipt.code == "unknown_price" and not proxy.sim.requests
        else:
            assert receipt.cost is None  # unknown is not nothing
            assert proxy.runtime.budgets()[0]["held"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/batches?limit=2"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/models/ft:gpt-4o:x"),
        ("GET", "/v1beta/files"),
        ("GET", "/v1/messages/batches"),
    ],
)
async def test_look_ups_cost_nothing(tmp_path: Path, method: str, path: str) -> None:
    async with stack(tmp_path, "unknown_price: deny\n" + BUDGET) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(head(method, path, None, None, "localhost"))
        status, found = await read_head(reader)
        content, _ = await read_body(reader, found)
        writer.close()
        assert status == 200
        seen = json.loads(content)
        assert (seen["method"], seen["target"]) == (method, path)
        receipt = await proxy.receipt(dict(found)["x-muxproxy-id"])
        assert receipt.cost == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/batches",
        "/v1/fine_tuning/jobs",
        "/v1/assistants",
        "/v1/threads/t/runs/r/submit_tool_outputs",
        "/v1/threads/t/runs",
        "/v1/vector_stores",
        "/v1/moderations",
        "/v1/uploads",
        "/v1/containers",
        "/v1/evals",
        "/v1/realtime/client_secrets",
    ],
)
async def test_any_json_goes_up_as_it_came(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as proxy:
        body = b'{ "a" :1,"model":"m",  "model": "m2", "x":[1.0,1e2] }'
        answer = await proxy.post(path, body)
        seen = answer.json()
        assert seen["target"] == path
        assert seen["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert (await proxy.receipt(answer)).cost is None


async def test_a_large_upload_is_streamed_and_never_collected(tmp_path: Path) -> None:
    """More than server.max_body_bytes' share of memory: the provider has the first bytes long
    before the last ones are sent."""
    async with stack(tmp_path) as proxy:
        body, fields = form([("purpose", "fine-tune")], bytes(6 << 20))
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(head("POST", "/v1/files", fields, len(body), "localhost"))
            writer.write(body[: 1 << 20])
            await proxy.sim.until(lambda sim: len(sim.requests) == 1)
            writer.write(body[1 << 20 :])
            status, found = await read_head(reader)
            content, _ = await read_body(reader, found)
            writer.close()
        assert status == 200
        assert json.loads(content)["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert (await proxy.receipt(dict(found)["x-muxproxy-id"])).bytes_in == len(body)


async def test_binary_comes_down_as_it_is(tmp_path: Path) -> None:
    async with stack(tmp_path) as proxy:
        proxy.sim.script({"size": 3 << 20})
        answer = await proxy.get("/v1/files/file-1/content")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert len(answer.body) == 3 << 20 and not answer.broken


@pytest.mark.parametrize(
    ("fields", "file", "model"),
    [
        ([("model", "gpt-4o-transcribe")], b"x", "gpt-4o-transcribe"),
        ([], b"x", None),
        # What a file holds is no field.
        ([], b'--other\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n', None),
        ([("submodel", "cheap")], b"x", None),
    ],
)
async def test_the_model_of_a_form(
    tmp_path: Path, fields: list[tuple[str, str]], file: bytes, model: str | None
) -> None:
    async with stack(tmp_path) as proxy:
        body, names = form(fields, file)
        answer = await upload(proxy.port, "/v1/audio/transcriptions", body, names, 100)
        assert answer.json()["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert (await proxy.receipt(answer)).model == model


@pytest.mark.parametrize("path", ["/v1/images/generations", "/p/openai/v1/chat/completions"])
async def test_a_keys_models_hold_on_any_path(tmp_path: Path, path: str) -> None:
    yaml = """
auth: {mode: keys}
keys: [{name: app, value: mux-app, models: ["cheap*", "openai/nano"]}]
"""
    async with stack(tmp_path, yaml) as proxy:
        key = {"authorization": "Bearer mux-app"}
        for model, status in (("cheap-1", 200), ("nano", 200), ("dear-1", 403)):
            body = {"model": model, "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
            assert (await proxy.post(path, body, key)).status == status, model


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/claude_code/settings"),
        ("POST", "/api/event_logging/v2/batch"),
        ("GET", "/v1/models/claude-x/anything"),
        ("POST", "/v1/files"),
        ("GET", "/"),
    ],
)
@pytest.mark.parametrize("way", ["host", "/p/NAME"])
async def test_a_chosen_providers_own_paths(
    tmp_path: Path, method: str, path: str, way: str
) -> None:
    """Whatever dialect they look like: agents ask api.anthropic.com for much more than messages."""
    async with stack(tmp_path) as proxy:
        target = f"{proxy.sim.url}{path}" if way == "host" else f"/p/anthropic{path}"
        if way == "host":
            proxy.runtime.snapshot._hosts[("localhost", proxy.sim.port)] = "anthropic"
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        length = 2 if method == "POST" else None
        writer.write(head(method, target, None, length, "localhost") + b"{}"[: length or 0])
        status, found = await read_head(reader)
        writer.close()
        assert status == 200, await reader.read()
        receipt = await proxy.receipt(dict(found)["x-muxproxy-id"])
        assert (receipt.provider, receipt.path) == ("anthropic", path)
        assert proxy.sim.requests[0].target == path


@pytest.mark.parametrize("where", ["beside", "behind the file"])
@pytest.mark.parametrize("size", [10**6, 100, 7])
async def test_a_form_with_two_models_is_refused(tmp_path: Path, where: str, size: int) -> None:
    """Which one the provider takes nobody knows: the cheap one would be a way around a budget."""
    async with stack(tmp_path) as proxy:
        if where == "beside":
            body, names = form([("model", "cheap"), ("model", "dear")])
        else:
            body, names = form([("model", "cheap")], bytes(100_000))
            late = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\ndear'
            end = f"\r\n--{BOUNDARY}--\r\n".encode()
            body = body.replace(end, late.encode() + end)
        answer = await upload(proxy.port, "/v1/audio/transcriptions", body, names, size)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert not any(seen.complete for seen in proxy.sim.requests)


@pytest.mark.parametrize("terms", ["on_exceed: {downgrade: small}", "clamp: true, hold: worst"])
async def test_a_budget_refuses_where_it_cannot_edit(tmp_path: Path, terms: str) -> None:
    """An unread body keeps its model and its length: a cheaper one would be on paper only."""
    yaml = f"""
{PRICES}
models: {{small: [openai/dall-e-3]}}
budgets: [{{name: b, limit: "$0.0009", window: month, {terms}}}]
"""
    async with stack(tmp_path, yaml) as proxy:
        asked = {"model": "gpt-image-1", "prompt": "a cat"}
        answer = await proxy.post("/v1/images/generations", asked)
        assert (answer.status, answer.json()["error"]["code"]) == (402, "budget_exceeded")
        assert not proxy.sim.requests
        assert (await proxy.receipt(answer)).model == "gpt-image-1"


async def test_a_look_up_is_no_second_bill(tmp_path: Path) -> None:
    """A stored answer tells its usage whenever it is asked for; polling must not add it up."""
    async with stack(tmp_path, PRICES + BUDGET) as proxy:
        for _ in range(3):
            served(proxy, {"id": "resp_1", "model": "gpt-image-1", "usage": DRAWN["usage"]})
            answer = await proxy.get("/v1/responses/resp_1")
            receipt = await proxy.receipt(answer)
            assert (receipt.cost, receipt.usage) == (0, None)
        assert proxy.runtime.budgets()[0]["spent"] == 0


async def test_embeddings_that_tell_no_usage_cost_their_input(tmp_path: Path) -> None:
    yaml = 'prices: {"google/gemini-embedding-001": {input: $0.15, output: 0}}\n'
    async with stack(tmp_path, yaml) as proxy:
        body = {"content": {"parts": [{"text": "some words to embed " * 20}]}}
        answer = await proxy.post("/v1beta/models/gemini-embedding-001:embedContent", body)
        assert answer.status == 200
        receipt = await proxy.receipt(answer)
        assert receipt.usage is not None and receipt.usage.input > 50
        assert receipt.usage_source == "estimated" and receipt.cost
        wrong = await proxy.post(
            "/v1beta/models/gemini-embedding-001:embedContent", body, {"x-sim-status": "500"}
        )
        assert (await proxy.receipt(wrong)).cost == 0
