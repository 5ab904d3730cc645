"""`explain` and `replay` walk the road of live calls: a change there must not leave them behind."""

from __future__ import annotations

import pytest

from tests.cli.test_explain_golden import FILES, run


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_explain_still_runs(path) -> None:
    code, printed = run(path)
    assert code in (0, 1)
    assert "so: " in printed
