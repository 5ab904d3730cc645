"""What goes upstream and what comes back, header by header: DESIGN section 8's permitted edits.

Pure functions over header lists. Everything not named here passes as it came, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from muxproxy.headers import (
    CREDENTIALS,
    HOP_BY_HOP,
    Headers,
    connection_options,
    end_to_end,
    get,
)

# Written by the upstream client itself, or ours and not the provider's business.
_OURS = frozenset({b"host", b"content-length", b"expect", b"x-max-budget", b"x-routing-strategy"})
_PREFIX = b"x-muxproxy-"
_DROP = HOP_BY_HOP | _OURS
_CODINGS = (b"gzip", b"identity")


def upstream_headers(
    headers: Headers,
    *,
    read_by_rules: frozenset[bytes],
    credential: tuple[tuple[bytes, bytes], ...] | None,
    strip_credentials: bool,
    static: tuple[tuple[bytes, bytes], ...] = (),
    identity: bool = False,
) -> Headers:
    """The caller's end-to-end headers as the provider gets them.

    `credential` (the provider's own key) replaces every credential of the caller's; without one
    the caller's pass through unless `strip_credentials`. `static` overrides by name. `identity`
    asks for an uncompressed answer (the body is going to be edited).
    """
    drop = _DROP
    if get(headers, b"connection") is not None:
        drop = drop | connection_options(headers)
    if read_by_rules:
        drop = drop | read_by_rules
    if credential is not None or strip_credentials:
        drop = drop | CREDENTIALS
    if static:
        drop = drop | {name for name, _ in static}
    out = []
    for pair in headers:
        name = pair[0]
        if name in drop or name.startswith(_PREFIX):
            continue
        if name == b"accept-encoding":
            out.append((name, b"identity" if identity else narrow_encoding(pair[1])))
            continue
        out.append(pair)
    if credential is not None:
        out.extend(credential)
    out.extend(static)
    return out


@lru_cache(maxsize=256)
def narrow_encoding(value: bytes) -> bytes:
    """The codings that both the caller and the tap read: gzip where acceptable, else identity."""
    offered = _acceptable(value.lower().split(b","))
    wanted = [c for c in _CODINGS if c in offered or (c == b"gzip" and b"*" in offered)]
    return b", ".join(wanted) if wanted else b"identity"


def _acceptable(parts: Iterable[bytes]) -> set[bytes]:
    out = set()
    for part in parts:
        coding, _, weight = part.strip().partition(b";")
        quality = weight.strip().removeprefix(b"q=").strip()
        if coding and quality not in (b"0", b"0.0", b"0.00", b"0.000"):
            out.add(coding.strip())
    return out


def caller_headers(headers: Headers, ours: Headers) -> Headers:
    """The provider's end-to-end headers, then ours; a provider cannot forge ours."""
    drop = HOP_BY_HOP
    if get(headers, b"connection") is not None:
        drop = drop | connection_options(headers)
    out = [
        pair
        for pair in headers
        if pair[0] not in drop and not pair[0].startswith((_PREFIX, b"x-budget-"))
    ]
    out.extend(ours)
    return out


def credential_for(dialect: str, key: str, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """The provider's key where its API reads it.

    Anthropic takes `x-api-key` or a bearer token; the form the caller used is kept, since SDKs
    from 2.x on pair the bearer with their own version header.
    """
    raw = key.encode()
    if dialect == "gemini":
        return ((b"x-goog-api-key", raw),)
    if dialect == "anthropic":
        bearer = get(headers, b"authorization") is not None and get(headers, b"x-api-key") is None
        return ((b"authorization", b"Bearer " + raw),) if bearer else ((b"x-api-key", raw),)
    return ((b"authorization", b"Bearer " + raw),)


def plain_headers(headers: Headers) -> Headers:
    """For a host of no provider: hop-by-hop fields and our own taken out, nothing else."""
    return [
        pair
        for pair in end_to_end(headers)
        if pair[0] not in (b"host", b"content-length", b"expect")
        and not pair[0].startswith(_PREFIX)
    ]
