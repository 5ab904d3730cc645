"""The answer to an exchange that failed: the caller's dialect tells it what, and what would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxproxy import exchange as words
from muxproxy.dialects import errors
from muxproxy.errors import MuxError
from muxproxy.proxy.alternatives import alternatives
from muxproxy.proxy.names import attempts_header

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


def refuse(x: Exchange, error: MuxError) -> None:
    """Answer in the caller's dialect, if nothing was answered yet; else break what was begun."""
    x.error = error
    x.proxy.metrics.errors[error.code] += 1
    if x.relay is not None and x.relay.started:
        x.relay.stop(words.ERROR, error)
        return
    if x.sink.gone:
        return
    if error.code == "budget_exceeded":
        error.details["alternatives"] = alternatives(x)
    dialect = x.ask.dialect if x.ask is not None else x.route.dialect
    body = errors.render(dialect, error, x.booking.public_id)
    x.status = error.status
    x.sink.start(
        error.status,
        [
            *errors.headers(error),
            (b"content-length", b"%d" % len(body)),
            *x.booking.headers(x.plan, x.target),
            *(attempts_header(x.attempts, x.told) if x.told else ()),
            *x.extra,
        ],
    )
    if x.scope["method"] != "HEAD":
        x.sink.write(body)
    x.sink.end()
