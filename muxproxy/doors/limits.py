"""Bounds of a door in seconds and bytes, and its running counts.

The server builds `DoorLimits` from the configuration; the door reads no configuration itself.
"""

from __future__ import annotations

import msgspec


class DoorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound a client can run into.

    `half_close`: what a client's FIN means while its request is in flight. A FIN alone cannot
    tell "I have said all I had to say" from "I am gone": the kernel shows CLOSE_WAIT for both
    until we write. False (as nginx does): it means the client left, except where the request
    itself announced that it is the last one (`connection: close`, or HTTP/1.0 without
    keep-alive), as scripts around `nc` do. True: never; such a client is served, and one that
    left is noticed when a write fails.
    """

    max_head: int = 64 << 10  # request line and fields together
    max_target: int = 16 << 10
    max_fields: int = 256
    max_body: int = 64 << 20
    read_ahead: int = 256 << 10  # request bytes buffered before reading pauses (soft: one read)
    write_high: int = 64 << 10  # response bytes buffered before the app is told to pause
    header_timeout: float = 30.0  # first byte to the end of the head
    body_timeout: float = 60.0  # between two reads of a request body
    min_body_rate: int = 512  # bytes a second on average, after body_timeout
    keep_alive: float = 75.0  # between two requests
    send_timeout: float = 60.0  # without the client taking a byte of the response
    connect_timeout: float = 10.0  # CONNECT tunnels
    # Reading on after a refusal, so that the answer is not lost to a reset; and how long a
    # stopping door waits for the first request of a client that had just connected.
    linger: float = 2.0
    max_connections: int = 20_000
    half_close: bool = False


class DoorStats:
    """Running counts of one door; plain integers, read by the metrics collector."""

    __slots__ = ("connections", "intercepted", "refused", "requests", "tunnels")

    def __init__(self) -> None:
        self.connections = 0  # accepted since start
        self.requests = 0  # handed to the app
        self.tunnels = 0  # CONNECT tunnels that passed unread
        self.intercepted = 0  # CONNECT tunnels that were read
        self.refused: dict[str, int] = {}  # code -> count
