"""What the tests of absolute-form, CONNECT and the browser rules share."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from muxproxy.sim.server import SimServer, start
from tests.http_client import Answer, call

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}
NAMED = """
  openai:    {dialect: openai,    base_url: "SIM/v1", api_key: sk-openai, hosts: [api.openai.test]}
  anthropic: {dialect: anthropic, base_url: "SIM/a", api_key: sk-anthropic, hosts: [claude.test]}
"""
# The control plane's own addresses.
CONTROL = [
    "/metrics",
    "/docs",
    "/openapi.json",
    "/providers",
    "/v1/providers",
    "/v1/calls",
    "/v1/analytics/costs",
    "/v1/analytics/budgets",
    "/user/stats",
]
INSIDE_OK = "server: {inside_hosts: [127.0.0.1]}\n"


async def proxied(port: int, method: str, url: str, body: Any = None, **headers: str) -> Answer:
    """One request in absolute-form, as clients behind HTTP_PROXY send it."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    host = url.split("/")[2]
    return await call(port, method, url, body, fields or None, host=host)


@asynccontextmanager
async def far_away(context: ssl.SSLContext | None = None) -> AsyncIterator[SimServer]:
    """A server that belongs to no provider (or, with TLS, to one)."""
    server = await start(context=context)
    try:
        yield server
    finally:
        await server.aclose()
