"""Learning from calls: a share of those sent to the cheap side is judged (`explore`), and what
came of a call is kept with its prompt's features (`learn`).

What a cheap-routed call would have taught is only known where its answer is judged; where all
cheap answers of an alias are judged anyway (cascades), nothing needs exploring. An explored call
is a cascade like any other, so its caller gets an answer no judge finds fault with.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Learning
from muxproxy.ledger.lessons import CHEAP, STRONG, Lesson
from muxproxy.proxy.booking import Booking
from muxproxy.routing import packing
from muxproxy.routing.features import bounded

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange


class Judged(msgspec.Struct):
    """A cheap answer that was looked at. `enough` None: it failed, or nobody could tell."""

    enough: bool | None
    booking: Booking
    better: bool | None = None  # where it was not: whether the strong answer was


def explore(x: Exchange) -> int:
    """Have this call's cheap answer judged, if it is one of those drawn; Plan.judged."""
    plan = x.plan
    assert plan is not None
    if plan.learning is None:
        return plan.judged
    share, cheap = exploring(x)
    most = plan.learning.explore
    plan.weighed = most > 0 and draw(x.proxy.seed, x.booking.id) < most
    if share and plan.weighed:
        plan.judged, plan.explored = cheap, True
        plan.reason += f"; explored, as {100 * share:.3g} % of such calls are"
    return plan.judged


def exploring(x: Exchange) -> tuple[float, int]:
    """How likely this call is to be explored, and how many of its candidates are then judged."""
    plan = x.plan
    assert plan is not None and x.ask is not None
    learning = plan.learning
    if learning is None or plan.judged or plan.score is None:
        return 0.0, 0
    if x.ask.endpoint not in words.GENERATING or (x.terms is not None and x.terms.cache):
        return 0.0, 0  # an answer that goes into the cache is not judged: see cascade.serve
    cheap = 0
    while cheap < len(plan.candidates) and plan.candidates[cheap] in learning.cheap:
        cheap += 1
    return (learning.explore, cheap) if 0 < cheap < len(plan.candidates) else (0.0, 0)


def draw(seed: bytes, id: int) -> float:
    """0..1, the same for a call however often it is asked; `seed` differs between processes."""
    digest = blake2b(id.to_bytes(8, "big"), key=seed, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def keep(x: Exchange) -> None:
    """Keep what a settled call teaches. About half a millisecond, after the answer went out."""
    plan, ask = x.plan, x.ask
    if plan is None or ask is None or plan.learning is None:
        return
    judged = None if x.cascade is None else x.cascade.judged
    enough = None if judged is None else judged.enough
    metrics = x.proxy.metrics
    if plan.explored:
        told = "not judged" if enough is None else "kept" if enough else "sent on"
        metrics.explored[told] += 1
    side = _side(x, plan.learning)
    if side is None or not ask.text:
        return
    # Of calls that are judged anyway only those sent on had to be drawn, for the strong answer.
    drawn = plan.explored or (plan.weighed and enough is False and _rates(plan.spec))
    cost = x.booking.settled_nano or None
    asked_first = cost if judged is None else judged.booking.settled_nano or None
    lesson = Lesson(
        id=x.booking.id,
        alias=plan.learning.alias,
        side=side,
        enough=enough,
        better=None if judged is None else judged.better,
        share=plan.learning.explore if drawn else None,
        score=plan.score,
        cheap_nano=asked_first if side == CHEAP or judged is not None else None,
        strong_nano=cost if side == STRONG else None,
        features=packing.pack(ask.text),
        text=_storable(ask.text) if plan.learning.text else None,
    )
    metrics.lessons["kept" if x.proxy.ledger.teach(lesson) else "dropped"] += 1


def _rates(spec: object) -> bool:
    return isinstance(spec, Strategy) and spec.judge is not None


def _side(x: Exchange, learning: Learning) -> str | None:
    """Whose answer the caller got; None: nobody's, or of one who is on neither side."""
    relay = x.relay
    if relay is None or relay.end_kind != words.FINISHED or x.status >= 400 or x.left:
        return None
    if x.target in learning.cheap:
        return CHEAP
    return STRONG if x.target in learning.strong else None


def _storable(text: str) -> str:
    """The part that is read, without what SQLite cannot hold."""
    return bounded(text).encode("utf-8", "replace").decode()
