"""Simulated providers: real sockets and real wire formats, deterministic, scripted, replaying.

Stands alone: it imports nothing of muxproxy and shares no parser with it, so that a bug in one does
not hide in the other. Reference: docs/sim.md.
"""

from muxproxy.sim.command import main
from muxproxy.sim.record import Recorded
from muxproxy.sim.script import Options, ScriptError
from muxproxy.sim.server import SimServer, start
from muxproxy.sim.thread import SimThread, in_thread

__all__ = [
    "Options",
    "Recorded",
    "ScriptError",
    "SimServer",
    "SimThread",
    "in_thread",
    "main",
    "start",
]
