"""One stack per test module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.support import Served, served


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("sdk")) as running:
        yield running
