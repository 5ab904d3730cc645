"""The words' embeddings for `train_router.py`. Needs numpy, onnxruntime and tokenizers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from zlib import crc32

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from muxproxy.routing import features, meanings

DIRECTIONS = meanings.COLUMNS - 1
OFTEN = 0.003  # share of the texts at which a word counts half: "the" says little
LEAST = 2  # texts a word must be in
LONGEST = 24  # word pieces

Matrix = NDArray[np.float64]


class Words:
    """The words of some texts. `vectors`: (words, 384), each shortened the more the commoner it
    is; `mean`: (texts, 384), their mean over the different words of a text; `rank`: from the rarest
    to the commonest word."""

    def __init__(self, texts: list[str], folder: Path) -> None:
        found = [set(_words(text)) for text in texts]
        counts = Counter(word for words in found for word in words)
        self.words = sorted(word for word, count in counts.items() if count >= LEAST)
        often = np.array([counts[word] for word in self.words], float)
        self.rank = np.argsort(often, kind="stable")
        vectors = _embedded([word.decode("utf-8", "replace") for word in self.words], folder)
        vectors -= np.average(vectors, axis=0, weights=often)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
        self.vectors = vectors / (1 + often / len(texts) / OFTEN)[:, None]
        at = {word: index for index, word in enumerate(self.words)}
        self.mean = np.zeros((len(texts), vectors.shape[1]))
        for index, words in enumerate(found):
            rows = sorted(at[word] for word in words if word in at)
            self.mean[index] = self.vectors[rows].sum(axis=0) / max(len(words), 1)

    def directions(self) -> Matrix:
        """(words, DIRECTIONS): along the main directions in which the texts' means differ."""
        apart = self.mean - self.mean.mean(axis=0)
        _, sides = np.linalg.eigh(apart.T @ apart)
        return self.vectors @ sides[:, ::-1][:, :DIRECTIONS]

    def table(self, columns: Matrix) -> tuple[bytes, NDArray[np.float64]]:
        """`words.bin` from (words, columns), and what one unit of each column stands for."""
        unit = np.quantile(np.abs(columns), 0.999, axis=0) / 127
        whole = np.clip(np.rint(columns / np.where(unit > 0, unit, 1)), -127, 127).astype(np.int8)
        # Where two words have one hash, the commoner one stays.
        rows = {crc32(self.words[index]): index for index in self.rank}
        hashes = sorted(rows)
        kept = whole[[rows[one] for one in hashes]]
        return meanings.dump(hashes, [column.tobytes() for column in kept.T]), unit


def _words(text: str) -> list[bytes]:
    raw = features.bounded(text).encode("utf-8", "replace")
    return raw.translate(features._CUT).split()


def _embedded(words: list[str], folder: Path) -> Matrix:
    """(words, 384): the mean of the model's last states over a word's pieces."""
    cutter = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cutter.no_padding()
    cutter.enable_truncation(LONGEST)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    pieces = [cut.ids for cut in cutter.encode_batch(words)]
    by_length = sorted(range(len(words)), key=lambda index: len(pieces[index]))
    vectors = np.zeros((len(words), 384))
    for start in range(0, len(words), 256):
        batch = by_length[start : start + 256]
        ids = np.zeros((len(batch), len(pieces[batch[-1]])), np.int64)
        for row, index in enumerate(batch):
            ids[row, : len(pieces[index])] = pieces[index]
        there = (ids != 0).astype(np.int64)
        fed = {"input_ids": ids, "attention_mask": there, "token_type_ids": np.zeros_like(ids)}
        states = model.run(None, fed)[0]
        total = (states * there[:, :, None]).sum(axis=1)
        vectors[batch] = total / there.sum(axis=1)[:, None]
    return vectors
