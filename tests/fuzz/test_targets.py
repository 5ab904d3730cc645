"""Every fuzz target under hypothesis: good inputs, bent. MUXPROXY_FUZZ multiplies the inputs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.bent import TIMES, bent
from tests.fuzz.found import FOUND
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_keeps_its_promises(name: str) -> None:
    target = TARGETS[name]
    for seed in target.SEEDS:
        target.check(seed)

    @settings(
        max_examples=150 * TIMES, deadline=None, suppress_health_check=[HealthCheck.data_too_large]
    )
    @given(bent(target.SEEDS, target.TOKENS))
    def run(data: bytes) -> None:
        target.check(data)

    run()


@pytest.mark.parametrize(("name", "data"), FOUND.values(), ids=FOUND)
def test_what_was_found_stays_fixed(name: str, data: bytes) -> None:
    TARGETS[name].check(data, **({"size": 1} if name == "door" else {}))
