"""What one model costs: integer rates by kind of token, and the arithmetic over them.

A rate is nano-dollars per million units, so $0.15 per million tokens is 150_000_000 and a fee of
$0.01 per call is 10_000_000_000_000. A sum of rate x count is divided once, at its end: half up
for a cost, upwards for a ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from muxproxy.exchange import Usage

PER = 1_000_000  # units a rate stands for
HALF = PER // 2

# A kind without a rate of its own is billed as the kind it is a part of (as providers do).
# Order matters: a parent stands before its children.
KINDS: dict[str, str | None] = {
    "input": None,
    "output": None,
    "cache_read": "input",
    "cache_write": "input",  # five minutes, or the only kind there is
    "cache_write_1h": "cache_write",
    "reasoning": "output",
    "audio_in": "input",
    "audio_out": "output",
    "audio_cache_read": "cache_read",
    "image_in": "input",
    "image_out": "output",
    "request": None,  # per call
    "search": None,  # per server-tool call
}

# kind -> rate, or [base, [above, rate], ...]: the rate of *all* tokens of a call whose prompt is
# longer than `above`.
RawRates = Mapping[str, "int | list[int | list[int]]"]

# Words of providers for the tiers of the table. A word that is neither here nor in the table
# (default, standard, auto, on_demand ...) means the plain price.
TIER_WORDS = {"on_demand_priority": "priority", "on_demand_flex": "flex", "speed_fast": "fast"}


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of one context tier: calls whose prompt is longer than `above` tokens."""

    above: int = -1
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    audio_cache_read: int = 0
    image_in: int = 0
    image_out: int = 0
    request: int = 0
    search: int = 0
    plain_out: int = 0  # the dearer of output and reasoning
    peak_in: int = 0  # the dearest input kind in this tier or one below
    peak_out: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The price of one model at one moment.

    `tiers` ascend by prompt length; the first is the base. `service` holds the price of each
    service tier that differs (priority, flex, batch, fast). `context_window` and `max_output`
    are tokens, None when unknown.
    """

    name: str = ""
    tiers: tuple[Rates, ...] = (Rates(),)
    service: dict[str, Price] = {}
    context_window: int | None = None
    max_output: int | None = None
    free: bool = False  # priced at zero on purpose: never touches a dollar budget
    assumed: bool = False  # from `unknown_price: {input, output}`

    @property
    def per_request(self) -> bool:
        """A fee for each call is part of it."""
        return any(rates.request for rates in self.tiers)

    def at_tier(self, tier: str | None) -> Price:
        """The price of a service tier as a provider names it; the plain one when none differs."""
        if tier is None or not self.service:
            return self
        word = tier.lower()
        return self.service.get(TIER_WORDS.get(word, word), self)

    def dearer(self, tier: str | None) -> Price:
        """What to hold at when `tier` is asked for: providers may serve at the plain one."""
        priced = self.at_tier(tier)
        if priced is self or priced.tiers[-1].peak_out < self.tiers[-1].peak_out:
            return self
        return priced

    def rates(self, tokens_in: int) -> Rates:
        """The rates of a call with a prompt of `tokens_in` tokens."""
        for rates in reversed(self.tiers):
            if tokens_in > rates.above:
                return rates
        return self.tiers[0]

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of a settled call, exact, rounded half up once.

        A cost that the provider itself reported is not looked at: see Prices.settle.
        """
        if usage.tier is not None and self.service:
            priced = self.at_tier(usage.tier)
            if priced is not self:
                return priced._cost(usage)
        return self._cost(usage)

    def _cost(self, usage: Usage) -> int:
        read = usage.cache_read or 0
        write = usage.cache_write_5m or 0
        write_1h = usage.cache_write_1h or 0
        plain = usage.input
        rates = self.tiers[0]
        if len(self.tiers) > 1:
            rates = self.rates(plain + read + write + write_1h)
        total = rates.request
        if usage.audio_in:
            cached = min(usage.cache_read_audio or 0, read)
            audio = min(max(usage.audio_in - cached, 0), plain)
            total += audio * rates.audio_in + cached * rates.audio_cache_read
            plain -= audio
            read -= cached
        if usage.images:
            images = min(usage.images, plain)
            total += images * rates.image_in
            plain -= images
        out = usage.output
        if usage.audio_out:
            audio = min(usage.audio_out, out)
            total += audio * rates.audio_out
            out -= audio
        if usage.images_out:
            images = min(usage.images_out, out)
            total += images * rates.image_out
            out -= images
        total += plain * rates.input + out * rates.output
        if read:
            total += read * rates.cache_read
        if write or write_1h:
            total += write * rates.cache_write + write_1h * rates.cache_write_1h
        if usage.reasoning:
            total += usage.reasoning * rates.reasoning
        if usage.requests:
            total += usage.requests * rates.search
        return (total + HALF) // PER

    def ceiling(self, tokens_in: int, tokens_out: int, *, worst: bool = False) -> int:
        """Nano-dollars to hold for so many tokens, rounded up.

        `worst` takes the dearest kind on each side (a prompt may be written to a cache at twice
        the plain rate), so no mixture of kinds costs more.
        """
        rates = self.tiers[0] if len(self.tiers) == 1 else self.rates(tokens_in)
        if worst:
            total = tokens_in * rates.peak_in + tokens_out * rates.peak_out
        else:
            total = tokens_in * rates.input + tokens_out * rates.plain_out
        return -(-(total + rates.request) // PER)

    def affords(self, nano: int, tokens_in: int, *, worst: bool = False) -> int | None:
        """How many output tokens `nano` still pays for after the prompt; negative: not even that.
        None when output costs nothing."""
        rates = self.rates(tokens_in)
        rate = rates.peak_out if worst else rates.plain_out
        left = nano * PER - rates.request
        left -= tokens_in * (rates.peak_in if worst else rates.input)
        if left < 0:
            return -1
        return None if rate == 0 else left // rate


FREE = Price(name="free", free=True)


def price_of(
    raw: RawRates,
    *,
    name: str = "",
    service: Mapping[str, RawRates] | None = None,
    context_window: int | None = None,
    max_output: int | None = None,
    assumed: bool = False,
) -> Price:
    """A Price from raw rates; `service` holds, per service tier, the kinds that differ."""
    tiers = _tiers(raw)
    return Price(
        name=name,
        tiers=tiers,
        service={
            tier: Price(
                name=f"{name} {tier}",
                tiers=_tiers({**raw, **differs}),
                context_window=context_window,
                max_output=max_output,
            )
            for tier, differs in (service or {}).items()
        },
        context_window=context_window,
        max_output=max_output,
        free=not any(r.peak_in or r.peak_out or r.request or r.search for r in tiers),
        assumed=assumed,
    )


def _rate_at(value: int | list[int | list[int]], above: int) -> int:
    if isinstance(value, int):
        return value
    base, *steps = value
    rate = base
    for step in steps:
        assert isinstance(step, list)
        if step[0] <= above:
            rate = step[1]
    assert isinstance(rate, int)
    return rate


def _tiers(raw: RawRates) -> tuple[Rates, ...]:
    starts = {-1}
    for value in raw.values():
        if isinstance(value, list):
            starts.update(step[0] for step in value[1:] if isinstance(step, list))
    tiers: list[Rates] = []
    for start in sorted(starts):
        rate: dict[str, int] = {}
        for kind, parent in KINDS.items():
            if kind in raw:
                rate[kind] = _rate_at(raw[kind], start)
            else:
                rate[kind] = rate[parent] if parent else 0
        ins = max(v for k, v in rate.items() if k in _INS)
        outs = max(v for k, v in rate.items() if k in _OUTS)
        if tiers:
            ins, outs = max(ins, tiers[-1].peak_in), max(outs, tiers[-1].peak_out)
        plain_out = max(rate["output"], rate["reasoning"])
        tiers.append(Rates(above=start, plain_out=plain_out, peak_in=ins, peak_out=outs, **rate))
    return tuple(tiers)


_INS = frozenset(
    {
        "input",
        "cache_read",
        "cache_write",
        "cache_write_1h",
        "audio_in",
        "audio_cache_read",
        "image_in",
    }
)
_OUTS = frozenset({"output", "reasoning", "audio_out", "image_out"})
