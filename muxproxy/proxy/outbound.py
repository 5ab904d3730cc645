"""The request as it goes upstream: path, headers, body, and the list of edits made to it.

Only the edits of DESIGN section 8; a request that no edit touches goes up byte for byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.codec import set_members, set_model
from muxproxy.dialects.paths import Route, upstream_path
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Plan, Target
from muxproxy.headers import CREDENTIALS, VIA, Headers, Shared
from muxproxy.proxy.fields import fill_defaults, named_for, put
from muxproxy.proxy.forward import credential_for, upstream_headers
from muxproxy.proxy.session import upgrade_headers
from muxproxy.proxy.snapshot import Service
from muxproxy.proxy.translating import Crossing, cross, crossed_headers, crossed_target, spoken

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

# Our own members of the enhanced endpoint's body; no provider knows them.
OWN_MEMBERS = frozenset({"max_budget", "cascade_config"})
# Controls, blanks and anything beyond ASCII: never within a request target (RFC 9112 section 3).
_BAD_TARGET = re.compile(rb"[^\x21-\x7e]")
_PATHS_KEPT = 1024


class Outbound(msgspec.Struct):
    """One attempt's request. `model` is what the provider is asked for, as far as we know."""

    target: bytes
    headers: Headers
    body: bytes
    edits: tuple[str, ...]
    model: str | None
    strip_usage: bool  # the usage chunk was our wish: take it out on the way back
    metadata: bool  # add router_metadata to a JSON answer
    crossing: Crossing | None = None  # the provider speaks another dialect than the caller


def prepare(exchange: Exchange, service: Service, target: Target) -> Outbound:
    """Build the attempt's request. Raises MuxError where an edit cannot be made."""
    ask, plan, route = exchange.ask, exchange.plan, exchange.route
    assert ask is not None and plan is not None
    dialect = spoken(service, ask, exchange.snapshot.config.translation)
    if dialect is not None and dialect != ask.dialect:
        return _crossed(exchange, service, target, dialect)
    edits: list[str] = []
    model = target.model if target.model is not None else ask.model
    rewritten = target.model if target.model != ask.model else None
    path = _path(service, route, rewritten)
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
        # A body that will be edited, or a stream that may be stopped, must come as it is.
        headers=_headers(exchange, service, identity=metadata or exchange.booking.stops),
        body=body,
        edits=tuple(edits),
        model=model,
        strip_usage=strip,
        metadata=metadata,
    )


def _crossed(exchange: Exchange, service: Service, target: Target, dialect: str) -> Outbound:
    """The attempt's request in another dialect than the caller's."""
    ask, plan = exchange.ask, exchange.plan
    assert ask is not None and plan is not None
    edits: list[str] = []
    model = target.model if target.model is not None else ask.model
    body = _with_fields(exchange.body, exchange, ask, plan, model, False, edits)
    crossing, body = cross(exchange, service, dialect, body, model)
    assert model is not None
    if model != ask.model:
        edits.append("model")
    edits.append("translated")
    edits += [f"dropped:{name}" for name in crossing.dropped]
    return Outbound(
        target=crossed_target(service, crossing, model, stream=ask.stream),
        headers=crossed_headers(exchange, service, dialect),
        body=body,
        edits=tuple(edits),
        model=model,
        strip_usage=False,
        metadata=not ask.stream and (plan.chosen or exchange.route.enhanced),
        crossing=crossing,
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
    if clamp is not None:
        values.update(named_for(ask, model, {"max_tokens": clamp}))
    fill_defaults(values, ask, model, exchange.snapshot.config.defaults, body)
    if strip:
        values["stream_options.include_usage"] = True
    remove = OWN_MEMBERS if exchange.route.enhanced else frozenset()
    if ask.max_budget is not None:  # it was heeded, wherever it came in
        remove |= {"max_budget"}
    if not values and not remove:
        return body
    edits.extend(values)
    return put(body, values, remove)


def _wants_usage(ask: Ask, service: Service) -> bool:
    """Whether usage has to be asked for: without it OpenAI streams carry none at all."""
    return (
        ask.stream
        and ask.include_usage is None
        and ask.endpoint in (words.CHAT, words.COMPLETIONS)
        and service.injects_usage
    )


def _headers(exchange: Exchange, service: Service, *, identity: bool) -> Headers:
    key = (service.ident, identity)
    known: Headers | None = exchange.memo.get(key)
    if known is None:
        known = exchange.memo[key] = Shared(_headers_for(exchange, service, identity))
    return known


def _headers_for(exchange: Exchange, service: Service, identity: bool) -> Headers:
    fields = exchange.fields
    drop, added = service.drop, service.added
    key = service.config.api_key
    if key:
        added = [credential_for(service.dialect, key, fields, service.host), *added]
    elif exchange.caller.ours:
        # Through us as a proxy the caller may have shown our key beside the provider's own.
        auth, headers = exchange.snapshot.auth, exchange.scope["headers"]
        drop = drop | (CREDENTIALS if exchange.provider is None else auth.ours(headers))
    if exchange.provider is not None:
        added = [*added, (b"via", VIA)]
    out = upstream_headers(exchange.scope["headers"], fields, drop, added, identity=identity)
    return upgrade_headers(out, fields) if exchange.route.endpoint == words.REALTIME else out


def _path(service: Service, route: Route, model: str | None) -> bytes:
    """The path upstream; worked out once per (provider, route, model)."""
    key = (route.path, route.provider, route.endpoint, model)
    known = service.paths.get(key)
    if known is None:
        path = upstream_path(service.base_path, route, model=model, dialect=service.dialect)
        known = path.encode("utf-8")
        if _BAD_TARGET.search(known):
            raise MuxError("invalid_request", "the path holds characters it must not hold")
        if len(service.paths) >= _PATHS_KEPT:
            service.paths.clear()
        service.paths[key] = known
    return known


def _with_query(path: bytes, exchange: Exchange, service: Service) -> bytes:
    query: bytes = exchange.scope["query_string"]
    if not query:
        return path
    ours = exchange.caller.ours and (
        exchange.provider is None or exchange.snapshot.auth.ours_in(query)
    )
    if b"key=" in query and (service.config.api_key or ours):
        kept = [part for part in query.split(b"&") if not part.startswith(b"key=")]
        query = b"&".join(kept)
    return path + b"?" + query if query else path
