"""What every test gets: a clean environment and uvloop."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterator

import pytest
import uvloop

_OURS = (
    "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "MISTRAL_", "GROQ_", "MUXPROXY_", "DEFAULT_",
    "ALLOWED_API_KEYS", "MAX_TOKENS_DEFAULT", "TEMPERATURE_DEFAULT",
)  # fmt: skip
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The product runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    """A reload freezes what is there: in a server that is one snapshot, here all tests so far."""
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider key and no proxy of the machine's reaches a test."""
    for name in list(os.environ):
        if name.startswith(_OURS) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
