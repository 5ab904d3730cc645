"""Money in integers of nano-dollars (1e-9 USD).

Rounded up when holding, exact when settling: prices are integers of nano-dollars per million
tokens, so one token's cost is a fraction; a sum is rounded once, half up, at its end.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

NANO = 1_000_000_000  # nano-dollars in a dollar


def parse_dollars(text: str | int | float) -> int:
    """Nano-dollars of "$10", "10", "$0.25" or a number.

    Raises ValueError naming what was expected.
    """
    raw = str(text).strip().removeprefix("$").replace("_", "")
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise ValueError(f"expected dollars such as $10 or $0.25, got {text!r}") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"expected a non-negative amount of dollars, got {text!r}")
    return int((value * NANO).to_integral_value())


def dollars(nano: int | None) -> float | None:
    """Dollars as a number for JSON; None stays None."""
    return None if nano is None else nano / NANO


def show(nano: int | None) -> str:
    """Dollars for people: "$0.000123", "$12.50", "-" when unknown."""
    if nano is None:
        return "-"
    value = Decimal(nano) / NANO
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.6f}"
