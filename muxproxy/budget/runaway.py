"""Stops a run that has gone wild: too many dollars a minute, or the same request again and again.

Agents in a loop spend a day's budget in an hour. The guard counts per run (per key where no run
is named) and answers 429 with `x-should-retry: false`, because trying again is the fault.

    guard.check(caller, request_hash, now, calls)   before the hold; raises MuxError rate_limited
    guard.spent(caller, nano, now)                  after each settlement

`calls` is how often in a row the conversation's last tool call stands in it with the same
arguments: an agent's requests grow with each turn, so they are never the same.
"""

from __future__ import annotations

from collections import OrderedDict

from muxproxy.config.model import RunawayGuard
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller
from muxproxy.money import parse_dollars, show

MINUTE = 60.0
REMEMBERED = 4096  # runs


class _Run:
    __slots__ = ("last", "minute", "nano", "times")

    def __init__(self, now: float) -> None:
        self.last: int | None = None  # hash of the last request
        self.times = 0  # in a row
        self.minute = now
        self.nano = 0


class Runaway:
    """`per_minute` is nano-dollars, `repeats` the same request in a row; None: not looked at."""

    def __init__(self, *, per_minute: int | None = None, repeats: int | None = None) -> None:
        self._per_minute = per_minute
        self._repeats = repeats
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def change(self, terms: RunawayGuard) -> None:
        """Takes new terms; what was counted stays. Raises ValueError on bad ones."""
        given = terms.dollars_per_minute
        self._per_minute = None if given is None else parse_dollars(given)
        if terms.repeats is not None and terms.repeats < 1:
            raise ValueError("repeats: give a number of at least 1")
        self._repeats = terms.repeats

    @property
    def repeats(self) -> int | None:
        """How often the same may come in a row; None: not looked at."""
        return self._repeats

    def check(self, caller: Caller, request_hash: int, now: float, calls: int = 0) -> None:
        """Counts one request. Raises MuxError rate_limited (429) that says why."""
        if self._repeats is None and self._per_minute is None:
            return
        run = self._run(caller, now)
        if self._repeats is not None:
            run.times = run.times + 1 if request_hash == run.last else 1
            run.last = request_hash
            if run.times > self._repeats:
                raise _stopped(
                    caller,
                    f"the same request came {run.times} times in a row (at most {self._repeats})",
                    "repeats",
                )
            if calls > self._repeats:
                raise _stopped(
                    caller,
                    f"the same tool call with the same arguments came {calls} times in a row "
                    f"(at most {self._repeats})",
                    "tool_calls",
                )
        if self._per_minute is not None and self._minute(run, now) >= self._per_minute:
            raise _stopped(
                caller,
                f"{show(run.nano)} were spent within a minute (at most {show(self._per_minute)})",
                "dollars_per_minute",
            )

    def spent(self, caller: Caller, nano: int | None, now: float) -> None:
        """Adds what a call cost; unknown costs count nothing."""
        if self._per_minute is not None and nano:
            run = self._run(caller, now)
            self._minute(run, now)
            run.nano += nano

    def _minute(self, run: _Run, now: float) -> int:
        if now >= run.minute + MINUTE:
            run.minute, run.nano = now, 0
        return run.nano

    def _run(self, caller: Caller, now: float) -> _Run:
        name = f"run {caller.run}" if caller.run is not None else f"key {caller.key}"
        run = self._runs.get(name)
        if run is None:
            run = self._runs[name] = _Run(now)
            if len(self._runs) > REMEMBERED:
                self._runs.popitem(last=False)
        else:
            self._runs.move_to_end(name)
        return run


def _stopped(caller: Caller, why: str, kind: str) -> MuxError:
    who = f"Run {caller.run!r}" if caller.run is not None else f"Key {caller.key!r}"
    return MuxError(
        "rate_limited",
        f"{who} was stopped as a runaway: {why}. Send something else, or raise `runaway:`.",
        details={"guard": "runaway", "kind": kind, "run": caller.run, "key": caller.key},
        headers=[(b"retry-after", b"60"), (b"x-should-retry", b"false")],
    )
