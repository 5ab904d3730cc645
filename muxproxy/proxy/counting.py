"""Token counting where the provider of a call has no such endpoint: our own estimate.

Agents ask `/v1/messages/count_tokens` before they send; a 404 breaks them (PEERS.md row 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.proxy.translating import spoken

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


def counted_here(exchange: Exchange) -> bool:
    """Answers a count_tokens call whose first candidate cannot; False: it goes on its way."""
    ask, plan = exchange.ask, exchange.plan
    assert ask is not None and plan is not None
    if not plan.candidates:
        return False
    target = plan.candidates[0]
    service = exchange.snapshot.services[target.provider]
    mode = exchange.snapshot.config.translation
    if mode == "off" or spoken(service, ask, mode) is not None:
        return False
    body = msgspec.json.encode(_counted(ask.dialect, ask.prompt_tokens))
    exchange.status = 200
    exchange.sink.start(
        200,
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *exchange.booking.headers(plan, None),
            (b"x-muxproxy-counted", b"estimated"),
        ],
    )
    exchange.sink.write(body)
    exchange.sink.end()
    return True


def _counted(dialect: str, tokens: int) -> dict[str, object]:
    if dialect == words.GEMINI:
        return {"totalTokens": tokens}
    if dialect == words.RESPONSES:
        return {"object": "response.input_tokens", "input_tokens": tokens}
    return {"input_tokens": tokens}
