"""What is fuzzed: each module reads bytes of strangers.

`check(data)` takes any bytes at all and raises for a broken promise; SEEDS are good inputs, TOKENS
what the format is made of. Under pytest hypothesis feeds them (tests/fuzz/test_targets.py), under
`scripts/fuzz` atheris does, led by coverage.
"""

from __future__ import annotations

from types import ModuleType

from tests.fuzz.targets import (
    config,
    door,
    events,
    frames,
    hello,
    inspection,
    taps,
    upstream,
    websocket,
)

TARGETS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (door, upstream, events, taps, inspection, config, hello, websocket, frames)
}
