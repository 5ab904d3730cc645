"""No key and no prompt reaches a log, a metric, the control plane or the ledger's file."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy import logs
from tests.stack import Stack, stack

PROVIDER_KEY = "sk-provider-4f1d9c"
CALLER_KEY = "mux-caller-77aa21"
STRANGER_KEY = "mux-stranger-90bb13"
PASSED_KEY = "sk-passed-through-5e55"
SET_HEADER = "set-header-secret-31c7"
RULE_HEADER = "header-of-a-rule-8d02"
PROMPT = "the-prompt-marker-c0ffee"
ANSWER = "the-answer-marker-decade"
SECRETS = (
    PROVIDER_KEY, CALLER_KEY, STRANGER_KEY, PASSED_KEY, SET_HEADER, RULE_HEADER, PROMPT, ANSWER,
)  # fmt: skip

PROVIDERS = """
  openai:    {dialect: openai, base_url: "SIM/v1", api_key: "${KEY}", headers: {x-gate: "${GATE}"}}
  anthropic: {dialect: anthropic, base_url: "SIM", api_key: "${KEY}"}
  bare:      {dialect: openai, base_url: "SIM/v1"}
"""
YAML = """
log: {level: debug, exchanges: all, format: json}
auth: {mode: keys, user_header: x-user}
keys: [{name: app, value: "${CALLER}"}]
rules:
  - {name: private, when: {header.x-team: "header-of-a-rule*"}, tag: private, continue: true}
  - {name: words, when: {text: zebra, model: denied}, deny: "not here"}
  - {name: pattern, when: {all_text: "/the-.*ra/"}, tag: seen, continue: true}
budgets: [{name: tiny, limit: $0.0001, when: {model: "gpt-4o-pricy"}}]
prices: {"openai/gpt-4o-pricy": {input: 1000, output: 1000}}
"""
CONTROL = ("/metrics", "/providers", "/ready", "/v1/analytics/budgets", "/v1/models")
ENV = {"KEY": PROVIDER_KEY, "CALLER": CALLER_KEY, "GATE": SET_HEADER}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the product logs at its lowest level, in the format for machines."""
    logger = logs.logger()
    before = (logger.handlers[:], logger.level, logger.propagate)
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logs.JsonFormatter())
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    yield text
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


async def traffic(pair: Stack) -> int:
    """Calls that end in every way; how many receipts they leave."""
    ours = {"authorization": f"Bearer {CALLER_KEY}", "x-team": RULE_HEADER, "x-user": "ann"}
    ask = {
        "model": "gpt-4o",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": f"{PROMPT} zebra"}],
    }
    say = {"x-sim-text": ANSWER}
    await pair.post("/v1/chat/completions", ask, ours | say)
    await pair.post("/v1/chat/completions", ask | {"stream": True}, ours | say)
    await pair.post("/v1/messages", ask | {"model": "claude-x"}, {"x-api-key": CALLER_KEY} | say)
    await pair.post(f"/v1/chat/completions?key={CALLER_KEY}", ask, say)
    await pair.post("/p/bare/v1/chat/completions", ask, ours)
    await pair.post("/v1/chat/completions", ask, {"authorization": f"Bearer {STRANGER_KEY}"})
    await pair.post("/v1/chat/completions", ask | {"model": "denied"}, ours)
    await pair.post("/v1/chat/completions", ask | {"model": "gpt-4o-pricy"}, ours)
    await pair.post("/v1/chat/completions", ask, ours | {"x-sim-status": "500"})
    cut = ours | say | {"x-sim-drop-after": "1"}
    await pair.post("/v1/chat/completions", ask | {"stream": True}, cut)
    await pair.post("/v1/chat/completions", f'{{"model": "{PROMPT}'.encode(), ours)
    return 11


async def test_no_secret_leaves_the_road(tmp_path: Path, log: io.StringIO) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS, env=ENV) as pair:
        count = await traffic(pair)
        receipts = await pair.settled(count)
        assert pair.sim.requests[0].get("authorization") == f"Bearer {PROVIDER_KEY}"
        assert pair.sim.requests[0].get("x-gate") == SET_HEADER
        assert PROMPT.encode() in (pair.sim.requests[0].body or b"")
        assert {r.end for r in receipts} >= {"finished", "refused", "error", "upstream_died"}
        key = {"authorization": f"Bearer {CALLER_KEY}"}
        shown = {}
        calls = [f"/v1/calls/{r.id:016x}" for r in receipts]
        for path in (*calls, *CONTROL):
            answer = await pair.get(path, key)
            assert answer.status == 200, (path, answer.body)
            shown[path] = answer.body
    shown |= {file.name: file.read_bytes() for file in tmp_path.glob("books.db*")}
    shown["log"] = log.getvalue().encode()
    assert b'"event":"call"' in shown["log"]
    assert b"gpt-4o-pricy" in shown["books.db"] + shown.get("books.db-wal", b"")
    digests = [hashlib.sha256(s.encode()).hexdigest().encode() for s in SECRETS[:4]]
    for name, body in shown.items():
        found = [s for s in SECRETS if s.encode() in body] + [d for d in digests if d in body]
        assert found == [], name


async def test_a_callers_own_key_that_passes_through_is_nowhere_but_upstream(
    tmp_path: Path, log: io.StringIO
) -> None:
    providers = '\n  openai: {dialect: openai, base_url: "SIM/v1"}'
    yaml = "log: {level: debug, exchanges: all}"
    async with stack(tmp_path, yaml, providers=providers) as pair:
        ask = {"model": "gpt-4o", "max_tokens": 5, "messages": []}
        await pair.post("/v1/chat/completions", ask, {"authorization": f"Bearer {PASSED_KEY}"})
        (receipt,) = await pair.settled(1)
        assert pair.sim.requests[0].get("authorization") == f"Bearer {PASSED_KEY}"
        assert receipt.caller.startswith("k-")
        paths = (f"/v1/calls/{receipt.id:016x}", *CONTROL)
        pages = [(await pair.get(path)).body for path in paths]
    files = [path.read_bytes() for path in tmp_path.glob("books.db*")]
    for body in (*pages, *files, log.getvalue().encode()):
        assert PASSED_KEY.encode() not in body
