"""Labelled prompts from JSON lines (gzip too), for `train` and `eval`."""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from muxproxy.routing.judges import Said, agree
from muxproxy.routing.measure import Item

FORMAT = (
    "lines of {prompt, models: {NAME: {q, usd | out_tok, text | answer}}, in_tok}; "
    "q is the answer's quality, 0..1"
)


class Labelled(msgspec.Struct, kw_only=True):
    """One prompt. `also` is what the second opinion of a cascade costs; `differs` what it said."""

    prompt: str
    cheap: float
    strong: float
    cheap_cost: float
    strong_cost: float
    also_cost: float = 0.0
    differs: bool = False


def arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Which rows and which pair."""
    many = None if required else "?"
    parser.add_argument("labels", nargs=many, metavar="LABELS.jsonl", help=FORMAT)
    for side in ("cheap", "strong"):
        told = f"the {side} model's name in the labels"
        parser.add_argument(f"--{side}", required=required, metavar="NAME", help=told)
    parser.add_argument("--source", metavar="NAME", help="only rows with this `source`")
    parser.add_argument(
        "--prices", metavar="FILE", help='{"NAME": {"in": 1.0, "out": 2.0}}, dollars per million'
    )


def read(args: argparse.Namespace, also: str | None = None) -> list[Labelled]:
    """Raises OSError and ValueError."""
    prices: dict[str, Any] = {}
    if args.prices is not None:
        with open(args.prices, encoding="utf-8") as file:
            prices = json.load(file)
    found = []
    for number, row in _rows(args.labels):
        if args.source is not None and row.get("source") != args.source:
            continue
        try:
            made = _labelled(row, args, also, prices)
        except (KeyError, TypeError) as error:
            raise ValueError(f"line {number}: {error} is missing; expected {FORMAT}") from None
        if made is not None:
            found.append(made)
    if len(found) < 20:
        raise ValueError(f"{len(found)} rows have both models: that is too few to tell anything")
    return found


def _rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    opening: Callable[..., Any] = gzip.open if path.endswith(".gz") else open
    with opening(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number}: expected {FORMAT}")
                yield number, row


def _labelled(
    row: dict[str, Any], args: argparse.Namespace, also: str | None, prices: dict[str, Any]
) -> Labelled | None:
    models = row["models"]
    cheap, strong = models.get(args.cheap), models.get(args.strong)
    if not cheap or not strong or cheap.get("q") is None or strong.get("q") is None:
        return None
    made = Labelled(
        prompt=row["prompt"],
        cheap=cheap["q"],
        strong=strong["q"],
        cheap_cost=_cost(row, args.cheap, prices),
        strong_cost=_cost(row, args.strong, prices),
    )
    if also is not None:
        if also not in models:
            return None
        made.also_cost = _cost(row, also, prices)
        made.differs = not agree(_said(cheap), _said(models[also]))
    return made


def _said(answer: dict[str, Any]) -> Said:
    return Said(text=str(answer.get("answer") or answer.get("text") or ""))


def _cost(row: dict[str, Any], name: str, prices: dict[str, Any]) -> float:
    """Dollars; without prices, tokens: the pair then differs by length alone."""
    model = row["models"][name]
    if model.get("usd") is not None:
        return float(model["usd"])
    price = prices.get(name, {"in": 1.0, "out": 1.0})
    tokens_in = row.get("in_tok", len(row["prompt"]) / 4)
    return float(tokens_in * price["in"] + model.get("out_tok", 264) * price["out"]) / 1e6


def items(rows: list[Labelled], scores: list[float], cascade: bool = False) -> list[Item]:
    """For measuring. In a cascade the cheap call and the check are always paid."""
    found = []
    for row, score in zip(rows, scores, strict=True):
        cheap = row.cheap_cost + row.also_cost
        strong = row.strong_cost + (cheap if cascade else 0.0)
        found.append(Item(score, row.cheap, row.strong, cheap, strong, row.strong_cost))
    return found
