"""Numbers as the files and the ledger hold them: little-endian, whatever the machine is."""

from __future__ import annotations

import sys
from array import array


def little(numbers: array[int]) -> array[int]:
    """From the machine's order, or back to it. The array given stays as it is."""
    if sys.byteorder == "little":
        return numbers
    swapped = numbers[:]
    swapped.byteswap()
    return swapped
