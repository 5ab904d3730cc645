"""A reservation over all budgets that cover one call. It ends once: settled or released."""

from __future__ import annotations

from collections.abc import Callable

from muxproxy.budget.accounts import Call, Counter
from muxproxy.budget.estimate import Estimate
from muxproxy.budget.windows import FOREVER
from muxproxy.exchange import Spend
from muxproxy.prices import Price

STEP = 256  # output tokens that a running stream reserves further at a time


class Held:
    """What one call holds.

    `max_tokens` is the lowered limit per choice that a clamping budget asks for, else None.
    `allowance` is how many output tokens a running stream may have put out before `extend` must
    be asked (FOREVER where no budget has stop_stream). `overrun` is set by settle: nano-dollars
    beyond the hold. `price` is the price to settle at, which may be the assumed one; `rate` is
    what was held at: that of the service tier asked for, where it is dearer.
    """

    __slots__ = (
        "_drop", "_nano", "allowance", "at", "call", "closed", "entries", "estimate", "max_tokens",
        "overrun", "price", "rate", "warned",
    )  # fmt: skip

    def __init__(
        self, call: Call, price: Price | None, now: float, drop: Callable[[Held], None] | None
    ) -> None:
        self.call = call
        self.price = price
        self.rate = price
        if price is not None and call.ask.service_tier is not None:
            self.rate = price.dearer(call.ask.service_tier)
        self.at = now
        self.estimate: Estimate = call.estimate
        # (counter, nano-dollars, tokens) as they stand in the counter.
        self.entries: list[tuple[Counter, int, int]] = []
        self.max_tokens: int | None = None
        self.allowance = FOREVER
        self.overrun = 0
        self.warned: tuple[str, ...] = ()
        self.closed = False
        self._nano = -1
        self._drop = drop

    @property
    def nano(self) -> int | None:
        """Nano-dollars reserved (the most that any budget holds); None: price unknown."""
        if self.rate is None:
            return None
        if self._nano < 0:
            est = self.estimate
            expected = self.rate.ceiling(est.tokens_in, est.tokens_out)
            self._nano = max((nano for _, nano, _ in self.entries), default=0) or expected
        return self._nano

    @property
    def reserved(self) -> tuple[int, int]:
        """(input, output) tokens reserved, the most that any budget holds: for the journal."""
        est = self.estimate
        if any(counter.account.worst for counter, _, _ in self.entries):
            return est.worst_in, est.worst_out
        return est.tokens_in, est.tokens_out

    @property
    def scopes(self) -> tuple[str, ...]:
        """The counters it stands in, as `name|scope|window`."""
        return tuple([counter.label for counter, _, _ in self.entries])

    def settle(self, cost: int | None, tokens: int, now: float) -> list[Spend]:
        """Ends the hold with what the call cost (None: unknown) and all its tokens.

        Returns what the books must add; an empty list when it had ended already.
        """
        if self.closed:
            return []
        self.closed = True
        if self._drop is not None:
            self._drop(self)
        nano = 0 if cost is None else cost
        if nano and self.price is not None and not self.price.free:
            self.overrun = max(0, nano - (self.nano or 0))
        spends = []
        for counter, held_nano, held_tokens in self.entries:
            counter.held_nano -= held_nano
            counter.held_tokens -= held_tokens
            spends.append(counter.book(nano, tokens, now))
            spent = counter.spent_nano if counter.account.dollars else counter.spent_tokens
            if spent > counter.limit:
                self._tell_overrun(counter, nano > held_nano, tokens > held_tokens)
        return spends

    def settle_at_hold(self, now: float) -> list[Spend]:
        """Ends a hold whose call nobody can report on: booked as what it held, an estimate."""
        est = self.estimate
        expected = est.tokens_in + est.tokens_out
        tokens = max([tokens for _, _, tokens in self.entries], default=0) or expected
        return self.settle(self.nano, tokens, now)

    def release(self) -> None:
        """Ends the hold of a call that was never sent: nothing is owed."""
        if self.closed:
            return
        self.closed = True
        if self._drop is not None:
            self._drop(self)
        for counter, nano, tokens in self.entries:
            counter.held_nano -= nano
            counter.held_tokens -= tokens

    def extend(self, tokens_out: int) -> int:
        """Reserves further output for a running stream, up to `tokens_out` and a step more.

        Returns the new allowance. Below `tokens_out` it says: the limit is reached, stop here.
        """
        if self.closed or tokens_out <= self.allowance:
            return self.allowance
        granted = max(tokens_out, min(tokens_out + STEP, self.estimate.worst_out))
        for counter, nano, tokens in self.entries:
            if counter.account.stop_stream:
                granted = min(granted, self.affordable(counter, nano, tokens))
        if granted <= self.allowance:
            return self.allowance
        for i, (counter, nano, tokens) in enumerate(self.entries):
            if counter.account.stop_stream:
                more_nano, more_tokens = self._needs(counter, granted)
                more_nano, more_tokens = max(more_nano, nano), max(more_tokens, tokens)
                counter.held_nano += more_nano - nano
                counter.held_tokens += more_tokens - tokens
                self.entries[i] = (counter, more_nano, more_tokens)
        self.allowance = granted
        self._nano = -1
        return granted

    def affordable(self, counter: Counter, nano: int, tokens: int) -> int:
        """Output tokens that the counter can cover for this call in all."""
        account, est = counter.account, self.estimate
        tokens_in = est.worst_in if account.worst else est.tokens_in
        if not account.dollars:
            return counter.remaining + tokens - tokens_in
        if self.rate is None:
            return FOREVER
        found = self.rate.affords(counter.remaining + nano, tokens_in, worst=account.worst)
        return FOREVER if found is None else found

    def _needs(self, counter: Counter, tokens_out: int) -> tuple[int, int]:
        worst, est = counter.account.worst, self.estimate
        tokens_in = est.worst_in if worst else est.tokens_in
        nano = 0
        if self.rate is not None:
            nano = self.rate.ceiling(tokens_in, tokens_out, worst=worst)
        return nano, tokens_in + tokens_out

    def _tell_overrun(self, counter: Counter, nano: bool, tokens: bool) -> None:
        if (nano if counter.account.dollars else tokens) and not counter.account.shadow:
            counter.account.event("overrun", counter)
