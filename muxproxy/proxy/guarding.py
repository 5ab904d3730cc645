"""The runaway guard on the road: what it is told of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.budget import Runaway
from muxproxy.dialects import neutral
from muxproxy.dialects.translators import TRANSLATABLE, translator
from muxproxy.errors import MuxError

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


def guard(exchange: Exchange, watcher: Runaway, now: float) -> None:
    """Counts this request. Raises MuxError rate_limited (429) where it goes in circles."""
    ask = exchange.ask
    assert ask is not None
    if ask.endpoint not in words.GENERATING:
        return
    repeated = 0
    if ask.tools and watcher.repeats is not None and ask.endpoint in TRANSLATABLE:
        repeated = repeated_calls(exchange)
    watcher.check(exchange.caller, hash(exchange.body), now, repeated)


def repeated_calls(exchange: Exchange) -> int:
    """How often the last tool call stands at the conversation's end, with the same arguments."""
    ask = exchange.ask
    assert ask is not None
    try:
        request = translator(ask.dialect).read_request(exchange.body, ask.model, ask.stream)
    except MuxError:
        return 0  # what it says of that is the provider's to say
    calls = [
        (part.name, part.arguments)
        for turn in request.turns
        for part in turn.parts
        if isinstance(part, neutral.Call)
    ]
    count = 0
    for call in reversed(calls):
        if call != calls[-1]:
            break
        count += 1
    return count
