"""Good inputs, bent."""

from __future__ import annotations

import os

from hypothesis import strategies as st

TIMES = int(os.environ.get("MUXPROXY_FUZZ", "1"))  # so many times the inputs


@st.composite
def bent(draw: st.DrawFn, seeds: list[bytes], tokens: list[bytes]) -> bytes:
    """A good input, or several, with pieces cut out, doubled, flipped or put in."""
    data = b"".join(draw(st.lists(st.sampled_from(seeds), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data = data[:at] + draw(st.sampled_from(tokens)) + data[at:]
        elif kind == 1:
            data = data[:at] + data[end:]
        elif kind == 2:
            data = data[:end] + data[at:end] * draw(st.integers(1, 40)) + data[end:]
        else:
            data = data[:at] + draw(st.binary(max_size=3)) + data[end:]
    return data
