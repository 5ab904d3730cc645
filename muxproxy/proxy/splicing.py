"""The answer that is passed on: head once, then chunk by chunk; the tap sees, the caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.exchange import Target
from muxproxy.proxy.keepalive import KeepAlive
from muxproxy.proxy.relay import Relay
from muxproxy.proxy.reply import relay_for
from muxproxy.proxy.session import converse
from muxproxy.upstream import Reply

if TYPE_CHECKING:
    from muxproxy.proxy.outbound import Outbound
    from muxproxy.proxy.road import Exchange
    from muxproxy.proxy.snapshot import Service


async def splice(x: Exchange, service: Service, outbound: Outbound, reply: Reply) -> None:
    """Returns when the exchange is over, however it ended. Raises MuxError: nothing went out."""
    x.status = reply.status
    live = x.live
    assert live is not None
    if live.circuit is not None and live.circuit.until and reply.status < 500:
        live.circuit = None  # its probe was answered
    if reply.status == 101:
        await converse(x, service, outbound, reply)
        return
    relay = x.relay = relay_for(x, service, outbound, reply)
    # A stream may last for minutes: it must not keep its request's body alive.
    x.body = outbound.body = b""
    if x.ask is not None:
        x.ask.parts = None
    x.give_back()
    reply.pump(relay)
    relay.open_stream()
    if relay.end_kind is None:
        every = service.keepalive
        if x.terms is not None and x.terms.keepalive is not None:
            every = x.terms.keepalive
        if every is None or not relay.streams:
            await relay.wait()
        else:
            await _kept_alive(x, relay, every)
    if relay.end_kind == words.UPSTREAM_DIED:
        x.proxy.health.failed(service.name, live)
    elif live.circuit is not None and relay.end_kind == words.FINISHED and reply.status < 500:
        live.circuit = None
    if relay.error is not None and not relay.started:
        raise relay.error


async def _kept_alive(x: Exchange, relay: Relay, every: float) -> None:
    """Wait for the end, showing life meanwhile."""
    keeping = KeepAlive(relay, every, x.ask.dialect if x.ask is not None else "")
    try:
        await relay.wait()
    finally:
        keeping.stop()


def take_back(x: Exchange, target: Target, service: Service, reply: Reply) -> None:
    """An earlier candidate's answer is the one to pass on after all."""
    x.target, x.service, x.reply = target, service, reply
    asked = None if x.ask is None else x.ask.model
    x.booking.service = service
    x.booking.model = target.model if target.model is not None else asked
