"""What providers say of their own rate limits, read from the headers of their answers.

OpenAI, Groq, xAI, Azure: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, reset as "6m0s",
"120ms" or (Azure, Together) bare seconds. Anthropic:
`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, reset in
RFC 3339. Mistral: `x-ratelimit-{limit,remaining}-{req,tokens}-minute`, no reset. Anthropic sends
`retry-after` on 200s too, so it counts only with 429, 503 and 529.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from operator import itemgetter

REMEMBERED = 4096  # (provider, model, key) triples
REFUSED = frozenset({429, 503, 529})
UNSAID = 60.0  # seconds until a limit without a reset is taken to be free again

_PATTERNS = {
    "x-ratelimit-{what}-requests": "requests",
    "x-ratelimit-{what}-tokens": "tokens",
    "x-ratelimit-{what}-req-minute": "requests",
    "x-ratelimit-{what}-tokens-minute": "tokens",
    "anthropic-ratelimit-requests-{what}": "requests",
    "anthropic-ratelimit-tokens-{what}": "tokens",
    "anthropic-ratelimit-input-tokens-{what}": "input-tokens",
    "anthropic-ratelimit-output-tokens-{what}": "output-tokens",
}
_FIELDS: dict[bytes, tuple[str, str]] = {
    pattern.format(what=what).encode(): (kind, what)
    for pattern, kind in _PATTERNS.items()
    for what in ("limit", "remaining", "reset")
}

_NAME = itemgetter(0)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


class Gauge:
    """The last word on one kind of limit. -1: not said. `reset` is Unix seconds."""

    __slots__ = ("limit", "remaining", "reset")

    def __init__(self) -> None:
        self.limit = -1
        self.remaining = -1
        self.reset = 0.0


class _State:
    __slots__ = ("gauges", "refused_until")

    def __init__(self) -> None:
        self.gauges: dict[str, Gauge] = {}
        self.refused_until = 0.0


class ProviderHeadroom:
    """Remembers, per provider and model, what is left.

    `key` tells callers apart that bring their own provider keys (limits are per account); ""
    is the configured key.
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, str, str], _State] = {}

    def observe(
        self,
        provider: str,
        model: str,
        headers: Sequence[tuple[bytes, bytes]],
        status: int,
        now: float,
        key: str = "",
    ) -> None:
        """Reads one answer's head. Values that make no sense are passed over."""
        if status not in REFUSED and _FIELDS.keys().isdisjoint(map(_NAME, headers)):
            state = self._states.get((provider, model, key))
            if state is not None and status < 400:
                state.refused_until = 0.0
            return
        found: list[tuple[str, str, bytes]] | None = None
        wait: float | None = None
        for name, value in headers:
            field = _FIELDS.get(name)
            if field is not None:
                found = found or []
                found.append((*field, value))
            elif status in REFUSED and name in (b"retry-after", b"retry-after-ms"):
                seconds = retry_after(name, value, now)
                if seconds is not None and (wait is None or name.endswith(b"ms")):
                    wait = seconds
        where = (provider, model, key)
        state = self._states.get(where)
        if state is None:
            if found is None and wait is None:
                return
            if len(self._states) >= REMEMBERED:
                del self._states[next(iter(self._states))]
            state = self._states[where] = _State()
        if wait is not None:
            state.refused_until = now + wait
        elif status < 400:
            state.refused_until = 0.0
        for kind, what, value in found or ():
            _note(state, kind, what, value, now)

    def out_until(self, provider: str, model: str, key: str = "") -> float:
        """Unix seconds until which the candidate is known to be out; 0.0 when it is not.

        Compare with the present: a moment that has passed means nothing.
        """
        state = self._states.get((provider, model, key))
        if state is None:
            return 0.0
        until = state.refused_until
        for gauge in state.gauges.values():
            if gauge.remaining == 0 and gauge.reset > until:
                until = gauge.reset
        return until

    def room(self, provider: str, model: str, key: str, now: float) -> float:
        """The part of its limits that a key has left, 0 to 1; 1 where nothing is known."""
        state = self._states.get((provider, model, key))
        if state is None:
            return 1.0
        parts = [
            gauge.remaining / gauge.limit
            for gauge in state.gauges.values()
            if gauge.limit > 0 and gauge.remaining >= 0 and (gauge.reset > now or not gauge.reset)
        ]
        return min(1.0, *parts) if parts else 1.0

    def gauges(self) -> Iterator[tuple[str, str, str, str, Gauge]]:
        """(provider, model, key, kind, gauge) for the metrics, of the configured keys only: "" or
        "#2" and so on."""
        for (provider, model, key), state in self._states.items():
            if not key or key[0] == "#":
                for kind, gauge in state.gauges.items():
                    yield provider, model, key, kind, gauge


def _note(state: _State, kind: str, what: str, value: bytes, now: float) -> None:
    gauge = state.gauges.get(kind)
    if gauge is None:
        gauge = state.gauges[kind] = Gauge()
    text = value.decode("latin-1").strip()
    if what == "reset":
        if (seconds := parse_reset(text, now)) is not None:
            gauge.reset = now + seconds
        return
    try:
        count = int(float(text))
    except (ValueError, OverflowError):
        return
    if what == "limit":
        gauge.limit = count
    else:
        gauge.remaining = count
        if count == 0 and gauge.reset <= now:
            gauge.reset = now + UNSAID


def parse_reset(text: str, now: float) -> float | None:
    """Seconds from `now` of a reset value in any of the providers' forms; None: unreadable."""
    text = text.partition(",")[0]  # two fields that something on the way joined: the first counts
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not 0 <= number < 1e15:
            return None
        if number > 1e12:  # Unix milliseconds
            return max(number / 1000 - now, 0.0)
        return max(number - now, 0.0) if number > 1e9 else number  # Unix seconds, or seconds
    if (found := _DURATION.fullmatch(text)) and text:
        days, hours, minutes, seconds, millis = found.groups()
        try:
            return (
                int(days or 0) * 86_400
                + int(hours or 0) * 3600
                + int(minutes or 0) * 60
                + float(seconds or 0)
                + float(millis or 0) / 1000
            )
        except ValueError:
            return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment.timestamp() - now, 0.0)


def retry_after(name: bytes, value: bytes, now: float) -> float | None:
    """Seconds of retry-after (RFC 9110 section 10.2.3) or retry-after-ms."""
    text = value.decode("latin-1").strip()
    try:
        number = float(text)
    except ValueError:
        try:
            return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
        except (ValueError, TypeError):
            return None
    if not 0 <= number < 1e9:
        return None
    return number / 1000 if name.endswith(b"-ms") else number
