"""What asyncio's transports do not offer: a look at, and a word with, the socket beneath."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

_LINGER_ZERO = struct.pack("ii", 1, 0)


def has_unread(transport: asyncio.Transport) -> bool:
    """Bytes wait in the kernel that the loop has not read yet."""
    with contextlib.suppress(OSError):
        fileno = transport.get_extra_info("socket").fileno()
        return any(fcntl.ioctl(fileno, termios.FIONREAD, bytes(4)))
    return False


def reset_on_close(transport: asyncio.Transport) -> None:
    """Closing will send a RST instead of a FIN."""
    with contextlib.suppress(OSError):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
