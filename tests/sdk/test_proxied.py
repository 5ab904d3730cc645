"""Programs that know nothing of muxproxy: default base URLs, proxy and trust variables alone.

The providers' real names lead to a simulated provider that speaks TLS (`connect_to`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import requests
import uvloop
from google import genai

from muxproxy.ca.authority import load
from muxproxy.ca.trust import export
from muxproxy.ca.variables import proxy_variables, trust_variables
from muxproxy.exchange import Receipt
from tests.sdk.support import MESSAGES
from tests.wire.opened import Opened, opened

ROOT = Path(__file__).parents[2]
HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
PROVIDERS = """
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1
    connect_to: 127.0.0.1:PORT
    ca: CA
  anthropic:
    dialect: anthropic
    base_url: https://api.anthropic.com
    connect_to: 127.0.0.1:PORT
    ca: CA
  google:
    dialect: gemini
    base_url: https://generativelanguage.googleapis.com
    connect_to: 127.0.0.1:PORT
    ca: CA
"""
URL = "https://api.openai.com/v1/chat/completions"
CHAT = {"model": "gpt-4o-mini", "messages": MESSAGES}
BEARER = {"authorization": "Bearer sk-mine", "content-type": "application/json"}


class Proxied:
    """The pair on another thread's loop, and the variables that lead to it."""

    def __init__(self, found: Opened, loop: asyncio.AbstractEventLoop) -> None:
        self._found = found
        self._loop = loop
        authority = load(found.folder)
        assert authority is not None
        export(found.folder, authority, {})
        self.variables = trust_variables(found.folder) | proxy_variables(
            f"http://127.0.0.1:{found.port}"
        )

    def receipts(self) -> list[Receipt]:
        """All there are once nothing is in flight, oldest first."""
        work = self._found.proxy.settled(0)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(15)

    def wait(self, count: int) -> list[Receipt]:
        """All, once there are `count`."""
        work = self._found.proxy.settled(count)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(15)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    ready: list[Proxied] = []
    started, over = threading.Event(), threading.Event()
    loop = uvloop.new_event_loop()
    stop: asyncio.Event = asyncio.Event()

    async def serve() -> None:
        folder = tmp_path_factory.mktemp("proxied")
        async with opened(folder, providers=PROVIDERS, names=list(HOSTS), hosts=HOSTS) as found:
            ready.append(Proxied(found, loop))
            started.set()
            await stop.wait()
            over.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(15)
    yield ready[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(15)
    loop.close()


@pytest.fixture
def proxied(running: Proxied, monkeypatch: pytest.MonkeyPatch) -> Proxied:
    """With the variables set, as `eval "$(muxproxy ca --env --proxy)"` does."""
    for name, value in running.variables.items():
        monkeypatch.setenv(name, value)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-mine")
    return running


def by_openai() -> str:
    with openai.OpenAI(max_retries=0) as client:
        chat = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    return chat.choices[0].message.content or ""


def by_openai_stream() -> str:
    async def work() -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    return asyncio.run(work())


def by_responses() -> str:
    with openai.OpenAI(max_retries=0) as client:
        return client.responses.create(model="gpt-4o-mini", input="hello").output_text


def by_anthropic() -> str:
    with (
        anthropic.Anthropic(max_retries=0) as client,
        client.messages.stream(model="claude-x", max_tokens=50, messages=MESSAGES) as stream,
    ):
        return "".join(stream.text_stream)


def by_genai() -> str:
    with genai.Client() as client:
        found = client.models.generate_content(model="gemini-2.5-flash", contents="hello")
    return found.text or ""


def python(script: str) -> str:
    """In a process of its own: aiohttp reads what it trusts when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_genai_async() -> str:
    return python(
        """
import asyncio
from google import genai

async def work():
    async with genai.Client().aio as client:
        print((await client.models.generate_content(model="gemini-2.5-flash", contents="hi")).text)

asyncio.run(work())
"""
    )


def content(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def by_requests() -> str:
    return content(requests.post(URL, json=CHAT, headers=BEARER, timeout=15).json())


def by_httpx() -> str:
    with httpx.Client() as client:
        return content(client.post(URL, json=CHAT, headers=BEARER).json())


def by_aiohttp() -> str:
    return python(
        f"""
import aiohttp, asyncio

async def work():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.post({URL!r}, json={CHAT!r}, headers={BEARER!r}) as answer:
            print((await answer.json())["choices"][0]["message"]["content"])

asyncio.run(work())
"""
    )


def by_urllib() -> str:
    request = urllib.request.Request(URL, json.dumps(CHAT).encode(), BEARER)
    with urllib.request.build_opener().open(request, timeout=15) as answer:
        return content(json.load(answer))


def curl(*options: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    fields = [f"-H{name}: {value}" for name, value in BEARER.items()]
    command = [program, "-sS", "--fail", *options, *fields, "-d", json.dumps(CHAT), URL]
    done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return content(json.loads(done.stdout))


def by_curl() -> str:
    return curl("--http1.1")


def by_curl_http2() -> str:
    return curl("--http2")


PROGRAMS = [
    (by_openai, "openai"),
    (by_openai_stream, "openai"),
    (by_responses, "openai"),
    (by_anthropic, "anthropic"),
    (by_genai, "google"),
    (by_genai_async, "google"),
    (by_requests, "openai"),
    (by_httpx, "openai"),
    (by_aiohttp, "openai"),
    (by_urllib, "openai"),
    (by_curl, "openai"),
    (by_curl_http2, "openai"),
]


@pytest.mark.filterwarnings("ignore:.*ssl_context.*:DeprecationWarning")
@pytest.mark.parametrize(("program", "provider"), PROGRAMS, ids=lambda x: getattr(x, "__name__", x))
def test_a_program_is_metered_by_variables_alone(
    proxied: Proxied, program: Callable[[], str], provider: str
) -> None:
    before = len(proxied.receipts())
    assert program()
    receipts = proxied.wait(before + 1)
    assert len(receipts) == before + 1
    receipt = receipts[-1]
    assert (receipt.provider, receipt.end, receipt.status) == (provider, "finished", 200)
    assert receipt.usage is not None and receipt.usage_source == "provider"


NODE = ROOT / "tests" / "sdk" / "node"


@pytest.mark.parametrize("script", ["openai", "anthropic", "fetch"])
def test_a_node_program_is_metered(proxied: Proxied, script: str) -> None:
    """Opt-in: scripts/node-clients installs what it needs."""
    program = shutil.which("node")
    if program is None or not (NODE / "node_modules").is_dir():
        pytest.skip("no tests/sdk/node/node_modules: run scripts/node-clients")
    before = len(proxied.receipts())
    done = subprocess.run(
        [program, str(NODE / "proxied.mjs"), script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    receipt = proxied.wait(before + 1)[-1]
    assert (receipt.end, receipt.usage_source) == ("finished", "provider")
    assert receipt.provider == ("anthropic" if script == "anthropic" else "openai")
