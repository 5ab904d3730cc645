"""The answer's way back: head, ours added, and the relay that fits the body."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from muxproxy.codec import set_members
from muxproxy.dialects import errors as dialect_errors
from muxproxy.errors import MuxError
from muxproxy.headers import Headers
from muxproxy.money import dollars
from muxproxy.proxy import translated
from muxproxy.proxy.forward import caller_headers
from muxproxy.proxy.names import attempts_header
from muxproxy.proxy.outbound import Outbound
from muxproxy.proxy.relay import COLLECT_LIMIT, Relay
from muxproxy.proxy.snapshot import Service
from muxproxy.proxy.stopping import stopping_relay, stops
from muxproxy.proxy.translating import Crossing
from muxproxy.tap import Tap, make_tap
from muxproxy.tap.stripper import UsageStripper
from muxproxy.upstream import Reply

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


def relay_for(exchange: Exchange, service: Service, outbound: Outbound, reply: Reply) -> Relay:
    """The relay for this reply; its head is queued towards the caller."""
    if outbound.crossing is not None:
        return _crossed(exchange, service, outbound, outbound.crossing, reply)
    ask, booking = exchange.ask, exchange.booking
    assert ask is not None
    fields = dict(reply.headers)
    content_type = fields.get(b"content-type")
    encoding = fields.get(b"content-encoding")
    plain = encoding is None or encoding == b"identity"
    events = content_type is not None and content_type.startswith(b"text/event-stream")
    tap = make_tap(ask.endpoint, ask.dialect, content_type, encoding, reply.status)
    booking.tap = tap
    ours = _ours(exchange, service, outbound, reply)
    strip = outbound.strip_usage and events and plain
    head = (reply.status, _head(reply.headers, fields, ours, length_changes=strip))
    if events and plain and stops(exchange, reply.status):
        return stopping_relay(
            exchange,
            reply,
            head,
            None,
            stripper=UsageStripper() if strip else None,
            error_event=partial(_error_event, exchange, tap),
            drain=service.drain,
            whole=partial(_ended, tap) if _until_close(fields) else None,
        )
    return Relay(
        exchange.sink,
        reply,
        tap,
        head,
        stripper=UsageStripper() if strip else None,
        collect=partial(add_metadata, exchange)
        if outbound.metadata and plain and _collectable(reply.status, fields)
        else None,
        error_event=partial(_error_event, exchange, tap) if events and plain else None,
        drain=service.drain,
        whole=partial(_ended, tap) if events and plain and _until_close(fields) else None,
    )


def _crossed(
    exchange: Exchange, service: Service, outbound: Outbound, crossing: Crossing, reply: Reply
) -> Relay:
    """The relay of an answer in another dialect than the caller's."""
    fields = dict(reply.headers)
    content_type = fields.get(b"content-type")
    encoding = fields.get(b"content-encoding")
    provider = crossing.provider.dialect
    tap = make_tap(crossing.endpoint, provider, content_type, encoding, reply.status)
    exchange.booking.tap = tap
    headers = caller_headers(reply.headers, fields, _ours(exchange, service, outbound, reply))
    events = content_type is not None and content_type.startswith(b"text/event-stream")
    if encoding not in (None, b"identity"):  # although we asked for none
        reply.cancel()
        raise MuxError("upstream_protocol", "the provider compressed an answer to be translated")
    stream = translated.stream_for(exchange, crossing) if events and reply.status < 400 else None
    head = (reply.status, translated.head(exchange, headers, crossing, stream is not None))
    if stream is None:
        return Relay(
            exchange.sink,
            reply,
            tap,
            head,
            collect=partial(_translate, exchange, outbound, crossing),
            translated=True,
            drain=service.drain,
        )
    more: dict[str, Any] = {
        "stripper": stream,
        "error_event": partial(stream.failed, request_id=exchange.booking.public_id),
        "drain": service.drain,
        "whole": stream.whole,
    }
    if stops(exchange, reply.status):
        return stopping_relay(exchange, reply, head, stream, **more)
    return Relay(exchange.sink, reply, tap, head, **more)


def _translate(
    exchange: Exchange,
    outbound: Outbound,
    crossing: Crossing,
    status: int,
    headers: Headers,
    body: bytes,
) -> tuple[int, Headers, bytes]:
    status, body = translated.translated_body(exchange, crossing, status, body)
    exchange.status = status
    cost = exchange.booking.cost_now() if status < 400 else None
    if status < 400 and outbound.metadata:
        return add_metadata(exchange, status, headers, body)
    headers = _with_length(headers, len(body))
    if cost is not None:
        headers.append((b"x-muxproxy-cost-usd", b"%.9f" % (cost / 1e9)))
    return status, headers, body


def _ours(exchange: Exchange, service: Service, outbound: Outbound, reply: Reply) -> Headers:
    """The headers we add, now that the head is there."""
    booking = exchange.booking
    booking.observe_reply(service, outbound, reply, exchange.caller)
    booking.overhead_us = exchange.overhead_us(reply)
    ours = booking.headers(exchange.plan, exchange.target)
    if exchange.told:
        ours += attempts_header(exchange.attempts, exchange.told)
    if exchange.extra:
        ours += exchange.extra
    ours.append((b"x-muxproxy-overhead-ms", b"%.3f" % (booking.overhead_us / 1000)))
    return ours


def _until_close(fields: dict[bytes, bytes]) -> bool:
    return b"content-length" not in fields and b"transfer-encoding" not in fields


def _ended(tap: Tap) -> bool:
    """Whether a stream came to its end, as far as its dialect tells."""
    return tap.terminal or tap.finish_reason is not None or tap.error is not None


def _error_event(exchange: Exchange, tap: Tap, error: MuxError) -> bytes:
    ask = exchange.ask
    assert ask is not None
    return dialect_errors.error_event(
        ask.dialect, ask.endpoint, error, exchange.booking.public_id, tap.events
    )


def _head(
    headers: Headers, fields: dict[bytes, bytes], ours: Headers, *, length_changes: bool
) -> Headers:
    headers = caller_headers(headers, fields, ours)
    if length_changes:
        headers = [pair for pair in headers if pair[0] != b"content-length"]
    return headers


def _collectable(status: int, fields: dict[bytes, bytes]) -> bool:
    if status != 200 or b"json" not in fields.get(b"content-type", b""):
        return False
    length = fields.get(b"content-length")
    return length is None or int(length) <= COLLECT_LIMIT


def add_metadata(
    exchange: Exchange, status: int, headers: Headers, body: bytes
) -> tuple[int, Headers, bytes]:
    """router_metadata into a JSON object, the cost into a header; anything else as it came."""
    booking, plan, target = exchange.booking, exchange.plan, exchange.target
    assert plan is not None and target is not None and exchange.ask is not None
    cost = booking.cost_now()
    metadata: dict[str, Any] = {
        "selected_provider": target.provider,
        "selected_model": booking.model,
        "estimated_cost": dollars(booking.held_nano),
        "actual_cost": dollars(cost),
        "rule": plan.rule,
        "reason": plan.reason,
        "strategy": plan.strategy,
        "score": plan.score,
    }
    if exchange.cascade is not None:
        metadata["cascade"] = exchange.cascade.metadata()
    try:
        body = set_members(body, {"router_metadata": metadata})
    except ValueError:  # not a JSON object after all
        return status, _with_length(headers, len(body)), body
    if "router_metadata" not in booking.edits:
        booking.edits += ("router_metadata",)
    headers = [p for p in _with_length(headers, len(body)) if p[0] != b"x-muxproxy-cost-usd"]
    if cost is not None:
        headers.append((b"x-muxproxy-cost-usd", b"%.9f" % (cost / 1e9)))
    return status, headers, body


def _with_length(headers: Headers, length: int) -> Headers:
    out = [pair for pair in headers if pair[0] != b"content-length"]
    out.append((b"content-length", b"%d" % length))
    return out
