from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muxproxy.ledger import Ledger

Open = Callable[..., Ledger]


@pytest.fixture
async def open_ledger(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens ledgers on one file (by default) and closes what is left open."""
    opened: list[Ledger] = []

    def open_(durability: Any = "strict", path: Path | None = None, **more: Any) -> Ledger:
        ledger = Ledger(str(path or tmp_path / "books.db"), durability, **more)
        opened.append(ledger)
        return ledger

    yield open_
    for ledger in opened:
        if not ledger._closed:
            await ledger.aclose()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The product's log records (its logger does not propagate once set up)."""
    logger = logging.getLogger("muxproxy")
    propagate, logger.propagate = logger.propagate, True
    caplog.set_level(logging.INFO, "muxproxy")
    yield caplog
    logger.propagate = propagate
