"""`muxproxy top`: the status page, live. `q` or Ctrl-C ends it."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

from muxproxy.cli import local, view

_SCREEN, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask, and how often."""
    local.arguments(parser)
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--plain", action="store_true", help="no colours (also: NO_COLOR)")


def main(args: argparse.Namespace) -> int:
    """0 ended by the user, 1 not there, 2 no terminal."""
    place = local.find(args, control=True)
    if place is None:
        return 2
    if not sys.stdout.isatty():
        print("top needs a terminal; for scripts: muxproxy status --json", file=sys.stderr)
        return 2
    paint = view.Paint(not args.plain and not os.environ.get("NO_COLOR"))
    try:
        return _watch(place, args.every, paint)
    except KeyboardInterrupt:  # the usual way to end it
        return 0


def _watch(place: local.Local, every: float, paint: view.Paint) -> int:
    before: dict[str, Any] | None = None
    with _terminal():
        while True:
            try:
                code, now = place.get("/v1/status")
                if code != 200:
                    raise local.Unanswered(str(now.get("error", {}).get("message", code)))
            except local.Unanswered as error:
                if before is None:
                    failure = str(error)
                    break
                _draw([paint(str(error), "red")])
            else:
                size = shutil.get_terminal_size((80, 24))
                _draw(view.page(now, before, size.columns, size.lines, paint))
                before = now
            if _quit(every):
                return 0
    print(failure, file=sys.stderr)
    return 1


def _draw(lines: list[str]) -> None:
    text = f"{_REST_OF_LINE}\r\n".join(lines)
    sys.stdout.write(f"{_HOME}{text}{_REST_OF_LINE}{_REST}")
    sys.stdout.flush()


def _quit(seconds: float) -> bool:
    """Wait, and see whether q was pressed."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) in (b"q", b"Q", b"")


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """The other screen, keys as they are pressed; all put back afterwards."""
    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd) if sys.stdin.isatty() else None
    try:
        if saved is not None:
            tty.setcbreak(fd)
        sys.stdout.write(_SCREEN)
        yield
    finally:
        sys.stdout.write(_BACK)
        sys.stdout.flush()
        if saved is not None:
            termios.tcsetattr(fd, termios.TCSADRAIN, saved)
