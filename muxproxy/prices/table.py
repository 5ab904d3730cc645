"""The shipped price table: found by provider and model, decoded provider by provider on first use.

{"source": "genai-prices 0.2.3",
 "providers": {ID: {"url": REGEX, "match": CLAUSE | null, "fallback": [ID],
                    "models": [[ID, CLAUSE, CONTEXT | null, PRICES, VARIANTS]]}}}
PRICES    RATES, or [[WHEN, RATES], ...] of which the last whose WHEN holds counts, else the first
VARIANTS  [[SERVICE TIER, WHEN, RATES], ...]: per kind the first that holds counts
WHEN      null | ["from", UNIX SECONDS] | ["daily", START, END]   (seconds of the UTC day)
RATES     kind -> nano-dollars per million, or [base, [above, rate], ...]; null: nothing of the
          kinds we can count is priced (audio by the hour ...), so the price is unknown
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from pathlib import Path
from typing import Any

import msgspec

from muxproxy.prices.match import dashed_date, matches
from muxproxy.prices.maxima import max_output
from muxproxy.prices.rates import FREE, Price, RawRates, price_of

TABLE = Path(__file__).with_name("table.json")
DAY = 86_400


class Model(msgspec.Struct, frozen=True, array_like=True):
    """One model of the table."""

    id: str
    match: list[Any]
    context: int | None
    prices: Any
    variants: list[tuple[str, list[Any] | None, dict[str, Any]]] = []


class Vendor(msgspec.Struct):
    """One provider of the table; `models` is decoded on first use."""

    url: str
    models: msgspec.Raw
    match: list[Any] | None = None
    fallback: list[str] = []


class _Document(msgspec.Struct):
    source: str
    providers: dict[str, Vendor]


class Offer:
    """A model's price over time: one Price between any two moments at which it changes."""

    __slots__ = ("_breaks", "_daily", "_model", "_name", "_over", "_priced", "fixed")

    def __init__(self, name: str, model: Model | None, over: dict[str, Any]) -> None:
        """`over` holds the YAML's own `rates`, `service`, `context_window`, `max_output`."""
        self._name = name
        self._model = model
        self._over = over
        whens = [when for when in _whens(model) if when is not None]
        self._breaks = sorted({when[1] for when in whens if when[0] == "from"})
        self._daily = sorted({s for when in whens if when[0] == "daily" for s in when[1:]})
        self._priced: dict[tuple[int, int], Price | None] = {}
        self.fixed = not whens

    def at(self, at: int) -> Price | None:
        """The price at Unix second `at`; None when unknown."""
        key = (
            (0, 0)
            if self.fixed
            else (bisect_right(self._breaks, at), bisect_right(self._daily, at % DAY))
        )
        try:
            return self._priced[key]
        except KeyError:
            price = self._priced[key] = self._price(at)
            return price

    def _price(self, at: int) -> Price | None:
        model, over = self._model, self._over
        raw: RawRates | None = _rates(model, at) if model else None
        service: dict[str, dict[str, Any]] = {}
        for tier, when, rates in model.variants if model and raw else ():
            if _holds(when, at):
                service[tier] = {**rates, **service.get(tier, {})}
        mine: dict[str, Any] = over.get("rates", {})
        if mine:
            # With no price beneath, output without a rate is not free: it costs what input does.
            known = raw or ({} if "input" not in mine else {"output": mine["input"]})
            raw = {**known, **mine}
            service = {tier: {**rates, **mine} for tier, rates in service.items()}
        for tier, rates in over.get("service", {}).items():
            service[tier] = {**service.get(tier, {}), **rates}
        if raw is None:
            return None
        if not raw and not mine:
            return FREE if self._name.endswith(":free") else None
        return price_of(
            raw,
            name=self._name,
            service=service,
            context_window=over.get("context_window") or (model.context if model else None),
            max_output=over.get("max_output") or max_output(self._name),
        )


class Table:
    """The decoded table. `version` names its source and its content."""

    def __init__(self, data: bytes) -> None:
        document = msgspec.json.decode(data, type=_Document)
        self._vendors = document.providers
        self._models: dict[str, list[Model]] = {}
        digest = hashlib.blake2b(data, digest_size=4).hexdigest()
        self.version = f"{document.source.replace(' ', '-')}+{digest}"

    @classmethod
    def read(cls, path: Path = TABLE) -> Table:
        """The table at `path`. Raises OSError, or msgspec.DecodeError when it is no table."""
        return cls(path.read_bytes())

    def vendors(self) -> list[str]:
        """Ids of all providers."""
        return list(self._vendors)

    def vendor(self, name: str, base_url: str | None) -> str | None:
        """The provider that `base_url` belongs to, else the one that `name` means, else None."""
        if base_url:
            _, _, rest = base_url.rpartition("://")
            for vid, vendor in self._vendors.items():
                if re.match(vendor.url, f"https://{rest}"):
                    return vid
        name = name.lower().strip()
        if name in self._vendors:
            return name
        for vid, vendor in self._vendors.items():
            if vendor.match and matches(vendor.match, name):
                return vid
        return None

    def models(self, vendor: str) -> list[Model]:
        """The models of one provider, decoded once."""
        found = self._models.get(vendor)
        if found is None:
            raw = self._vendors[vendor].models
            found = self._models[vendor] = msgspec.json.decode(raw, type=list[Model])
        return found

    def model(self, vendor: str, name: str) -> Model | None:
        """The model that `name` means at `vendor`, dated names and aliases included."""
        name = name.lower()
        found = self._match(vendor, name)
        if found is None and (dashed := dashed_date(name)) != name:
            found = self._match(vendor, dashed)
        return found

    def _match(self, vendor: str, name: str) -> Model | None:
        for model in self.models(vendor):
            if matches(model.match, name):
                return model
        for other in self._vendors[vendor].fallback:
            for model in self.models(other):
                if matches(model.match, name):
                    # Another provider's model is sold at its plain price here: no variants.
                    return Model(model.id, model.match, model.context, model.prices)
        return None


def _whens(model: Model | None) -> list[list[Any] | None]:
    if model is None:
        return []
    whens = [when for _, when, _ in model.variants]
    if isinstance(model.prices, list):
        whens.extend(when for when, _ in model.prices)
    return whens


def _holds(when: list[Any] | None, at: int) -> bool:
    if when is None:
        return True
    if when[0] == "from":
        return bool(at >= when[1])
    _, start, end = when
    second = at % DAY
    return bool(second >= start or second < end) if end < start else bool(start <= second < end)


def _rates(model: Model, at: int) -> RawRates | None:
    prices = model.prices
    if not isinstance(prices, list):
        return prices  # type: ignore[no-any-return]
    for when, rates in reversed(prices):
        if _holds(when, at):
            return rates  # type: ignore[no-any-return]
    return prices[0][1]  # type: ignore[no-any-return]
