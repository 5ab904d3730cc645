"""One log line per exchange, written by a thread of its own.

The call's path appends a receipt to a list; every 50 ms what has gathered goes to the thread,
which makes lines of it. A reader of stderr that stands still holds up the thread and no call;
what cannot be kept meanwhile is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from typing import Any

import msgspec

from muxproxy.exchange import FINISHED, Receipt
from muxproxy.ledger.reports import receipt_json
from muxproxy.money import show

_GATHER_SECONDS = 0.05
# Batches that may wait for the thread; at 2,000 calls/s more than half a minute.
_MOST_BATCHES = 1_000
_MOST_IN_A_BATCH = 5_000
_LAST_WORDS_SECONDS = 2.0
# Of a correlation id; longer ones are cut.
_MOST_CHARACTERS = 200
# Members of a receipt that say nothing in a log, or stand there by other names.
_LEFT_OUT = frozenset({"time", "price_version", "bytes_in", "bytes_out", "path"})


class Entry(msgspec.Struct):
    """One exchange, and what ties it to the caller's own logs."""

    receipt: Receipt
    request_id: bytes | None
    traceparent: bytes | None


class ExchangeLog:
    """Lines for the `muxproxy` logger. `add` is called on the loop, at a call's end."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._gathered: list[Entry] = []
        self._batches: queue.Queue[list[Entry] | None] = queue.Queue(_MOST_BATCHES)
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def add(self, entry: Entry) -> None:
        """Soon in the log."""
        gathered = self._gathered
        if len(gathered) >= _MOST_IN_A_BATCH:
            self.dropped += 1
            return
        gathered.append(entry)
        if len(gathered) == 1:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        batch, self._gathered = self._gathered, []
        if not batch:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="muxproxy-log", daemon=True)
            self._thread.start()
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            self.dropped += len(batch)

    def _write(self) -> None:
        told = 0
        while (batch := self._batches.get()) is not None:
            for entry in batch:
                # Each line ends in a write, which lets the loop's thread go on.
                self._one(entry)
            if self.dropped > told:
                self._log.warning(f"{self.dropped - told} lines of calls were dropped")
                told = self.dropped

    def _one(self, entry: Entry) -> None:
        receipt = entry.receipt
        level = logging.INFO if receipt.end == FINISHED else logging.WARNING
        if self._log.isEnabledFor(level):
            self._log.log(level, "call", extra={**_fields(entry), "line": _line(receipt)})

    async def aclose(self) -> None:
        """Write what is left, as far as stderr takes it in two seconds."""
        self._hand_over()
        thread = self._thread
        if thread is not None:
            await asyncio.to_thread(self._end, thread)

    def _end(self, thread: threading.Thread) -> None:
        try:
            self._batches.put(None, timeout=_LAST_WORDS_SECONDS)
        except queue.Full:
            return
        thread.join(_LAST_WORDS_SECONDS)


def _fields(entry: Entry) -> dict[str, Any]:
    shown = {k: v for k, v in receipt_json(entry.receipt).items() if k not in _LEFT_OUT}
    for name in ("usage", "tags", "edits", "shadow"):
        value = shown[name]
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if v is not None}
        shown[name] = value or None
    shown["request_id"] = _text(entry.request_id)
    shown["traceparent"] = _text(entry.traceparent)
    return shown


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:_MOST_CHARACTERS].decode("latin-1")


def _line(r: Receipt) -> str:
    """For people: `1a2b... 200 openai/gpt-4o rule=rest 12 in 34 out $0.0001 830 ms`."""
    where = "/".join(filter(None, (r.provider, r.model))) or "-"
    usage = "" if r.usage is None else f" {r.usage.input_total} in {r.usage.output_total} out"
    ended = "" if r.end == FINISHED else f" {r.end}" + (f": {r.code}" if r.code else "")
    tries = f" {r.attempts} attempts" if r.attempts > 1 else ""
    why = f" ({r.reason})" if r.reason else ""
    cost = "" if r.cost is None else f" {show(r.cost)}"
    caller = "" if r.caller == "anonymous" else f" {r.caller}"
    return (
        f"{r.id:016x} {r.status}{ended}{caller} {where}{usage}{cost} "
        f"{r.total_us / 1000:.0f} ms{tries}{why}"
    )
