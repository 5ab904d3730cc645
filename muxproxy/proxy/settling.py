"""What an ended exchange owes, from what was seen of it (DESIGN section 5, Settling).

Pure: no clock, no I/O. The provider's own usage where it was seen, else what was counted, else
the estimate; hanging up early is not a way to pay nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.exchange import Ask, Usage
from muxproxy.tap.realtime import RealtimeTap, added
from muxproxy.tap.state import State

if TYPE_CHECKING:
    from muxproxy.proxy.booking import Booking
    from muxproxy.proxy.road import Exchange


class Verdict(msgspec.Struct):
    """How it ended and what it used. `nothing_owed`: nothing was sent, or an error answer."""

    end: str
    status: int
    code: str | None
    usage: Usage | None
    source: str | None
    nothing_owed: bool
    at_hold: bool = False  # usage is unknowable here: the hold's own amount stands
    counted: int = 0  # output tokens counted by us, where the provider reported too
    session: bool = False  # its responses were booked as they ended; `rest`: what was not
    rest: Usage | None = None


def judge(exchange: Exchange, booking: Booking) -> Verdict:
    """The verdict on an exchange that has ended."""
    end, status, code = _ending(exchange)
    tap, ask = booking.tap, exchange.ask
    if ask is None or exchange.attempts == 0:
        return Verdict(end, status, code, None, None, nothing_owed=True)
    if tap is None:  # sent, but no answer began
        if ask.endpoint == words.REALTIME and exchange.status != 101:
            return Verdict(end, status, code, None, None, nothing_owed=True)
        if not exchange.sent_anything or booking.held is None or ask.endpoint in words.FREE:
            return Verdict(end, status, code, None, None, nothing_owed=True)
        return Verdict(
            end, status, code, at_estimate(ask, booking), words.ESTIMATED, nothing_owed=False
        )
    if ask.endpoint == words.OTHER and booking.held is None:
        # A look-up: what it tells of usage was paid for by the call that it looks up.
        return Verdict(end, status, code, None, None, nothing_owed=True)
    if isinstance(tap, RealtimeTap):
        return _session(end, status, code, booking, tap)
    usage = tap.usage
    if usage is not None and tap.usage_complete:
        return Verdict(end, status, code, usage, words.PROVIDER, nothing_owed=False)
    assert exchange.reply is not None
    if ask.endpoint == words.OTHER and usage is None and exchange.reply.status < 400:
        return _unmetered(end, status, code, booking)
    if ask.endpoint == words.EMBEDDINGS and usage is None and exchange.reply.status < 400:
        # Gemini's embeddings tell none: the input is what was embedded.
        usage = Usage(input=ask.prompt_tokens)
        return Verdict(end, status, code, usage, words.ESTIMATED, nothing_owed=False)
    if exchange.reply.status >= 400 or (ask.endpoint not in words.GENERATING and usage is None):
        return Verdict(end, status, code, usage, _source(usage), nothing_owed=True)
    counted, source = _counted(exchange, booking, tap, ask, usage)
    return Verdict(end, status, code, counted, source, nothing_owed=False)


def may_cost(ask: Ask, method: str) -> bool:
    """Lists, look-ups and deletions of paths we do not know cost nothing."""
    return ask.endpoint != words.OTHER or method not in ("GET", "HEAD", "DELETE", "OPTIONS")


def so_far(exchange: Exchange) -> Usage:
    """What would be booked of the stream under way if it ended now."""
    booking, ask = exchange.booking, exchange.ask
    tap = booking.tap
    assert ask is not None and tap is not None
    usage = tap.usage
    if usage is not None and tap.usage_complete:
        return usage
    return _counted(exchange, booking, tap, ask, usage)[0]


def _session(
    end: str, status: int, code: str | None, booking: Booking, tap: RealtimeTap
) -> Verdict:
    """A session that is over. Responses that were cut off are taken to have cost what the last
    one took for input, and the output that was held for."""
    held, rest = booking.held, None
    if tap.open and held is not None:
        known = 0 if tap.last is None else tap.last.input_total
        rest = Usage(input=known, output=held.estimate.tokens_out)
    if tap.total is None and rest is None:
        # Nobody asked for anything; or what was said could not be read.
        return Verdict(end, status, code, None, None, nothing_owed=not tap.foreign)
    usage = tap.total if rest is None else added(tap.total, rest)
    source = words.PROVIDER if rest is None else words.ESTIMATED
    return Verdict(end, status, code, usage, source, nothing_owed=False, session=True, rest=rest)


def _unmetered(end: str, status: int, code: str | None, booking: Booking) -> Verdict:
    """A path that is passed through unread was served, and its answer tells no usage: an upload,
    a batch, an image. What it costs is said by a price per request, or is unknown: never 0."""
    held, price = booking.held, booking.price
    if held is None or (price is not None and price.free):  # a list, a look-up; a local model
        return Verdict(end, status, code, None, None, nothing_owed=True)
    if price is None or price.assumed:
        return Verdict(end, status, code, None, None, nothing_owed=False)
    if price.per_request:
        return Verdict(end, status, code, Usage(), words.COUNTED, nothing_owed=False)
    # By the token, and nobody counted any: speech, or an answer that was not read.
    return Verdict(end, status, code, None, words.ESTIMATED, nothing_owed=False, at_hold=True)


def _source(usage: Usage | None) -> str | None:
    return None if usage is None else words.PROVIDER


def _ending(exchange: Exchange) -> tuple[str, int, str | None]:
    """(end, status as the caller saw it, our code)."""
    relay, error = exchange.relay, exchange.error
    if relay is not None and relay.end_kind is not None:
        if relay.error is not None:
            error = relay.error
        end = relay.end_kind
        if end == words.FINISHED and exchange.status >= 400:
            end = words.ERROR
        if end == words.FINISHED and exchange.booking.tap and exchange.booking.tap.error:
            end = words.ERROR  # an error event inside a 200
        return end, exchange.status, None if error is None else error.code
    if exchange.left:
        return words.CLIENT_LEFT, 499, None
    if error is None:  # answered here, without a provider
        return words.FINISHED if exchange.status == 200 else words.ERROR, exchange.status, None
    refused = exchange.attempts == 0
    return words.REFUSED if refused else words.ERROR, error.status, error.code


def at_estimate(ask: Ask, booking: Booking) -> Usage:
    """The input estimate and the hold's expected output."""
    held = booking.held
    assert held is not None
    return Usage(input=ask.prompt_tokens, output=held.estimate.tokens_out)


def _counted(
    exchange: Exchange, booking: Booking, tap: State, ask: Ask, partial: Usage | None
) -> tuple[Usage, str]:
    """What was delivered, where the provider's figures are missing or only half there."""
    output, _ = exchange.proxy.counter.delivered(tap.model or booking.model or "", tap)
    relay = exchange.relay
    cut = relay is None or relay.end_kind != words.FINISHED
    held = booking.held
    expected = 0 if held is None else held.estimate.tokens_out
    hidden = cut and (not ask.stream or tap.delivered_chars == 0)
    if hidden:  # an abandoned JSON answer, or reasoning that is never shown
        output = max(output, expected)
    sent = ask if held is None else held.call.ask  # with what rules and defaults put into it
    if sent.max_tokens is not None:
        output = min(output, sent.max_tokens * max(sent.n, 1))
    usage = Usage(input=ask.prompt_tokens) if partial is None else partial
    if partial is not None:
        output = max(output - (usage.reasoning or 0), usage.output)
    source = words.ESTIMATED if hidden or not tap.delivered_chars else words.COUNTED
    return msgspec.structs.replace(usage, output=output), source
