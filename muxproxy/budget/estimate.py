"""How many tokens a call may take, before it is made."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

import msgspec

from muxproxy.exchange import GENERATING, OTHER, REALTIME, Ask
from muxproxy.prices import Price

UNLEARNED_OUTPUT = 1024  # expected output of a model of which too little was seen
UNKNOWN_MAX_OUTPUT = 131_072  # upper bound where neither the caller nor the table has one
MEDIA_TOKENS = 16_384  # the most one image or file is taken to be, where only its URL is known
SEEN = 200  # outputs remembered per model
ENOUGH = 10  # outputs before the quantile is believed
MODELS = 1024  # models remembered


class Estimate(msgspec.Struct, frozen=True):
    """Tokens of a call: as expected, and the upper bound. Output is over all `n` choices."""

    tokens_in: int
    tokens_out: int
    worst_in: int
    worst_out: int
    n: int = 1


NOTHING = Estimate(0, 0, 0, 0)


def estimate(ask: Ask, price: Price | None, learned: int | None) -> Estimate:
    """The tokens of `ask`; `learned` is the model's p95 output per choice, if known.

    Worst case: every byte of text a token, media at the table's maximum, `n` times max_tokens
    or what the model can put out at most.
    """
    worst_in = ask.body_bytes - ask.media_bytes + ask.media * MEDIA_TOKENS
    if ask.endpoint not in GENERATING and ask.endpoint not in (OTHER, REALTIME):
        return Estimate(ask.prompt_tokens, 0, max(worst_in, ask.prompt_tokens), 0)
    n = ask.n if ask.n > 1 else 1
    most = ask.max_tokens
    expected = UNLEARNED_OUTPUT if learned is None else learned
    if most is None:
        most = UNKNOWN_MAX_OUTPUT
        if price is not None:
            most = price.max_output or price.context_window or UNKNOWN_MAX_OUTPUT
    expected = min(expected, most)
    worst_in = max(worst_in, ask.prompt_tokens)
    return Estimate(ask.prompt_tokens, expected * n, worst_in, most * n, n)


class Outputs:
    """What models put out lately: the 95th percentile of the last 200 answers per model."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[deque[int], list[int]]] = {}

    def observe(self, model: str, tokens: int, n: int = 1) -> None:
        """One finished answer of `n` choices with `tokens` of output in all."""
        each = -(-tokens // n) if n > 1 else tokens
        found = self._seen.get(model)
        if found is None:
            if len(self._seen) >= MODELS:
                del self._seen[next(iter(self._seen))]
            found = self._seen[model] = (deque(), [])
        order, ranked = found
        if len(order) == SEEN:
            del ranked[bisect_left(ranked, order.popleft())]
        order.append(each)
        insort(ranked, each)

    def p95(self, model: str) -> int | None:
        """Tokens that 95 of 100 answers do not exceed; None when too few were seen."""
        found = self._seen.get(model)
        if found is None or len(found[1]) < ENOUGH:
            return None
        ranked = found[1]
        return ranked[(len(ranked) * 95 - 1) // 100]
