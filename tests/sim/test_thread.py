import threading

import pytest

from muxproxy.sim import in_thread

from .raw import ask


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    with in_thread() as sim:
        assert ask(sim.url).status == 200
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        ask(sim.url)


def test_run_gives_the_result_and_until_its_time_out() -> None:
    with in_thread() as sim:
        assert sim.run(lambda a, b: a + b, 1, b=2) == 3
        with pytest.raises(TimeoutError):
            sim.until(lambda s: False, 0.001)
