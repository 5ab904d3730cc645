"""A short soak; scripts/soak runs it for as long as it should."""

from __future__ import annotations

import random
from pathlib import Path

from tests.soak.load import run


async def test_a_few_seconds_of_everything(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    found = await run(4, 12, seed, tmp_path)
    assert found["wrong"] == []
    assert found["calls"] > 100 and found["reloads"] > 3
