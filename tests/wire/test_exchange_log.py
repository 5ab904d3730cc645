"""One line per call, off the calls' path, without a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy import exchange_log, logs
from tests.stack import stack

PATH = "/v1/chat/completions"
KEY, PROMPT, HEADER = "sk-caller-5e55-secret", "the-prompt-marker-c0ffee", "hidden-header-77"
YAML = """
log: {exchanges: all, level: info}
models: {small: [openai/gpt-4o-mini]}
rules:
  - {name: no, when: {model: denied}, deny: "not here"}
  - {name: rest, when: {model: auto, text: zebra}, to: small}
"""


def ask(model: str, **more: object) -> dict[str, object]:
    content = f"{PROMPT} zebra"
    return {
        "model": model,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": content}],
    } | more


class Captured:
    """Both formats of what is logged, and a gate that a line waits at."""

    def __init__(self) -> None:
        self.json, self.text = io.StringIO(), io.StringIO()
        self.gate = threading.Event()
        self.gate.set()
        self.handlers: list[logging.Handler] = []
        for stream, formatter in (
            (self.json, logs.JsonFormatter()), (self.text, logs.TextFormatter()),
        ):  # fmt: skip
            handler = logging.StreamHandler(stream)
            handler.setFormatter(formatter)
            self.handlers.append(handler)
        self.handlers[0].addFilter(lambda _: self.gate.wait(30))

    def calls(self) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.json.getvalue().splitlines()]
        return [line for line in lines if line["event"] == "call"]


@pytest.fixture
def log() -> Iterator[Captured]:
    logger = logs.logger()
    before = (logger.handlers[:], logger.level, logger.propagate)
    captured = Captured()
    logger.handlers[:], logger.propagate = captured.handlers, False
    logger.setLevel(logging.INFO)
    yield captured
    captured.gate.set()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


async def test_every_call_under_load_has_its_line_and_no_secret(
    tmp_path: Path, log: Captured
) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-private": HEADER}
    async with stack(tmp_path, YAML) as pair:

        async def one(number: int) -> None:
            model = ("auto", "gpt-4o", "denied")[number % 3]
            own = {"x-request-id": f"req-{number}", "traceparent": f"00-{number:032x}-1-01"}
            body = ask(model, stream=number % 2 == 0)
            await pair.post(PATH, body, headers | own)

        for start in range(0, 120, 12):
            await asyncio.gather(*(one(n) for n in range(start, start + 12)))
        receipts = await pair.settled(120)
    lines = log.calls()
    assert {line["id"] for line in lines} == {f"{r.id:016x}" for r in receipts}
    assert {line["request_id"] for line in lines} == {f"req-{n}" for n in range(120)}
    routed = next(line for line in lines if line.get("rule") == "rest")
    assert routed["traceparent"] == f"00-{int(str(routed['request_id'])[4:]):032x}-1-01"
    assert routed["usage"]["output_total"] > 0 and routed["cost_usd"] > 0
    assert routed["reason"].startswith("rule rest: ") and routed["attempts"] == 1
    assert {"ttfb_ms", "total_ms", "overhead_ms", "provider", "model", "caller"} <= set(routed)
    refused = next(line for line in lines if line.get("rule") == "no")
    assert (refused["level"], refused["code"]) == ("warning", "denied_by_rule")
    shown = log.json.getvalue() + log.text.getvalue()
    for secret in (KEY, PROMPT, HEADER, "sk-openai"):
        assert secret not in shown
    assert re.search(r"call \w{16} 200 \S+ openai/gpt-4o-mini \d+ in \d+ out \$0\.0", shown)


async def test_a_log_that_stands_still_holds_no_call_up(
    tmp_path: Path, log: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_log, "_MOST_IN_A_BATCH", 5)
    async with stack(tmp_path, YAML) as pair:
        log.gate.clear()
        for _ in range(3):
            assert (await pair.post(PATH, ask("gpt-4o"))).status == 200
        await pair.settled(3)
        # Within one turn of the loop more than a batch holds: the rest is counted.
        entry = exchange_log.Entry((await pair.settled(3))[0], None, None)
        writer = pair.runtime.proxy.exchange_log
        while writer._gathered:
            await asyncio.sleep(0.01)
        for _ in range(9):
            writer.add(entry)
        assert writer.dropped == 4
        log.gate.set()
    assert len(log.calls()) == 3 + 5
    assert "4 lines of calls were dropped" in log.json.getvalue()


def test_a_correlation_id_cannot_forge_a_line() -> None:
    record = logging.makeLogRecord({"msg": "call", "request_id": "a\nforged", "line": "x\ny"})
    assert len(logs.TextFormatter().format(record).splitlines()) == 1
    assert len(logs.JsonFormatter().format(record).splitlines()) == 1
