"""The request as it goes upstream: path, headers, body, and the list of edits made to it.

Only the edits of DESIGN section 8; a request that no edit touches goes up byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.codec import set_members, set_model
from muxproxy.dialects.paths import upstream_path
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Plan, Target
from muxproxy.headers import Headers
from muxproxy.proxy.fields import fill_defaults, named_for
from muxproxy.proxy.forward import credential_for, upstream_headers
from muxproxy.proxy.snapshot import Service

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

# Our own members of the enhanced endpoint's body; no provider knows them.
OWN_MEMBERS = frozenset({"max_budget", "cascade_config"})
ENHANCED = "enhanced"


class Outbound(msgspec.Struct):
    """One attempt's request. `model` is what the provider is asked for, as far as we know."""

    target: bytes
    headers: Headers
    body: bytes
    edits: tuple[str, ...]
    model: str | None
    strip_usage: bool  # the usage chunk was our wish: take it out on the way back
    metadata: bool  # add router_metadata to a JSON answer


def prepare(exchange: Exchange, service: Service, target: Target) -> Outbound:
    """Build the attempt's request. Raises MuxError where an edit cannot be made."""
    ask, plan, route = exchange.ask, exchange.plan, exchange.route
    assert ask is not None and plan is not None
    edits: list[str] = []
    model = target.model if target.model is not None else ask.model
    rewritten = target.model if target.model != ask.model else None
    path = upstream_path(service.base_path, route, model=rewritten, dialect=service.dialect)
    body = exchange.body
    strip = False
    inspected = ask.endpoint in words.INSPECTED
    if rewritten is not None:
        edits.append("model")
    if inspected and body:
        if rewritten is not None and ask.dialect != words.GEMINI:
            body = _with_model(body, ask, plan, rewritten)
        strip = _wants_usage(ask, service)
        body = _with_fields(body, exchange, ask, plan, model, strip, edits)
    metadata = inspected and not ask.stream and (plan.chosen or route.enhanced)
    return Outbound(
        target=_with_query(path, exchange, service),
        headers=_headers(exchange, service, identity=metadata),
        body=body,
        edits=tuple(edits),
        model=model,
        strip_usage=strip,
        metadata=metadata,
    )


def _with_model(body: bytes, ask: Ask, plan: Plan, model: str) -> bytes:
    if ask.model is not None:
        return set_model(body, ask.model, model)
    # An absent (or null) model stays so unless an alias, a rule or a default supplied one.
    return set_members(body, {"model": model}) if plan.chosen else body


def _with_fields(
    body: bytes,
    exchange: Exchange,
    ask: Ask,
    plan: Plan,
    model: str | None,
    strip: bool,
    edits: list[str],
) -> bytes:
    """Fields that rules, a clamping budget and the configured defaults add, and our own removed."""
    values: dict[str, object] = {}
    if plan.set:
        values.update(named_for(ask, model, plan.set))
    clamp = exchange.booking.clamp
    if clamp is not None and (ask.max_tokens is None or clamp < ask.max_tokens):
        values.update(named_for(ask, model, {"max_tokens": clamp}))
    fill_defaults(values, ask, model, exchange.snapshot.config.defaults, body)
    if strip:
        values["stream_options.include_usage"] = True
    remove = OWN_MEMBERS if exchange.route.enhanced else frozenset()
    if not values and not remove:
        return body
    edits.extend(values)
    flat: dict[str, object] = {}
    nested: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(outer, {})[inner] = value
        else:
            flat[name] = value
    return set_members(body, flat, remove=remove, nested=nested)


def _wants_usage(ask: Ask, service: Service) -> bool:
    """Whether usage has to be asked for: without it OpenAI streams carry none at all."""
    return (
        ask.stream
        and ask.include_usage is None
        and ask.endpoint in (words.CHAT, words.COMPLETIONS)
        and service.injects_usage
    )


def _headers(exchange: Exchange, service: Service, *, identity: bool) -> Headers:
    headers: Headers = exchange.scope["headers"]
    key = service.config.api_key
    return upstream_headers(
        headers,
        read_by_rules=exchange.snapshot.private_headers,
        credential=credential_for(service.dialect, key, headers) if key else None,
        strip_credentials=exchange.caller.ours,
        static=service.static,
        identity=identity,
    )


def _with_query(path: str, exchange: Exchange, service: Service) -> bytes:
    query: bytes = exchange.scope["query_string"]
    if b"key=" in query and (service.config.api_key or exchange.caller.ours):
        kept = [part for part in query.split(b"&") if not part.startswith(b"key=")]
        query = b"&".join(kept)
    target = path.encode("latin-1") + (b"?" + query if query else b"")
    if not target.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in target):
        raise MuxError("invalid_request", "the request target holds characters it must not hold")
    return target
