"""`muxproxy route`: what a strategy thinks of prompts. No provider is called, no config needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TextIO

from muxproxy.routing import judgement
from muxproxy.routing.weights import BadWeights


def arguments(parser: argparse.ArgumentParser) -> None:
    """A prompt, or a file of them."""
    parser.add_argument("prompt", nargs="?", help="one prompt; - reads it from standard input")
    parser.add_argument(
        "--batch", metavar="FILE", help="lines of {id, prompt}; - is standard input"
    )
    parser.add_argument("--strategy", choices=("semantic", "heuristic"), default="semantic")
    parser.add_argument("--weights", metavar="FILE", help="of `muxproxy train`; default: built in")
    parser.add_argument(
        "--threshold",
        type=float,
        help="score from which the strong model is chosen; default: what --weights says, or 0.5",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object (always so for batches)"
    )


def main(args: argparse.Namespace) -> int:
    """0 printed, 2 the call was wrong."""
    if (args.prompt is None) == (args.batch is None):
        print("route: give one prompt, or --batch FILE", file=sys.stderr)
        return 2
    try:
        scorer = judgement.scorer(args.strategy, args.weights)
        if args.threshold is None:
            args.threshold = judgement.threshold_of(args.strategy, args.weights)
        if args.batch is None:
            prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
            _one(scorer, prompt, args)
        elif args.batch == "-":
            _batch(scorer, sys.stdin, args)
        else:
            with open(args.batch, encoding="utf-8") as lines:
                _batch(scorer, lines, args)
    except (OSError, BadWeights, ValueError) as error:
        print(f"route: {error}", file=sys.stderr)
        return 2
    return 0


def _one(scorer: judgement.Scorer, prompt: str, args: argparse.Namespace) -> None:
    found = scorer(prompt)
    choice = "strong" if found.score >= args.threshold else "cheap"
    if args.json:
        print(json.dumps({"score": found.score, "choice": choice, "reason": found.reason}))
    else:
        print(f"{choice}  {found.score:.3f}  {found.reason}")


def _batch(scorer: judgement.Scorer, lines: TextIO, args: argparse.Namespace) -> None:
    for id, prompt in _rows(lines):
        found = scorer(prompt)
        choice = "strong" if found.score >= args.threshold else "cheap"
        row = {"id": id, "score": found.score, "choice": choice, "reason": found.reason}
        print(json.dumps(row, ensure_ascii=False))


def _rows(lines: TextIO) -> Iterator[tuple[object, str]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: no JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise ValueError(f"line {number}: it needs a text `prompt`")
        yield row.get("id", number), row["prompt"]
