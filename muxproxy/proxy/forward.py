"""What goes upstream and what comes back, header by header: DESIGN section 8's permitted edits.

Pure functions over header lists. Everything not named here passes as it came, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import compress
from operator import itemgetter

from muxproxy.headers import (
    CREDENTIALS,
    HOP_BY_HOP,
    Headers,
    connection_options,
    end_to_end,
)

# Written by the upstream client itself, or ours and not the provider's business.
_OURS = frozenset({b"host", b"content-length", b"expect", b"x-max-budget", b"x-routing-strategy"})
_PREFIX = b"x-muxproxy-"
_DROP = HOP_BY_HOP | _OURS
_CODINGS = (b"gzip", b"identity")
_PLAIN_CONNECTION = (b"keep-alive", b"close")
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_NAMES_KEPT = 1024
_OURS_DOWN = (_PREFIX, b"x-budget-")


def dropped(
    *, private: frozenset[bytes], static: frozenset[bytes], credentials: bool
) -> frozenset[bytes]:
    """Names that never go to a provider: worked out once per provider and configuration.

    `private`: headers that only rules and auth read; `static`: those that the YAML sets on every
    request; `credentials`: the caller's are replaced or belong to us.
    """
    return _DROP | private | static | (CREDENTIALS if credentials else frozenset())


def upstream_headers(
    headers: Headers,
    fields: Mapping[bytes, bytes],
    drop: frozenset[bytes],
    added: Headers,
    *,
    identity: bool = False,
) -> Headers:
    """The caller's end-to-end headers as the provider gets them, then `added`.

    `fields` is dict(headers). `identity` asks for an uncompressed answer (the body is going to be
    edited).
    """
    connection = fields.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTION:
        drop = drop | connection_options(headers)
    out = [p for p in headers if p[0] not in drop and not p[0].startswith(_PREFIX)]
    offered = fields.get(b"accept-encoding")
    if offered is not None:
        coding = b"identity" if identity else narrow_encoding(offered)
        out = [p if p[0] != b"accept-encoding" else (p[0], coding) for p in out]
    elif identity:
        out.append((b"accept-encoding", b"identity"))
    out += added
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


class _Kept(dict[bytes, bool]):
    """Whether a provider's header goes to the caller, by its name; remembers what it was asked."""

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= _NAMES_KEPT:
            self.clear()
        kept = self[name] = name not in HOP_BY_HOP and not name.startswith(_OURS_DOWN)
        return kept


_KEPT = _Kept()
_NAME = itemgetter(0)


def caller_headers(headers: Headers, fields: Mapping[bytes, bytes], ours: Headers) -> Headers:
    """The provider's end-to-end headers, then ours; a provider cannot forge ours.

    `fields` is dict(headers).
    """
    out = list(compress(headers, map(_KEPT.__getitem__, map(_NAME, headers))))
    connection = fields.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTION:
        drop = connection_options(headers)
        out = [pair for pair in out if pair[0] not in drop]
    out += ours
    return out


def credential_for(
    dialect: str, key: str, fields: Mapping[bytes, bytes], host: str = ""
) -> tuple[bytes, bytes]:
    """The provider's key where its API reads it: Azure OpenAI's in `api-key`.

    Anthropic takes `x-api-key` or a bearer token; the form the caller used is kept, since SDKs
    from 2.x on pair the bearer with their own version header.
    """
    raw = key.encode()
    if host.endswith(_AZURE):
        return (b"api-key", raw)
    if dialect == "gemini":
        return (b"x-goog-api-key", raw)
    if dialect == "anthropic" and (b"x-api-key" in fields or b"authorization" not in fields):
        return (b"x-api-key", raw)
    return (b"authorization", b"Bearer " + raw)


def plain_headers(headers: Headers) -> Headers:
    """For a host of no provider: hop-by-hop fields and our own taken out, nothing else."""
    return [
        pair
        for pair in end_to_end(headers)
        if pair[0] not in (b"host", b"content-length", b"expect")
        and not pair[0].startswith(_PREFIX)
    ]
