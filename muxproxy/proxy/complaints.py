"""What is wrong with an answer that another candidate may better, and how much it tells."""

from __future__ import annotations

import time

from muxproxy.limits.headroom import retry_after
from muxproxy.proxy.opening import Events, document, overload
from muxproxy.upstream import Reply

# RFC 9110, RFC 6585; 529 is Anthropic's overloaded_error, 52x are Cloudflare's.
ELSEWHERE = frozenset({408, 409, 425, 429})
_NOT_ELSEWHERE = frozenset({501, 505})


def may_be_better_elsewhere(status: int) -> bool:
    """Whether another candidate may better an answer of that status."""
    return status in ELSEWHERE or (status >= 500 and status not in _NOT_ELSEWHERE)


async def complaint(reply: Reply) -> str | None:
    """What is wrong with an answer that another candidate may better; None: pass it on.

    Raises UpstreamError when it breaks before it shows.
    """
    status = reply.status
    if status >= 400:
        return str(status) if may_be_better_elsewhere(status) else None
    if status != 200:
        return None
    fields = dict(reply.headers)
    if fields.get(b"content-encoding", b"identity") != b"identity":
        return None
    kind = fields.get(b"content-type", b"")
    if kind.startswith(b"text/event-stream"):
        events = Events()
        events.enough(await reply.peek(events.enough))
        return overload(events.found)
    if b"json" in kind:
        begun = await reply.peek(document)
        return None if document(begun) else overload(begun)
    return None


def wished(reply: Reply) -> float | None:
    """Seconds that the provider wants us to wait."""
    found: float | None = None
    for name, value in reply.headers:
        if name in (b"retry-after", b"retry-after-ms"):
            seconds = retry_after(name, value, time.time())
            if seconds is not None and (found is None or name.endswith(b"-ms")):
                found = seconds
    return found


def rank(status: int, wait: float | None) -> int:
    """How much an answer tells the caller: how long to wait, that it was too much, the rest."""
    if status < 400:
        return 0
    if status == 429:
        return 4 if wait is not None else 3
    return 2 if wait is not None or status < 500 else 1
