"""Recorded requests: read and written back in their own dialect nothing of what is mapped is lost;
translated, they say what other clients said for the same logical request (PAIRS.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import request as anthropic_request
from muxproxy.dialects.gemini import request as gemini_request
from muxproxy.dialects.openai import request as openai_request
from muxproxy.dialects.quirks import Quirks
from muxproxy.dialects.responses import request as responses_request
from muxproxy.errors import MuxError
from tests.wire_corpus import WIRE, Exchange, exchanges, needs_wire

pytestmark = needs_wire

DIALECTS: dict[str, Any] = {
    "openai.chat": openai_request,
    "anthropic.messages": anthropic_request,
    "gemini.generateContent": gemini_request,
    "gemini.streamGenerateContent": gemini_request,
    "openai.responses": responses_request,
}
# Recorded refusals: the provider answered these with 400 for what the reader refuses too.
REFUSED = {
    "anthropic-anthropic_messages-492e43c01651",
    "vertex-gemini_generateContent-bc067886fd34",  # role "foo"
}


_IN_PATH = re.compile(r"/models/([^:/]+)")


# Its parts carry break-points for a cache that the Responses API does not have.
CACHED = "openrouter-openai_responses-2d5f7b605ffb"


def recorded() -> Iterator[Exchange]:
    for exchange in exchanges():
        if exchange.dialect in DIALECTS and isinstance(exchange.request["body"], dict):
            yield exchange


def read(exchange: Exchange) -> n.Request:
    body = json.dumps(exchange.request["body"]).encode()
    model = _IN_PATH.search(exchange.raw["path"]) if exchange.dialect.startswith("gem") else None
    request: n.Request = DIALECTS[exchange.dialect].read(body, model and model[1])
    return request


def test_every_recorded_request_is_read() -> None:
    refused = set()
    for exchange in recorded():
        try:
            read(exchange)
        except MuxError as error:
            if error.code == "unsupported_translation":  # state that one provider keeps
                assert error.details["fields"], exchange.id
                continue
            assert error.code == "invalid_request", exchange.id
            refused.add(exchange.id)
    assert refused == REFUSED


def told(request: n.Request) -> dict[str, Any]:
    """A request as plain values, without what only describes the reading of it."""
    plain: dict[str, Any] = msgspec.to_builtins(request)
    for name in ("named", "dropped", "stream_usage"):
        del plain[name]
    return plain


def joined(plain: dict[str, Any]) -> dict[str, Any]:
    """As Anthropic's rules leave it: consecutive turns joined, results first, nothing blank,
    system prompts at the front; what means the same said in one way."""
    turns: list[dict[str, Any]] = []
    system = [part["text"] for part in plain["system"] if part["text"].strip()]
    for turn in plain["turns"]:
        parts = [_kept(p) for p in turn["parts"] if not _blank(p) and _carried(p)]
        if turn["role"] == "system":
            system += [part["text"] for part in parts]
        elif turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({**turn, "parts": parts})
    for turn in turns:
        turn["parts"].sort(key=lambda part: "error" not in part)  # results first
    plain = {**plain, "turns": turns, "system": system}
    if plain["tool_choice"] == {"mode": "auto", "tool": None, "allowed": None}:
        plain["tool_choice"] = None
    reasoning = plain["reasoning"]
    if reasoning and (reasoning["effort"] == "none" or reasoning["budget"] == 0):
        plain["reasoning"] = None
    elif reasoning and reasoning["effort"]:
        reasoning["adaptive"] = False
    for tool in plain["tools"]:
        tool["strict"] = tool["strict"] or None
    if plain["n"] == 1:
        plain["n"] = None
    if plain["parallel"]:
        plain["parallel"] = None
    if plain["temperature"] == 1:
        plain["temperature"] = None
    if plain["format"]:
        plain["format"]["name"] = plain["format"]["name"] or "answer"
    return plain


def _carried(part: dict[str, Any]) -> bool:
    """Files that a provider keeps are nobody else's; URLs of files few take."""
    return "kind" not in part or bool(
        part["data"] or part["text"] or (part["url"] and part["kind"] == "image")
    )


def _kept(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("detail") == "auto":
        part = {**part, "detail": None}
    if "error" not in part:
        return part
    return {**part, "parts": [inner for inner in part["parts"] if _carried(inner)]}


def _blank(part: dict[str, Any]) -> bool:
    text = part.get("text")
    return text is not None and not text.strip() and not part.get("sealed")


# A provider that takes all that this dialect can say.
EVERYTHING = Quirks(
    google=True,
    prefix=True,
    top_k=True,
    effort="reasoning",
    thoughts="reasoning_details",
    cache_control=True,
    lists=True,
)


def write(dialect: Any, request: n.Request) -> dict[str, Any]:
    if dialect is openai_request:
        return openai_request.write(request, EVERYTHING)
    body: dict[str, Any] = dialect.write(request)
    return body


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_reading_what_was_written_gives_the_same_request(dialect: str) -> None:
    """A -> neutral -> A -> neutral."""
    own = DIALECTS[dialect]
    faults = {}
    for exchange in recorded():
        if exchange.dialect != dialect or exchange.status >= 400 or kept_there(exchange):
            continue
        if exchange.id == CACHED:
            continue
        before = read(exchange)
        wanted = joined(told(before))
        after = own.read(msgspec.json.encode(write(own, before)), before.model)
        got = joined(told(after))
        lost = {name.partition(".")[0] for name in before.dropped}
        if lost & {"input", "contents"} or _long_ids(before):
            lost.add("turns")
        differing = {
            key: (wanted[key], got[key])
            for key in wanted
            if wanted[key] != got[key] and key not in lost
        }
        if differing:
            faults[exchange.id] = differing
    assert faults == {}


def kept_there(exchange: Exchange) -> bool:
    """It builds on what one provider keeps."""
    body = exchange.request["body"]
    return bool(body.get("previous_response_id") or body.get("conversation"))


def _long_ids(request: n.Request) -> bool:
    """Some relays' ids are longer than OpenAI takes: they are replaced, call and result alike."""
    parts = [part for turn in request.turns for part in turn.parts]
    return any(len(part.id) > 40 for part in parts if isinstance(part, n.Call | n.Result))


def shape(body: dict[str, Any]) -> dict[str, Any]:
    """What two clients' requests for the same thing have in common, in Anthropic's words."""
    system = body.get("system") or ""
    if isinstance(system, list):
        system = "".join(block["text"] for block in system)
    users = []
    roles = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        kinds = {block["type"] for block in blocks}
        roles.append((message["role"], "tool_result" in kinds, "tool_use" in kinds))
        if message["role"] == "user":
            users += [block["text"] for block in blocks if block["type"] == "text"]
    tools = {
        tool["name"]: (
            tool.get("description"),
            sorted(tool["input_schema"].get("properties") or {}),
            sorted(tool["input_schema"].get("required") or ()),
        )
        for tool in body.get("tools") or ()
    }
    return {"system": system, "users": users, "roles": roles, "tools": tools}


# Here the client itself told a tool's document in messages of its own for one of the providers.
UNLIKE = frozenset(
    {
        "pydantic-ai/test_multimodal_tool_returns/test_multimodal_tool_return_matrix"
        "/tool_return_content-url-document*#1"
    }
)


def pairs() -> Iterator[tuple[str, Exchange, Exchange]]:
    assert WIRE is not None
    known = {exchange.id: exchange for exchange in exchanges()}
    scenarios = json.loads((WIRE / "PAIRS.json").read_bytes())
    for name, members in scenarios.items():
        if name in UNLIKE:
            continue
        found = [known[i] for i in members.values() if i in known]
        found = [e for e in found if isinstance(e.request["body"], dict)]
        for ours in found:
            for theirs in found:
                if (ours.dialect, theirs.dialect) == ("openai.chat", "anthropic.messages"):
                    yield name, ours, theirs


def test_the_same_request_in_both_dialects_translates_to_the_same() -> None:
    faults = []
    assert len(list(pairs())) > 100
    for name, ours, theirs in pairs():
        a = shape(anthropic_request.write(read(ours)))
        b = shape(anthropic_request.write(read(theirs)))
        c = shape(anthropic_request.write(_through_openai(theirs)))
        for key in a:
            if a[key] != b[key]:
                faults.append((name, ours.id, theirs.id, key, a[key], b[key]))
            if c[key] != b[key]:
                faults.append((name, "back", theirs.id, key, c[key], b[key]))
    assert faults == []


def _through_openai(exchange: Exchange) -> n.Request:
    body = msgspec.json.encode(openai_request.write(read(exchange)))
    request: n.Request = openai_request.read(body)
    return request
