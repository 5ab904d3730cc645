"""Answers given twice: the exact-match cache of a rule, and identical calls joined in flight.

Only where a rule says `cache:`. The key is a hash over who asks, what (the body's bytes, the path,
headers that change an answer) and what the rules made of it; whoever differs in one byte asks
anew. Only whole, sound answers are kept, as the caller got them: a stream as its events.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any

import msgspec

from muxproxy import exchange as words
from muxproxy.config.model import Config
from muxproxy.config.units import size
from muxproxy.headers import Headers
from muxproxy.proxy.cache_file import CacheFile, Entry
from muxproxy.proxy.relay import Sink
from muxproxy.proxy.terms import CacheTerms

if TYPE_CHECKING:
    from collections.abc import Callable

    from muxproxy.proxy.road import Exchange

_OURS = (b"x-muxproxy-", b"x-budget-")
_NOT_KEPT = frozenset(
    {b"date", b"connection", b"transfer-encoding", b"content-length", b"set-cookie"}
)
_VARYING = (b"anthropic-", b"openai-")
HIT, MISS = (b"x-muxproxy-cache", b"hit"), (b"x-muxproxy-cache", b"miss")


class _Temperature(msgspec.Struct, gc=False):
    temperature: Any = None


class _Asked(msgspec.Struct, gc=False):
    """What of a body shows whether the same request gives the same answer."""

    temperature: Any = None
    generationConfig: _Temperature | None = None
    previous_response_id: Any = None
    conversation: Any = None
    background: Any = None


_decode = msgspec.json.Decoder(_Asked).decode


class Cache:
    """What outlives a request: the file, and who is asking what right now."""

    def __init__(self, file: CacheFile, most: int) -> None:
        self.file = file
        self.most = most  # bytes of one answer
        self.asking: dict[bytes, asyncio.Future[Entry | None]] = {}


class Recording:
    """The caller's sink, with a copy of what goes through; the copy is kept if all ends well."""

    def __init__(self, sink: Sink, cache: Cache, key: bytes, terms: CacheTerms) -> None:
        self._sink = sink
        self._cache = cache
        self._key = key
        self._terms = terms
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._size = 0
        self._status = 0
        self._whole = False
        self.waiter: asyncio.Future[Entry | None] | None = None
        self.flush: Callable[[], None] = sink.flush
        self.watch = sink.watch
        self.whole_body = sink.whole_body

    @property
    def gone(self) -> bool:
        """As the sink's."""
        return self._sink.gone

    def start(self, status: int, headers: Headers) -> None:
        """Headers that are ours tell of this call only."""
        self._status = status
        self._headers = [
            (name, value)
            for name, value in headers
            if name not in _NOT_KEPT and not name.startswith(_OURS)
        ]
        self._sink.start(status, headers)

    def write(self, data: bytes) -> None:
        """Copied as long as it is small enough."""
        self._size += len(data)
        if self._size <= self._cache.most:
            self._parts.append(data)
        elif self._parts:
            self._parts.clear()
        self._sink.write(data)

    def end(self) -> None:
        """The body is complete."""
        self._whole = True
        self._sink.end()

    def abort(self) -> None:
        """It broke."""
        self._sink.abort()

    def close(self, x: Exchange) -> None:
        """The exchange is settled: keep its answer, and give it to those who wait."""
        entry = self._entry(x)
        if entry is not None and self._terms.ttl > 0:
            self._cache.file.put(self._key, entry, time.time(), self._terms.ttl)
        if self.waiter is not None:
            self._cache.asking.pop(self._key, None)
            if not self.waiter.done():
                self.waiter.set_result(entry)

    def _entry(self, x: Exchange) -> Entry | None:
        relay, tap = x.relay, x.booking.tap
        sound = relay is not None and relay.end_kind == words.FINISHED and self._status == 200
        if not sound or not self._whole or self._size > self._cache.most:
            return None
        if getattr(tap, "error", None) is not None or x.target is None:
            return None
        return Entry(self._headers, b"".join(self._parts), x.target.provider, x.booking.model)


async def answered(x: Exchange, terms: CacheTerms) -> bool:
    """Whether the answer was here already (it went out then); else it will be recorded."""
    cache = x.proxy.cache
    if cache is None or x.upload is not None or not _may(x, terms):
        return False
    key = _key(x)
    entry = cache.file.get(key, time.time()) if terms.ttl > 0 else None
    if entry is None and terms.join:
        waiter = cache.asking.get(key)
        if waiter is not None:
            entry = await asyncio.shield(waiter)
    if entry is not None:
        cache.file.hits += 1
        _replay(x, entry)
        return True
    cache.file.misses += 1
    x.extra = [MISS]
    recording = x.recording = Recording(x.sink, cache, key, terms)
    if terms.join and key not in cache.asking:
        recording.waiter = asyncio.get_running_loop().create_future()
        cache.asking[key] = recording.waiter
    x.sink = recording
    return False


def _replay(x: Exchange, entry: Entry) -> None:
    """Send it as it was, with our headers for this call."""
    assert x.plan is not None
    x.status = 200
    x.plan.reason += f"; answered from the cache ({entry.provider}/{entry.model or '-'})"
    x.booking.edits = ("cache",)
    headers = [*entry.headers, *x.booking.headers(x.plan, None), HIT]
    headers.append((b"x-muxproxy-provider", entry.provider.encode("latin-1", "replace")))
    events = any(k == b"content-type" and v.startswith(b"text/event-") for k, v in entry.headers)
    if not events:
        headers.append((b"content-length", b"%d" % len(entry.body)))
    x.sink.start(200, headers)
    x.sink.write(entry.body)
    x.sink.end()


def _may(x: Exchange, terms: CacheTerms) -> bool:
    """Whether the same request would give the same answer, as far as the request tells."""
    ask, plan = x.ask, x.plan
    assert ask is not None and plan is not None
    control = x.fields.get(b"cache-control", b"")
    if b"no-store" in control or b"no-cache" in control or x.scope["method"] != "POST":
        return False
    if ask.endpoint in (words.EMBEDDINGS, words.COUNT_TOKENS):
        return True
    if ask.endpoint not in words.GENERATING:
        return False
    try:
        asked = _decode(x.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    if asked.previous_response_id or asked.conversation or asked.background:
        return False  # the answer depends on what the provider keeps
    given = asked.temperature
    if given is None and asked.generationConfig is not None:
        given = asked.generationConfig.temperature
    given = plan.set.get("temperature", given)
    if given is None:
        given = x.snapshot.config.defaults.temperature
    return terms.any or (isinstance(given, int | float) and given == 0)


def _key(x: Exchange) -> bytes:
    ask, plan = x.ask, x.plan
    assert ask is not None and plan is not None
    seen = hashlib.sha256()
    parts: list[bytes] = [
        x.caller.key.encode(),
        (x.caller.user or "").encode(),
        x.scope["method"].encode(),
        x.route.path.encode(),
        (x.route.provider or x.provider or "").encode(),
        x.scope["query_string"],
        msgspec.json.encode(plan.set, order="sorted"),
        msgspec.json.encode(sorted(f"{t.provider}/{t.model}" for t in plan.candidates)),
        x.fields.get(b"accept-encoding", b""),
        *(
            name + b":" + value
            for name, value in sorted(x.scope["headers"])
            if name.startswith(_VARYING)
        ),
        x.body,
    ]
    for part in parts:
        seen.update(b"%d:" % len(part))
        seen.update(part)
    return seen.digest()


def cache_for(config: Config, ledger: str, old: Cache | None) -> Cache | None:
    """The cache that this configuration wants: the old one if there is one, so that a reload
    loses nothing; None where no rule asks."""
    if not any(rule.cache is not None for rule in config.rules):
        if old is not None:
            old.file.close()
        return None
    limit, most = size(config.cache.max_bytes), size(config.cache.max_entry)
    path = config.cache.file or f"{ledger}.cache"
    if old is not None and old.file.path == path and old.file.off is None:
        old.file.limit, old.most = limit, most
        return old
    if old is not None:
        old.file.close()
    return Cache(CacheFile(path, limit), most)
