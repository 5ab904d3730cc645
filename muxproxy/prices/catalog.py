"""What a call costs, by the names the configuration uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from muxproxy.config.model import Provider
from muxproxy.exchange import Usage
from muxproxy.prices.overrides import Overrides
from muxproxy.prices.rates import FREE, Price
from muxproxy.prices.table import Offer, Table

# Names remembered at once; callers choose model names, so the memory is bounded.
REMEMBERED = 4096


class Row(msgspec.Struct, frozen=True):
    """What recost needs of one stored call. `at` is Unix seconds, `cost` nano-dollars."""

    id: int
    provider: str
    model: str
    at: int
    usage: Usage
    cost: int | None


class Difference(msgspec.Struct):
    """How far a provider's own figures lie from ours, in nano-dollars (theirs - ours)."""

    calls: int = 0
    differing: int = 0
    nano: int = 0


class Prices:
    """Prices by provider name (of the YAML) and model (as that provider names it).

    `version` names the table and the overrides; it is stored with every call.
    `differences` holds, per provider, how its reported costs differ from ours.
    """

    def __init__(
        self,
        table: Table,
        overrides: Mapping[str, Mapping[str, Any]],
        providers: Mapping[str, Provider],
    ) -> None:
        self._table = table
        self._overrides = Overrides(overrides)
        self._free = frozenset(n for n, p in providers.items() if p.price == "free")
        self._vendors = {n: table.vendor(n, p.base_url) for n, p in providers.items()}
        self._offers: dict[tuple[str, str | None], Offer | None] = {}
        self.differences: dict[str, Difference] = {}
        self.version = table.version
        if overrides:
            seal = hashlib.blake2b(msgspec.json.encode(overrides, order="sorted"), digest_size=4)
            self.version += f".{seal.hexdigest()}"

    @classmethod
    def load(
        cls,
        overrides: Mapping[str, Mapping[str, Any]],
        providers: Mapping[str, Provider],
        table: Table | None = None,
    ) -> Prices:
        """The shipped table (or `table`) with the YAML's `prices:` and `providers:` applied.

        Raises ValueError on a bad override.
        """
        return cls(table or Table.read(), overrides, providers)

    def find(self, provider: str, model: str | None, at: int) -> Price | None:
        """The price of `model` at Unix second `at`, for all service tiers (see Price.at_tier).

        None when unknown; FREE for providers with `price: free`.
        """
        try:
            offer = self._offers[provider, model]
        except KeyError:
            offer = self._remember(provider, model)
        if provider in self._free:
            return FREE
        return None if offer is None else offer.at(at)

    def models(self, provider: str) -> list[str]:
        """The table's names of a provider's models; none when it is not in the table."""
        vendor = self._vendors.get(provider)
        return [] if vendor is None else [model.id for model in self._table.models(vendor)]

    def settle(self, provider: str, price: Price | None, usage: Usage) -> int | None:
        """Nano-dollars of a finished call: the provider's own figure where it reported one.

        None when nobody knows. Free providers cost nothing whatever they say.
        """
        if price is not None and price.free and price.name == FREE.name:
            return 0
        ours = None if price is None else price.cost(usage)
        theirs = usage.reported_cost
        if theirs is None:
            return ours
        if ours is not None:
            seen = self.differences.setdefault(provider, Difference())
            seen.calls += 1
            if theirs != ours:
                seen.differing += 1
                seen.nano += theirs - ours
        return theirs

    def recost(self, rows: Iterable[Row]) -> Iterator[tuple[Row, int | None]]:
        """Each stored call with what it costs at these prices, as of its own time."""
        for row in rows:
            price = self.find(row.provider, row.model, row.at)
            if row.usage.reported_cost is not None and not (price and price.free):
                yield row, row.usage.reported_cost
            else:
                yield row, None if price is None else price.cost(row.usage)

    def _remember(self, provider: str, model: str | None) -> Offer | None:
        offer: Offer | None = None
        if model and provider not in self._free:
            vendor = self._vendors.get(provider)
            if vendor is None and provider not in self._vendors:
                vendor = self._table.vendor(provider, None)
            over = self._overrides.find(provider, model)
            known = self._table.model(vendor, model) if vendor else None
            if known is not None or over is not None:
                offer = Offer(model, known, over or {})
        if len(self._offers) >= REMEMBERED:
            self._offers.clear()
        self._offers[provider, model] = offer
        return offer
