"""What `check` says about prices: models that dollar budgets could not account for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from muxproxy.config.check import Extra
from muxproxy.config.model import Config, Strategy
from muxproxy.config.notes import Note
from muxproxy.prices import Prices


def unpriced(config: Config) -> list[Note]:
    """Aliases whose targets have no known price, while `unknown_price: deny` is in force."""
    prices = Prices.load(config.prices, config.providers)
    found = []
    for alias, target in config.models.items():
        if isinstance(target, Strategy):
            continue
        for text in [target] if isinstance(target, str) else target:
            provider, slash, model = text.partition("/")
            if not slash or provider not in config.providers:
                continue
            policy = config.providers[provider].unknown_price or config.unknown_price
            if policy == "deny" and prices.find(provider, model, int(time.time())) is None:
                found.append(
                    Note(
                        ("models", alias),
                        f"the price of {text} is unknown, so dollar budgets refuse it",
                        "give it under prices:, or set unknown_price",
                    )
                )
    return found


EXTRA: Sequence[Extra] = (unpriced,)
