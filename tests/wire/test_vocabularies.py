"""A stream has its vocabulary loaded beside it, not under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack import stack

CHAT = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def test_a_streams_vocabulary_is_loaded_by_another_thread(tmp_path: Path) -> None:
    pytest.importorskip("splintr")
    async with stack(tmp_path) as proxy:
        counter = proxy.runtime.counter
        answer = await proxy.post("/v1/chat/completions", CHAT)
        assert answer.status == 200
        assert not counter._loading and not counter._encoders
        answer = await proxy.post("/v1/chat/completions", {**CHAT, "stream": True})
        assert answer.status == 200
        assert counter._loading or counter._encoders  # under way, or done by now
        counted, reported = counter.drift["gpt-4o"]
        assert counted > 0 and reported > 0
        assert list(counter._encoders) == ["o200k_base"]
