"""Child processes pinned to a core, and what the kernel says they used."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROXY_CORE = "0"
LOAD_CORE = "1"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def spawn(command: list[str], core: str, **keywords: object) -> subprocess.Popen[bytes]:
    pinned = ["taskset", "-c", core, *command] if os.cpu_count() and os.cpu_count() > 1 else command
    return subprocess.Popen(pinned, **keywords)  # type: ignore[call-overload, no-any-return]


def wait_for_port(port: int, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.002)
    raise TimeoutError(f"nothing listens on port {port}")


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for entry in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in entry.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its descendants."""
    total = 0.0
    for one in tree(pid):
        # schedstat counts nanoseconds on the CPU; /proc/PID/stat only ticks of 10 ms.
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0]) / 1e9
            except (OSError, IndexError):
                continue
    return total


def rss_mib(pid: int) -> float:
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
