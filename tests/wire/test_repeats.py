"""Calls whose heads repeat on one connection: what is remembered of a head ends when it must."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests import http_client as http
from tests.stack import ID, Stack, stack

PATH = "/v1/chat/completions"
YAML = """
auth: {mode: keys}
keys:
  - {name: alice, value: mux-alice}
  - {name: bob, value: mux-bob}
rules:
  - {name: team, when: {header.x-team: search}, tag: search, continue: true}
"""


def ask(text: str, model: str = "openai/gpt-4o") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()


class Line:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, key: str, body: bytes, **more: str) -> tuple[int, dict[str, str], Any]:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **more}
        head = http.head("POST", PATH, headers, len(body), "127.0.0.1")
        self._writer.write(head + body)
        status, pairs = await http.read_head(self._reader)
        answer, broken = await http.read_body(self._reader, pairs)
        assert not broken
        return status, dict(pairs), json.loads(answer)


@asynccontextmanager
async def line(proxy: Stack) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def test_each_call_is_its_own_callers_and_goes_up_whole(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy, line(proxy) as one:
        bodies = [ask("x" * size) for size in (5, 5, 500, 5, 50)]
        keys = ["mux-alice", "mux-alice", "mux-alice", "mux-bob", "mux-bob"]
        for key, body in zip(keys, bodies, strict=True):
            status, headers, _ = await one.post(key, body)
            assert status == 200
            receipt = await proxy.receipt(headers[ID])
            assert f"mux-{receipt.caller}" == key
            seen = proxy.sim.requests[-1]
            assert seen.body == body.replace(b"openai/", b"")
            assert seen.get("content-length") == str(len(seen.body))
            assert seen.get("authorization") == "Bearer sk-openai"


async def test_another_model_goes_to_another_provider_by_its_own_path_and_key(
    tmp_path: Path,
) -> None:
    async with stack(tmp_path, YAML) as proxy, line(proxy) as one:
        for model, key in (
            ("openai/gpt-4o", "sk-openai"),
            ("mistral/mistral-small-latest", "sk-mistral"),
            ("openai/gpt-4o", "sk-openai"),
        ):
            status, headers, _ = await one.post("mux-alice", ask("hi", model))
            assert (status, headers["x-muxproxy-provider"]) == (200, model.partition("/")[0])
            assert proxy.sim.requests[-1].get("authorization") == f"Bearer {key}"


async def test_a_header_that_rules_read_counts_for_its_own_call(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy, line(proxy) as one:
        tags = []
        for more in ({}, {"x-team": "search"}, {"x-team": "search"}, {}):
            _, headers, _ = await one.post("mux-alice", ask("hi"), **more)
            tags.append((await proxy.receipt(headers[ID])).tags)
        assert tags == [(), ("search",), ("search",), ()]


async def test_a_reload_counts_for_the_next_call_of_an_open_connection(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML) as proxy, line(proxy) as one:
        for _ in range(2):
            status, _, _ = await one.post("mux-bob", ask("hi"))
            assert status == 200
        path = tmp_path / "muxproxy.yaml"
        text = path.read_text()
        path.write_text(text.replace("sk-openai", "sk-new").replace("x-team", "x-other"))
        await proxy.runtime.reload()
        status, _, _ = await one.post("mux-bob", ask("hi"))
        assert status == 200
        assert proxy.sim.requests[-1].get("authorization") == "Bearer sk-new"
        path.write_text(text.replace("mux-bob", "mux-bert"))
        await proxy.runtime.reload()
        status, _, answer = await one.post("mux-bob", ask("hi"))
        assert (status, answer["error"]["code"]) == (401, "unauthorized")
        status, _, _ = await one.post("mux-alice", ask("hi"))
        assert status == 200
