"""What models can do, by name and by dated name."""

from __future__ import annotations

import pytest

from muxproxy.prices.abilities import _table, ability
from muxproxy.prices.maxima import MAX_OUTPUT, max_output

CASES = {
    "gpt-4o": (128_000, 16_384, True, True),
    "openai/gpt-4o-2024-08-06": (128_000, 16_384, True, True),
    "claude-sonnet-4-5-20250929": (200_000, 64_000, True, True),
    "gpt-3.5-turbo": (16_385, 4_096, True, False),
}


@pytest.mark.parametrize(("name", "want"), CASES.items(), ids=CASES)
def test_known_models(name: str, want: tuple[int, int, bool, bool]) -> None:
    known = ability(name)
    assert known is not None
    assert (known.context, known.output, known.tools, known.images) == want
    assert max_output(name) == want[1]


def test_a_model_that_is_not_known_is_not_said_to_lack_anything() -> None:
    assert ability("my-own-model") is None
    assert max_output("claude-3-opus-20240229") == 4_096  # from the makers' older pages


def test_the_bounds_by_family_are_not_below_what_the_table_says() -> None:
    """They stand in for its absent models, so what it has of a family must not exceed them."""
    for name, (_, output, _) in _table().items():
        bound = next((limit for prefix, limit in MAX_OUTPUT if name.startswith(prefix)), output)
        assert output <= bound, name
