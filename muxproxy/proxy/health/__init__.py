"""How the candidates fare: in flight, latency, and who is passed over because it fails.

One `Health` per process; it survives reloads. Others only read it:

    state(provider, model)      "closed" | "open" | "half_open"
    in_flight(provider, model)  calls under way there
    latency(provider, model)    seconds to the first byte, smoothed; None: not known
    p95(provider, model)        of the last 128; None: fewer than 20 are known
"""

from muxproxy.proxy.health.circuit import CLOSED, HALF_OPEN, OPEN, Terms
from muxproxy.proxy.health.figures import Live
from muxproxy.proxy.health.health import Health

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "Health", "Live", "Terms"]
