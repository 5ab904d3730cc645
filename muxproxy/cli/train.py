"""`muxproxy train`: fit the classifier to one's own labelled prompts, or to what the ledger kept of
one's own traffic, and refuse what is no better than dice."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence

from muxproxy import __version__
from muxproxy.cli import labels, ledger_file, lessons, table
from muxproxy.cli.lessons import Example, TooFew
from muxproxy.routing import features, judgement, measure
from muxproxy.routing.fitting import RIDGE, ROUNDS, fit
from muxproxy.routing.weights import BadWeights, Weights, dump

_HELD_OUT = 0.25  # of the prompts, by a digest of their text: the same ones every time
_LEAST = 20  # rows on either side of that


def arguments(parser: argparse.ArgumentParser) -> None:
    """The rows, the pair, and where to write."""
    labels.arguments(parser, required=False)
    parser.add_argument(
        "--from-ledger",
        action="store_true",
        help="learn from the calls of aliases with `learn:`: judged answers and feedback",
    )
    parser.add_argument("--alias", metavar="NAME", help="--from-ledger: only calls of this alias")
    parser.add_argument(
        "--since", type=ledger_file.since, metavar="DURATION", help="--from-ledger: e.g. 30d"
    )
    ledger_file.where(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="for `routing.weights`")
    parser.add_argument("--weights", metavar="FILE", help="start from these; default: built in")


def main(args: argparse.Namespace) -> int:
    """0 written, 1 no better than dice (nothing is written), 2 the call was wrong or there is too
    little to learn from."""
    wrong = _wrong(args)
    if wrong is not None:
        print(f"train: {wrong}", file=sys.stderr)
        return 2
    try:
        base = judgement.weights_at(args.weights)
        found = lessons.read(args, base) if args.from_ledger else _labelled(args, base)
    except (OSError, ValueError, BadWeights, TooFew) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    if found is None:
        return 2
    rows, source = found
    train, held_out = _split(rows)
    if len(train) < _LEAST or len(held_out) < _LEAST:
        print(f"train: {len(rows)} rows are too few: 100 are the least", file=sys.stderr)
        return 2
    return _train(args, base, train, held_out, source)


def _train(
    args: argparse.Namespace,
    base: Weights,
    train: list[Example],
    held_out: list[Example],
    source: dict[str, object],
) -> int:
    told: dict[str, object] = {
        "rows": len(train),
        "held_out": len(held_out),
        **source,
        "seed": "none needed",
        "ridge": RIDGE,
        "rounds": ROUNDS,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "from": base.header.training,
    }
    gains = [row.strong - row.cheap for row in train]
    even = all(row.weight == 1 for row in train)
    counts = None if even else [row.weight for row in train]
    found = fit(base, [row.read for row in train], gains, told, counts)
    worth, threshold = _report(base, found, held_out)
    if worth.low is None or worth.low <= 0.5:
        print(
            "train: no better than dice on the held-out prompts: nothing written", file=sys.stderr
        )
        return 1
    told["held_out_apgr"] = [worth.apgr, worth.low, worth.high]
    found.header.threshold = None if threshold is None else round(threshold, 4)
    with open(f"{args.out}.new", "wb") as file:
        file.write(dump(found))
    os.replace(f"{args.out}.new", args.out)
    print(f"{args.out} written; use it with  routing: {{weights: {args.out}}}")
    return 0


def _wrong(args: argparse.Namespace) -> str | None:
    """What the options lack."""
    if args.from_ledger:
        given = [name for name in ("labels", "cheap", "strong", "source", "prices")
                 if getattr(args, name) is not None]  # fmt: skip
        return f"--from-ledger takes no {given[0]}: the ledger has it" if given else None
    if args.labels is None or args.cheap is None or args.strong is None:
        return "give LABELS.jsonl with --cheap and --strong, or --from-ledger"
    if args.alias is not None or args.since is not None:
        return "--alias and --since belong to --from-ledger"
    return None


def _labelled(
    args: argparse.Namespace, base: Weights
) -> tuple[list[Example], dict[str, object]] | None:
    rows = [
        Example(
            read=features.read(row.prompt, base.header.bits),
            key=row.prompt.strip().lower().encode("utf-8", "replace"),
            cheap=row.cheap,
            strong=row.strong,
            cheap_cost=row.cheap_cost,
            strong_cost=row.strong_cost,
        )
        for row in labels.read(args)
    ]
    source = args.source or os.path.basename(args.labels)
    return rows, {"pair": f"{args.cheap} > {args.strong}", "source": source}


def _split(rows: list[Example]) -> tuple[list[Example], list[Example]]:
    train: list[Example] = []
    held_out: list[Example] = []
    for row in rows:
        part = int.from_bytes(hashlib.blake2b(row.key).digest()[:4], "big") / 2**32
        (held_out if part < _HELD_OUT else train).append(row)
    return train, held_out


def _report(
    base: Weights, found: Weights, rows: list[Example]
) -> tuple[measure.Worth, float | None]:
    """Prints the table; what the new weights are worth, and the threshold for them."""
    before, after = _items(rows, base), _items(rows, found)
    old, new = measure.with_interval(before), measure.with_interval(after)
    threshold = measure.threshold(after)
    lines = [
        _line("random", measure.worth(measure.dice(before)), None),
        _line("before", old, None),
        _line("trained", new, threshold),
        _line("oracle", measure.worth(measure.oracle(before)), None),
    ]
    print(f"{len(rows)} held-out prompts")
    print(table.render(("ROUTER", "APGR", "95 %", "SAVED AT 95 %", "THRESHOLD"), lines))
    if new.apgr is not None and old.apgr is not None and new.apgr <= old.apgr:
        print("warning: by these prompts the weights it began with do as well", file=sys.stderr)
    return new, threshold


def _items(rows: Sequence[Example], weights: Weights) -> list[measure.Item]:
    return [
        measure.Item(
            score=weights.place(weights.gain(row.read)),
            cheap=row.cheap,
            strong=row.strong,
            cheap_cost=row.cheap_cost,
            strong_cost=row.strong_cost,
            full_cost=row.strong_cost,
            weight=row.weight,
        )
        for row in rows
    ]


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
