"""`muxproxy eval`: what a strategy is worth on labelled prompts, beside dice and an oracle."""

from __future__ import annotations

import argparse
import json
import sys

import msgspec

from muxproxy.cli import labels, table
from muxproxy.routing import judgement, measure
from muxproxy.routing.weights import BadWeights


def arguments(parser: argparse.ArgumentParser) -> None:
    """The rows, the pair, and who scores."""
    labels.arguments(parser)
    parser.add_argument("--strategy", choices=("semantic", "heuristic"), default="semantic")
    parser.add_argument("--weights", metavar="FILE", help="of `muxproxy train`; default: built in")
    parser.add_argument(
        "--agree",
        metavar="NAME",
        help="measure a cascade: on where this second cheap model says something else",
    )
    parser.add_argument("--curve", action="store_true", help="the whole curve in ten steps")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")


def main(args: argparse.Namespace) -> int:
    """0 measured, 1 the strategy is not better than dice or the cascade loses money, 2 the call
    was wrong."""
    try:
        scorer = judgement.scorer(args.strategy, args.weights)
        rows = labels.read(args, args.agree)
    except (OSError, ValueError, BadWeights) as error:
        print(f"eval: {error}", file=sys.stderr)
        return 2
    plain = [msgspec.structs.replace(row, also_cost=0.0) for row in rows]
    scores = [scorer(row.prompt).score for row in rows]
    own = labels.items(plain, scores)
    found = {
        "random": measure.worth(measure.dice(own)),
        "oracle": measure.worth(measure.oracle(own)),
    }
    found[args.strategy] = measure.with_interval(own)
    judged = own
    if args.agree is not None:
        judged = labels.items(rows, [float(row.differs) for row in rows], cascade=True)
        found["cascade, agreement"] = measure.with_interval(judged)
    _print(found, len(rows), args)
    if args.curve:
        _curve(judged, args)
    return _verdict(found, args)


def _print(found: dict[str, measure.Worth], n: int, args: argparse.Namespace) -> None:
    if args.json:
        for name, worth in found.items():
            print(json.dumps({"router": name, "n": n, **msgspec.to_builtins(worth)}))
        return
    print(f"{n} prompts, {args.cheap} > {args.strong}")
    head = ("ROUTER", "APGR", "95 %", "CPT50", "CPT80", "SAVED AT 95 %")
    lines = []
    for name, w in found.items():
        interval = "" if w.low is None or w.high is None else f"{w.low:.3f}-{w.high:.3f}"
        shares = [_share(value) for value in (w.cpt50, w.cpt80, w.saved)]
        lines.append((name, "-" if w.apgr is None else f"{w.apgr:.3f}", interval, *shares))
    print(table.render(head, lines))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _curve(items: list[measure.Item], args: argparse.Namespace) -> None:
    points = measure.curve(items)
    for tenth in range(11):
        share = tenth / 10
        at = min(points, key=lambda point: abs(point[0] - share))
        row = {"strong_share": round(at[0], 4), "quality": round(at[1], 4), "cost": round(at[2], 4)}
        print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()))


def _verdict(found: dict[str, measure.Worth], args: argparse.Namespace) -> int:
    good = True
    dice = found["random"].saved
    worth = found[args.strategy]
    if args.agree is not None:
        worth = found["cascade, agreement"]
        if worth.saved is None or (dice is not None and worth.saved < dice):
            print(
                f"warning: this cascade loses money: it saves {_share(worth.saved)} at 95 % of the "
                f"strong model's quality, dice without any check save {_share(dice)}",
                file=sys.stderr,
            )
            good = False
    if worth.low is not None and worth.low <= 0.5:
        print("warning: this is not better than dice, by these prompts", file=sys.stderr)
        good = False
    return 0 if good else 1
