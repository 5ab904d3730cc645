"""Listeners: our own HTTP/1.1 server, TLS, HTTP/2 beside it, CONNECT tunnels."""

from muxproxy.doors.door import Door
from muxproxy.doors.guard import guarded
from muxproxy.doors.limits import DoorLimits, DoorStats
from muxproxy.doors.tls import DoorTls

__all__ = ["Door", "DoorLimits", "DoorStats", "DoorTls", "guarded"]
