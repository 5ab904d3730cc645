"""Every recorded exchange through the whole proxy over sockets: bytes up, bytes down, the books.

Read where it lies (tests/wire_corpus.py). Nothing here uses the product's own readers: what must
go up is judged from the recorded JSON, what must come down from the recorded bytes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import uvloop

from muxproxy.exchange import Receipt
from muxproxy.sim.record import Recorded
from tests.http_client import Answer, head, read_body, read_head
from tests.stack import ID, Stack, stack
from tests.tap.test_corpus import HIDDEN_THOUGHTS
from tests.wire_corpus import WIRE, Exchange, exchanges, needs_wire

pytestmark = needs_wire

CONNECTIONS = 6

# Names that no recorded model begins with, or `name/model` would choose the provider.
PROVIDERS = """
  wire-openai: {dialect: openai,    base_url: "SIM/v1", usage_injection: on}
  wire-claude: {dialect: anthropic, base_url: "SIM"}
  wire-gemini: {dialect: gemini,    base_url: "SIM"}
"""

# What an SDK of the dialect calls, whatever path the recorded relay had.
NATIVE = {
    "openai.chat": "/v1/chat/completions",
    "openai.completions": "/v1/completions",
    "openai.embeddings": "/v1/embeddings",
    "openai.responses": "/v1/responses",
    "openai.input_tokens": "/v1/responses/input_tokens",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
}
CHAT_BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me a story"}]}
MINIMAL: dict[str, dict[str, Any]] = {
    "openai.completions": {"prompt": "Tell me a story"},
    "openai.embeddings": {"input": "a story"},
    "openai.responses": {"input": "Tell me a story"},
    "anthropic.messages": {"max_tokens": 4096, **CHAT_BODY},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Tell me a story"}]}]},
    "gemini.interactions": {"input": "Tell me a story"},
}
WITHOUT_MODEL = ("gemini.generateContent", "gemini.streamGenerateContent", "bedrock")
# Written anew for every hop, or narrowed on purpose (DESIGN section 8).
OF_THE_HOP = {"accept-encoding", "content-length", "connection", "host"}


@dataclass
class Replayed:
    """One exchange as it went: what was sent, what the provider got, what came back."""

    exchange: Exchange
    target: str
    sent: bytes
    answer: Answer
    seen: Recorded
    receipt: Receipt

    @property
    def asked_for_usage(self) -> bool:
        """Whether muxproxy was to ask for the usage chunk: the caller streams and did not say."""
        if not self.target.partition("?")[0].endswith("/completions"):
            return False
        body = json.loads(self.sent)
        options = body.get("stream_options") or {}
        return body.get("stream") is True and options.get("include_usage") is None


def caller_targets(exchange: Exchange) -> Iterator[str]:
    """Where a client of this dialect would send it, and where the recorded relay had it.

    A dialect or path that is none of ours goes to /p/NAME.
    """
    path = quote(unquote(exchange.raw["path"]), safe="/:@")
    query = exchange.raw["query"]
    recorded = f"{path}?{query}" if query else path
    vertex = "/publishers/" in path
    gemini = exchange.dialect.startswith("gemini.")
    native = recorded if gemini and path.startswith("/v1beta/models/") else None
    if exchange.dialect in NATIVE and not vertex:
        native = NATIVE[exchange.dialect] + ("?beta=true" if query == "beta=true" else "")
    if native is not None:
        yield native
    if native is None or path != native.partition("?")[0]:
        yield f"/p/{'wire-gemini' if vertex or gemini else 'wire-openai'}{recorded}"


def request_body(exchange: Exchange) -> dict[str, Any]:
    """As recorded; where that is missing the least that is valid, streaming as the answer did."""
    recorded = exchange.request["body"]
    if recorded is not None:
        assert isinstance(recorded, dict)
        return recorded
    dialect = exchange.dialect
    family = "gemini" if dialect.startswith("gemini.") else dialect
    body = {**MINIMAL.get(dialect, MINIMAL.get(family, CHAT_BODY))}
    if not dialect.startswith(WITHOUT_MODEL):
        body["model"] = exchange.expected["model"] or "some-model"
        if exchange.stream:
            body["stream"] = True
    if "usage_in_empty_choices_chunk" in exchange.tags:
        body["stream_options"] = {"include_usage": True}
    return body


def serialise(body: dict[str, Any], style: int) -> bytes:
    """As httpx does (most SDKs), as `requests` does, and as a person with an editor does."""
    if style == 0:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    elif style == 1:
        text = json.dumps(body)
    else:
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate stays an escape
        return json.dumps(body).encode()


def request_headers(exchange: Exchange) -> dict[str, str]:
    """As recorded, with a key of the caller's."""
    sent = {k.lower(): v for k, v in (exchange.request["headers"] or {}).items()}
    sent.setdefault("content-type", "application/json")
    return {**sent, "authorization": "Bearer callers", "x-sim-recording": exchange.id}


Todo = Iterator[tuple[int, tuple[Exchange, str]]]


async def replay(proxy: Stack, todo: Todo, done: list[Any]) -> None:
    """One client connection, kept alive, until nothing is left to do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 20)
    try:
        for number, (exchange, target) in todo:
            sent = serialise(request_body(exchange), number % 3)
            fields = {**request_headers(exchange), "x-replay": target}
            writer.write(head("POST", target, fields, len(sent), "127.0.0.1") + sent)
            status, headers = await read_head(reader)
            body, broken = await read_body(reader, headers)
            done.append((exchange, target, sent, Answer(status, headers, body, broken)))
    finally:
        writer.close()


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> list[Replayed]:
    """The whole corpus, replayed once; each test looks at one side of it."""
    return uvloop.run(_replay_all(tmp_path_factory.mktemp("corpus")))


async def _replay_all(folder: Path) -> list[Replayed]:
    done: list[tuple[Exchange, str, bytes, Answer]] = []
    async with stack(folder, providers=PROVIDERS, recordings=WIRE) as proxy:
        wanted = [(exchange, path) for exchange in exchanges() for path in caller_targets(exchange)]
        todo = iter(enumerate(wanted))
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(replay(proxy, todo, done))
        receipts = {format(r.id, "016x"): r for r in await proxy.settled(len(done))}
        requests = proxy.sim.requests
        seen = {(r.get("x-sim-recording"), r.get("x-replay")): r for r in requests}
        assert len(seen) == len(requests) == len(done)
        assert proxy.sim.faults == []
        return [
            Replayed(*one, seen[one[0].id, one[1]], receipts[one[3].headers[ID]]) for one in done
        ]


def faults(judge: Callable[[Replayed], list[str]], replayed: list[Replayed]) -> dict[Any, Any]:
    """The exchanges that `judge` finds fault with."""
    found = {(one.exchange.id, one.target): judge(one) for one in replayed}
    return {name: fault for name, fault in found.items() if fault}


def test_the_whole_corpus_went_through(replayed: list[Replayed]) -> None:
    assert {one.exchange.id for one in replayed} == {exchange.id for exchange in exchanges()}
    assert len(replayed) > len(exchanges()) > 1500


def up(one: Replayed) -> list[str]:
    """Faults of the request as the provider got it."""
    body = one.seen.body
    assert body is not None
    if one.asked_for_usage:
        found = _usage_wish(one.sent, body)
        edits: tuple[str, ...] = ("stream_options.include_usage",)
    else:
        found = [] if body == one.sent else [f"{one.sent[:200]!r} went up as {body[:200]!r}"]
        edits = ()
    if one.receipt.edits != edits:
        found.append(f"edits {one.receipt.edits}")
    if unquote(one.seen.target) != upstream_target(one):
        found.append(f"{one.target} went up as {one.seen.target}")
    for name, value in request_headers(one.exchange).items():
        if name not in OF_THE_HOP and one.seen.get(name) != value:
            found.append(f"{name}: {value} went up as {one.seen.get(name)}")
    return found


def upstream_target(one: Replayed) -> str:
    """The path without /p/NAME; base URLs spelled /openai/v1 or without /v1 mean the provider's."""
    target = unquote(re.sub("^/p/[^/]+", "", one.target)).replace("//", "/")
    path, mark, query = target.partition("?")
    native = NATIVE.get(one.exchange.dialect, "").removeprefix("/v1")
    if one.exchange.dialect.startswith("openai.") and path in (native, f"/openai/v1{native}"):
        return f"/v1{native}{mark}{query}"
    return target


def _usage_wish(sent: bytes, got: bytes) -> list[str]:
    """The wish is one insertion into the caller's bytes, and means what it should."""
    wanted = json.loads(sent)
    wanted["stream_options"] = {**(wanted.get("stream_options") or {}), "include_usage": True}
    found = [] if json.loads(got) == wanted else ["another body than the wish makes"]
    same = next((i for i, (a, b) in enumerate(zip(sent, got, strict=False)) if a != b), len(sent))
    if not got.endswith(sent[same:]) or len(got) - len(sent) > 60:
        found.append(f"more than one insertion: {got[:200]!r}")
    return found


def test_requests_go_up_byte_for_byte(replayed: list[Replayed]) -> None:
    assert faults(up, replayed) == {}
    assert sum(one.asked_for_usage for one in replayed) > 20
    assert sum(not one.asked_for_usage for one in replayed) > 1400


def without_wished_chunk(body: bytes) -> bytes:
    """`body` without the one event that has usage and no choices."""
    kept = []
    for event in body.replace(b"\r\n\r\n", b"\r\n\r\n\0").replace(b"\n\n", b"\n\n\0").split(b"\0"):
        text = event.strip().removeprefix(b"data:").strip()
        chunk = json.loads(text) if text.startswith(b"{") else {}
        if chunk.get("choices") != [] or not isinstance(chunk.get("usage"), dict):
            kept.append(event)
    return b"".join(kept)


def down(one: Replayed) -> list[str]:
    """Faults of the answer as the caller got it."""
    exchange, answer = one.exchange, one.answer
    wanted = exchange.body
    events = "text/event-stream" in (exchange.content_type or b"").decode()
    if one.asked_for_usage and events:
        wanted = without_wished_chunk(wanted)
    found = []
    if answer.status != exchange.status:
        found.append(f"status {answer.status}: {answer.body[:300]!r}")
    elif answer.body != wanted or answer.broken:
        found.append(f"{len(answer.body)} bytes of {len(wanted)}, broken: {answer.broken}")
    if (exchange.content_type or b"").decode() != answer.headers.get("content-type", ""):
        found.append(f"content-type {answer.headers.get('content-type')}")
    for name, value in exchange.raw["response"]["headers"].items():
        if not name.lower().startswith(("content-", "transfer-", "connection", "keep-alive")):
            got = answer.headers.get(name.lower())
            if got is None or got.encode("latin-1") != value.encode():
                found.append(f"{name}: {value} came as {got}")
    return found


def test_answers_come_back_byte_for_byte(replayed: list[Replayed]) -> None:
    assert faults(down, replayed) == {}


def test_the_usage_chunk_is_taken_out_only_where_we_asked(replayed: list[Replayed]) -> None:
    shorter = [one for one in replayed if len(one.answer.body) < len(one.exchange.body)]
    assert all(one.asked_for_usage for one in shorter)
    kept = [one for one in replayed if "usage_in_empty_choices_chunk" in one.exchange.tags]
    assert sum(one.answer.body == one.exchange.body for one in kept) > 50


def usage(one: Replayed) -> list[str]:
    """Faults of the books."""
    want, receipt = one.exchange.expected, one.receipt
    got = receipt.usage
    if want["input_total"] is None and want["output_total"] is None:
        if receipt.usage_source == "provider" and got and (got.input_total or got.output_total):
            return [f"usage {got} where none was told"]
        return []
    if got is None or receipt.usage_source != "provider":
        return [f"{receipt.usage_source} usage {got}"]
    hidden = HIDDEN_THOUGHTS.get(one.exchange.id, 0)
    short, long = got.cache_write_5m, got.cache_write_1h
    pairs = {
        "input_total": (got.input_total, want["input_total"]),
        "output_total": (got.output_total - hidden, want["output_total"]),
        "cache_read": (got.cache_read, want["cache_read_tokens"]),
        "cache_write": ((short or 0) + (long or 0), want["cache_write_tokens"]),
    }
    if want["reasoning_tokens"] is not None:  # absent for Cohere, which does report it
        pairs["reasoning"] = (got.reasoning, want["reasoning_tokens"])
    return [f"{k}: {a} for {b}" for k, (a, b) in pairs.items() if (a or 0) != (b or 0)]


def test_the_books_say_what_an_independent_reader_says(replayed: list[Replayed]) -> None:
    judged = [one for one in replayed if not one.exchange.ambiguous]
    assert faults(usage, judged) == {}
    told = [one for one in judged if one.exchange.expected["output_total"] is not None]
    assert len(told) > 1300


def ending(one: Replayed) -> list[str]:
    exchange, receipt = one.exchange, one.receipt
    failed = exchange.status >= 400 or exchange.expected["error"] is not None
    found = []
    if receipt.end != ("error" if failed else "finished"):
        found.append(f"ended {receipt.end}, code {receipt.code}")
    if (receipt.status, receipt.attempts) != (exchange.status, 1):
        found.append(f"status {receipt.status} after {receipt.attempts}")
    if receipt.bytes_in != len(one.sent) or receipt.bytes_out != len(one.answer.body):
        found.append(f"{receipt.bytes_in} bytes in, {receipt.bytes_out} out")
    return found


def test_every_call_is_settled_once_and_ended_as_it_did(replayed: list[Replayed]) -> None:
    assert faults(ending, replayed) == {}
    assert len({one.receipt.id for one in replayed}) == len(replayed)


def test_what_generated_without_telling_is_counted(replayed: list[Replayed]) -> None:
    silent = [
        one
        for one in replayed
        if one.exchange.dialect == "openai.chat"
        and one.exchange.status == 200
        and one.exchange.expected["output_total"] is None
        and one.exchange.expected["text"]
    ]
    for one in silent:
        assert one.receipt.usage_source in ("counted", "estimated"), one.exchange.id
        assert one.receipt.usage is not None
        assert one.receipt.usage.output_total > 0, one.exchange.id
    assert silent
