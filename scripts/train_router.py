"""Make muxproxy/routing/default.mux from public benchmark rows. Needs numpy and scipy.

    python scripts/train_router.py TRAIN.jsonl.gz OUT.mux

One ridge regression on what the strong model adds to the cheap one's quality, over all sources
whose licence allows it. A row's target is mostly the gain of one pair of models and partly the
mean over all pairs the source has, which is less noisy. Nothing is random: the same rows give the
same file.
"""

from __future__ import annotations

import gzip
import json
import sys
from array import array
from collections import defaultdict

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr

from muxproxy.routing import features
from muxproxy.routing.weights import Header, Weights, dump

BITS, SHAPE, RIDGE, ALL_PAIRS, LEVELLING, ROUNDS = 18, 0.6, 25.0, 0.0, 0.35, 60
BETWEEN, SPREAD = 0.35, 0.4
LICENCES = {
    "routellm_mmlu": "Apache-2.0 (MMLU: MIT)",
    "routellm_gsm8k": "Apache-2.0 (GSM8K: MIT)",
    "routellm_mtbench": "Apache-2.0",
    "arena_bench_v1": "Apache-2.0",
    "mmlu_pro": "Apache-2.0",
    "zeroeval_gsm8k": "Apache-2.0",
    "zeroeval_math_l5": "Apache-2.0",
    "zeroeval_crux": "Apache-2.0",
    "zeroeval_numersense": "Apache-2.0",
    "llmrouter": "MIT",
}
MIXTRAL, GPT4 = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
PAIR = {
    "routellm_mmlu": (MIXTRAL, GPT4),
    "routellm_gsm8k": (MIXTRAL, GPT4),
    "arena_bench_v1": (MIXTRAL, GPT4),
    "mmlu_pro": ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
    "zeroeval_math_l5": ("claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    "zeroeval_crux": ("claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    "llmrouter": ("mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
}
STRONG = frozenset(
    [
        "gpt-4o-2024-08-06",
        "gpt-4o-2024-05-13",
        "claude-3-5-sonnet-20240620",
        "llama-3.1-405b-instruct",
        "gemini-1.5-pro",
        "gemini-1.5-pro-002",
        "gpt-4-1106-preview",
        "gpt-4-turbo-2024-04-09",
        "llama-3.1-70b-instruct",
        "llama-3.1-nemotron-51b-instruct",
        "llama-3.3-nemotron-super-49b-v1",
        "claude-3-opus-20240229",
        "gpt-4-0314",
    ]
)
WEAK = frozenset(
    [
        "mixtral-8x7b-instruct-v0.1",
        "llama-3.1-8b-instruct",
        "claude-3-haiku-20240307",
        "gpt-3.5-turbo-0125",
        "mistral-7b-instruct-v0.2",
        "mistral-7b-instruct-v0.3",
        "claude-instant-1",
        "gpt-3.5-turbo-1106",
        "mistral-7b-instruct-v0.1",
        "qwen2.5-7b-instruct",
        "gemma-2-9b-it",
        "gpt-4o-mini-2024-07-18",
        "gemini-1.5-flash",
        "gemini-1.5-flash-002",
        "claude-3-5-haiku-20241022",
        "starling-lm-7b-alpha",
    ]
)


def targets(path: str) -> list[tuple[str, str, float]]:
    """(source, prompt, gain) of every usable row."""
    rows = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["source"] not in LICENCES:
                continue
            q = {m: d["q"] for m, d in row["models"].items() if d.get("q") is not None}
            weak = [v for m, v in q.items() if m in WEAK]
            strong = [v for m, v in q.items() if m in STRONG]
            if not weak or not strong:
                continue
            over_all = sum(strong) / len(strong) - sum(weak) / len(weak)
            one = PAIR.get(row["source"])
            own = q[one[1]] - q[one[0]] if one and one[0] in q and one[1] in q else over_all
            rows[row["source"]].append((row["prompt"], own, over_all))
    blended = {}
    for source, group in rows.items():
        shift = sum(own - both for _, own, both in group) / len(group)
        blended[source] = [own + ALL_PAIRS * (both + shift - own) for _, own, both in group]
    means = {source: float(np.mean(gains)) for source, gains in blended.items()}
    middle = float(np.mean(list(means.values())))
    found = []
    for source, group in rows.items():
        # What tells one source from another is mostly which pair of models it was measured with:
        # a part of it is kept, and every source's gains are brought to one spread.
        base = middle + BETWEEN * (means[source] - middle)
        spread = float(np.std(blended[source])) / SPREAD
        for (prompt, _, _), gain in zip(group, blended[source], strict=True):
            found.append((source, prompt, base + (gain - means[source]) / spread))
    return found


def matrix(texts: list[str]) -> sp.csr_matrix:
    """The features as `Weights` weighs them."""
    starts, places, values = [0], [], []
    for text in texts:
        read = features.read(text, BITS)
        words, shape = read.words, read.shape
        places += [np.array(words, np.int32), np.array(shape, np.int32)]
        values += [
            np.full(len(words), 1 / max(len(words), 1) ** 0.5, np.float32),
            np.full(len(shape), SHAPE / 60**0.5, np.float32),
        ]
        starts.append(starts[-1] + len(words) + len(shape))
    data = (np.concatenate(values), np.concatenate(places), np.array(starts))
    return sp.csr_matrix(data, shape=(len(texts), 1 << BITS))


def main(train: str, out: str) -> None:
    """Fit, round to bytes, write."""
    rows = targets(train)
    counts: dict[str, int] = defaultdict(int)
    for source, _, _ in rows:
        counts[source] += 1
    x = matrix([prompt for _, prompt, _ in rows])
    y = np.array([gain for _, _, gain in rows])
    weight = np.array([counts[source] ** -LEVELLING for source, _, _ in rows])
    weight /= weight.mean()
    mean = float(np.average(y, weights=weight))
    root = np.sqrt(weight)
    fitted = lsqr((sp.diags(root) @ x).tocsr(), root * (y - mean), damp=RIDGE**0.5,
                  iter_lim=ROUNDS, atol=1e-5, btol=1e-5)[0]  # fmt: skip
    scale = float(np.abs(fitted).max()) / 127  # clipping the largest costs more than it gains
    values = np.clip(np.rint(fitted / scale), -127, 127).astype(np.int8)
    gains = mean + scale * (x @ values.astype(np.float64))
    even = np.array([1 / counts[source] for source, _, _ in rows])
    order = np.argsort(gains)
    share = np.cumsum(even[order]) / even.sum()
    steps = np.interp(np.linspace(0, 1, 101), share, gains[order])
    span = float(steps[-1] - steps[0])
    steps[0] -= span / 10
    steps[-1] += span / 10
    steps = np.maximum.accumulate(steps + np.arange(101) * 1e-6)
    header = Header(
        bits=BITS, scale=scale, bias=mean, shape=SHAPE,
        steps=tuple(round(float(s), 6) for s in steps),
        training={
            "rows": len(rows), "seed": "none needed", "ridge": RIDGE, "levelling": LEVELLING,
            "all_pairs": ALL_PAIRS, "rounds": ROUNDS, "between": BETWEEN, "spread": SPREAD,
            "sources": {s: {"rows": counts[s], "licence": LICENCES[s]} for s in sorted(counts)},
            "target": "quality of the strong model minus quality of the cheap one",
        },
    )  # fmt: skip
    data = dump(Weights(header, array("b", values.tobytes())))
    with open(out, "wb") as file:
        file.write(data)
    print(f"{len(rows)} rows, {len(data)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
