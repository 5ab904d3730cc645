"""Second attempts among random faults, delays around the moment they are due, and callers that
leave: whatever comes together, the books balance and nothing is left."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import Answer
from tests.stack import stack
from tests.wire.balance import fetch, nothing_left, quiet
from tests.wire.hedged import CHAT, booked, counted, providers, yaml

CALLS = 100
LIMITS = "limits:\n  - {name: one, per: provider, concurrent: 500, tokens: 100M/min}\n"
FIRST = "breaker: {failures: 0}, retry: {same: 1, backoff: 1ms}"
TIMES = ("0ms", "5ms", "15ms", "19ms", "20ms", "21ms", "22ms", "25ms", "40ms", "200ms")
FAULTS: tuple[dict[str, Any], ...] = (
    *({}, {}, {}, {"status": 503}, {"status": 429, "retry_after": 0}, {"status": 400}),
    *({"drop_after": 0}, {"reset_after": 0}, {"drop_after": "head"}, {"error_after": 0}),
    *({"garbage": "head"}, {"slice": 7, "pace": "1ms"}, {"chunked": True, "pace": "10ms"}),
)
LEAVING = (None, None, None, None, None, 0.01, 0.02, 0.022, 0.03, 0.06)


@pytest.mark.parametrize("seed", range(3))
async def test_the_books_balance(tmp_path: Path, seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    text = yaml("{after: 20ms}") + LIMITS
    async with nothing_left(), stack(tmp_path, text, providers=providers(FIRST)) as proxy:
        proxy.runtime.proxy.retries._left = CALLS  # or most would be withheld

        async def one() -> Answer:
            await asyncio.sleep(rng.random())
            for model in ("a", "b", "c"):
                proxy.sim.script({"ttft": rng.choice(TIMES), **rng.choice(FAULTS)}, model=model)
            body = {**CHAT, "model": rng.choice(("pair", "alone", "crossed"))}
            leave = rng.choice(LEAVING)
            return await fetch(proxy.port, "/v1/chat/completions", body, leave_after=leave)

        answers = await asyncio.gather(*(one() for _ in range(CALLS)))
        assert all(a.status in (0, 200, 400, 429, 500, 502, 503) for a in answers)
        await quiet(proxy)  # one that left before its head was read has no row
        receipts = await booked(proxy, proxy.runtime.proxy.accepted)
        assert "internal_error" not in {receipt.code for receipt in receipts}
        (rule,) = proxy.runtime.proxy.limits._rules.values()
        for meter in rule.meters.values():
            assert meter.tokens is not None
            assert (meter.flying, meter.tokens.reserved) == (0, 0)
        made, _ = counted(proxy)
        assert set(made) >= {"won", "lost", "failed"}
