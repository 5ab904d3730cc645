"""Unit prices as integers, looked up without the library they were generated from.

`rates` prices a Usage, `table` reads the shipped table, `match` is its matching language,
`overrides` reads the YAML's `prices:`, `catalog` puts them together, `refresh` regenerates
the table. No clock and no environment: the moment is an argument.
"""

from muxproxy.prices.catalog import Prices, Row
from muxproxy.prices.overrides import override_faults
from muxproxy.prices.rates import FREE, Price, price_of

__all__ = ["FREE", "Price", "Prices", "Row", "override_faults", "price_of"]
