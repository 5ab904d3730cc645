"""What a caller may wish of its routing: `X-Routing-Strategy`, and `cascade_config` on
`/v1/chat/completions/enhanced`. The names are ModelMuxer's where it had one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muxproxy.errors import MuxError
from muxproxy.exchange import Ask
from muxproxy.money import parse_dollars
from muxproxy.rules.context import Context

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

HEADER = b"x-routing-strategy"
CHEAP_FIRST, STRONG_FIRST = "cheap first", "strong first"
WISHES = {
    "heuristic": "heuristic",
    "semantic": "semantic",
    "cascade": "cascade",
    "hybrid": "hybrid",
    "cheapest": "cheapest",
    "fastest": "fastest",
    "weighted": "weighted",
    "least_in_flight": "least_in_flight",
    "peak_ewma": "peak_ewma",
    "cost_optimized": CHEAP_FIRST,
    "quality_focused": STRONG_FIRST,
    "balanced": "hybrid",
}

COST, BALANCED, QUALITY = "cost_optimized", "balanced", "quality_focused"
# How good a cheap answer must be, 0..1, where `quality_threshold` does not say.
BARS = {COST: 0.3, BALANCED: 0.5, QUALITY: 0.8}
GOOD = BARS[BALANCED]  # also where there is no cascade_config
_MEMBERS = ("cascade_type", "max_budget", "quality_threshold", "confidence_threshold")


class CascadeWish(msgspec.Struct, frozen=True, kw_only=True):
    """A `cascade_config`. `max_budget` is in nano-dollars; `sure` is the mean probability of a
    token that the logprobs judge asks for, None: what follows from the bar."""

    kind: str = BALANCED
    max_budget: int | None = None
    quality: float | None = None
    sure: float | None = None

    @property
    def bar(self) -> float:
        """0..1; see BARS."""
        return BARS[self.kind] if self.quality is None else self.quality


def check(x: Exchange) -> None:
    """Look at the wishes of a request. Raises MuxError invalid_request, naming the field.

    `cascade_config` is one of ours on the enhanced endpoint only; elsewhere it passes as it came.
    """
    ask = x.ask
    assert ask is not None
    if HEADER in x.fields:
        _strategy(x.fields[HEADER])
    if ask.cascade_config is not None:
        ask.cascade_config = _cascade(ask.cascade_config) if x.route.enhanced else None


def wished(context: Context) -> str | None:
    """The wish of a request that was checked, one of WISHES."""
    if context.ask.cascade_config is not None:
        return "cascade"
    for name, value in context.headers:
        if name == HEADER:
            return _strategy(value)
    return None


def cascade_of(ask: Ask) -> CascadeWish | None:
    """Its checked `cascade_config`."""
    found = ask.cascade_config
    return found if isinstance(found, CascadeWish) else None


def _strategy(value: bytes) -> str:
    wish = value.decode("latin-1").strip().lower()
    if wish not in WISHES:
        raise _bad("X-Routing-Strategy", f"expected one of {', '.join(WISHES)}")
    return wish


def _cascade(given: object) -> CascadeWish:
    if not isinstance(given, dict):
        raise _bad("cascade_config", f"expected an object with {', '.join(_MEMBERS)}")
    unknown = [name for name in given if name not in _MEMBERS]
    if unknown:
        raise _bad(f"cascade_config.{unknown[0][:40]}", f"not known; {', '.join(_MEMBERS)} are")
    kind = given.get("cascade_type")
    if kind is not None and (not isinstance(kind, str) or kind not in BARS):
        raise _bad("cascade_config.cascade_type", f"expected one of {', '.join(BARS)}")
    return CascadeWish(
        kind=BALANCED if kind is None else kind,
        max_budget=_dollars(given.get("max_budget")),
        quality=_share(given, "quality_threshold"),
        sure=_share(given, "confidence_threshold"),
    )


def _dollars(given: object) -> int | None:
    if given is None:
        return None
    try:
        found = parse_dollars(given) if isinstance(given, str | int | float) else 0
    except ValueError:
        found = 0
    if found <= 0:
        raise _bad("cascade_config.max_budget", "expected more than 0 dollars, such as 0.05")
    return found


def _share(given: dict[str, object], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _bad(f"cascade_config.{name}", "expected a number from 0 to 1, such as 0.7")
    return float(value)


def _bad(field: str, message: str) -> MuxError:
    return MuxError("invalid_request", f"{field}: {message}", details={"param": field})
