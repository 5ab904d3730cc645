"""A vocabulary that only teaches is not loaded under streams that flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack import stack

CHAT = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def test_it_waits_for_a_moment_with_nothing_in_flight(tmp_path: Path) -> None:
    pytest.importorskip("splintr")
    async with stack(tmp_path) as proxy:
        counter = proxy.runtime.counter
        answer = await proxy.post("/v1/chat/completions", CHAT)
        assert answer.status == 200
        assert not counter._loading and not counter._encoders
        other = object()
        proxy.runtime.in_flight.tasks[other] = other  # type: ignore[index]
        try:
            answer = await proxy.post("/v1/chat/completions", {**CHAT, "stream": True})
            await proxy.receipt(answer)
            assert counter._loading and not counter._encoders
            page = await proxy.get("/metrics")  # who asks for the ratio gets it
            assert "gpt-4o" in page.body.decode() and list(counter._encoders) == ["o200k_base"]
            counted, reported = counter.drift["gpt-4o"]
            assert counted > 0 and reported > 0
        finally:
            del proxy.runtime.in_flight.tasks[other]  # type: ignore[arg-type]
