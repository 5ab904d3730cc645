"""`muxproxy train`: fit the classifier to one's own labelled prompts, and refuse what is no better
than dice."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time

from muxproxy import __version__
from muxproxy.cli import labels, table
from muxproxy.cli.labels import Labelled
from muxproxy.routing import judgement, measure
from muxproxy.routing.fitting import RIDGE, ROUNDS, fit
from muxproxy.routing.weights import BadWeights, Weights, dump

_HELD_OUT = 0.25  # of the prompts, by a digest of their text: the same ones every time


def arguments(parser: argparse.ArgumentParser) -> None:
    """The rows, the pair, and where to write."""
    labels.arguments(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="for `routing.weights`")
    parser.add_argument("--weights", metavar="FILE", help="start from these; default: built in")


def main(args: argparse.Namespace) -> int:
    """0 written, 1 no better than dice (nothing is written), 2 the call was wrong."""
    try:
        base = judgement.weights_at(args.weights)
        rows = labels.read(args)
    except (OSError, ValueError, BadWeights) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    train, held_out = _split(rows)
    if len(train) < 20 or len(held_out) < 20:
        print(f"train: {len(rows)} rows are too few: 100 are the least", file=sys.stderr)
        return 2
    told: dict[str, object] = {
        "rows": len(train),
        "held_out": len(held_out),
        "pair": f"{args.cheap} > {args.strong}",
        "source": args.source or os.path.basename(args.labels),
        "seed": "none needed",
        "ridge": RIDGE,
        "rounds": ROUNDS,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "from": base.header.training,
    }
    gains = [row.strong - row.cheap for row in train]
    found = fit(base, [row.prompt for row in train], gains, told)
    worth = _report(base, found, held_out)
    if worth.low is None or worth.low <= 0.5:
        print(
            "train: no better than dice on the held-out prompts: nothing written", file=sys.stderr
        )
        return 1
    told["held_out_apgr"] = [worth.apgr, worth.low, worth.high]
    with open(f"{args.out}.new", "wb") as file:
        file.write(dump(found))
    os.replace(f"{args.out}.new", args.out)
    print(f"{args.out} written; use it with  routing: {{weights: {args.out}}}")
    return 0


def _split(rows: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    train: list[Labelled] = []
    held_out: list[Labelled] = []
    for row in rows:
        digest = hashlib.blake2b(row.prompt.strip().lower().encode("utf-8", "replace"))
        part = int.from_bytes(digest.digest()[:4], "big") / 2**32
        (held_out if part < _HELD_OUT else train).append(row)
    return train, held_out


def _report(base: Weights, found: Weights, rows: list[Labelled]) -> measure.Worth:
    """Prints the table; what the new weights are worth."""
    before = labels.items(rows, [base.score(row.prompt) for row in rows])
    after = labels.items(rows, [found.score(row.prompt) for row in rows])
    new = measure.with_interval(after)
    lines = [
        _line("random", measure.worth(measure.dice(before)), None),
        _line("before", measure.with_interval(before), None),
        _line("trained", new, _threshold(after)),
        _line("oracle", measure.worth(measure.oracle(before)), None),
    ]
    print(f"{len(rows)} held-out prompts")
    print(table.render(("ROUTER", "APGR", "95 %", "SAVED AT 95 %", "THRESHOLD"), lines))
    return new


def _line(name: str, worth: measure.Worth, threshold: float | None) -> tuple[object, ...]:
    interval = (
        "" if worth.low is None or worth.high is None else f"{worth.low:.3f}-{worth.high:.3f}"
    )
    return (
        name,
        None if worth.apgr is None else f"{worth.apgr:.3f}",
        interval,
        None if worth.saved is None else f"{100 * worth.saved:.0f} %",
        None if threshold is None else f"{threshold:.2f}",
    )


def _threshold(items: list[measure.Item]) -> float | None:
    """The score from which on the strong model brings 95 % of its quality."""
    share = measure.crossing(
        measure.curve(items), measure.ENOUGH * sum(i.strong for i in items) / len(items), 0
    )
    if share is None:
        return None
    ranked = sorted((i.score for i in items), reverse=True)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]
