"""Counting what was delivered when a provider never said: a tokenizer, or a learned ratio.

The vocabularies come from the optional package `splintr-rs` (extra `tokenizers`), which carries
them in its wheel: nothing is fetched. A vocabulary takes 30 MB and 100-300 ms, which would hold up
every stream under way (the package keeps the interpreter's lock for the most of it). So what is
only learned from waits until a moment in which nothing is in flight; what is owed does not. Without
the package, characters per token are learned from each model's own reported usage.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from muxproxy.exchange import COUNTED, PROVIDER, Usage
from muxproxy.tap.families import Family, family_of

TOKENIZER, SCALED, RATIO = "tokenizer", "scaled", "ratio"

MODELS = 1024  # models remembered; names come from callers, so there must be a bound
HALF_LIFE = 4000.0  # tokens after which an older observation weighs half
TRUSTED = 400.0  # tokens of weight that the family's default stands for
SAMPLED = 16  # of so many answers with usage, one is also counted, to know the drift
LOOK = 0.1  # seconds between two looks whether it is quiet
PATIENCE = 300.0  # seconds to wait for a quiet moment
PENDING = 64  # answers kept to be counted once their vocabulary is loaded
SETTLED = 256  # answers of a model after which one in SETTLED is enough: counting takes 15 us/KB

Encode = Callable[[str], Sequence[int]]


class Delivered(Protocol):
    """What the counter reads of a tap."""

    delivered_chars: int
    tool_calls: int
    reasoned: bool
    responses: bool

    @property
    def usage(self) -> Usage | None: ...
    @property
    def usage_complete(self) -> bool: ...
    def delivered_text(self) -> list[str]: ...


class _Model(msgspec.Struct, gc=False):
    """What is known of one model's counting."""

    family: Family
    chars: float = 0.0  # decayed sums of what was observed
    tokens: float = 0.0
    factor: float = 0.0  # learned scale over the vocabulary; 0: the family's
    answers: int = 0


class _Sample(msgspec.Struct, frozen=True):
    """An answer with reported usage, as far as counting it needs."""

    model: str
    texts: list[str]
    chars: int
    extra: float
    tool_calls: int
    reported: int


class TokenCounter:
    """Counts tokens of delivered text; learns from every answer that reported usage.

    `drift`: per model, (tokens counted, tokens reported) over the sampled answers that had both.
    """

    def __init__(self, tokenizers: bool = True, *, quiet: Callable[[], bool] | None = None) -> None:
        """`quiet` tells, also another thread, that now is a good moment to load a vocabulary that
        nothing owed waits for; without it every moment is."""
        self._drift: dict[str, tuple[int, int]] = {}
        self._quiet = quiet if tokenizers else None
        self._loading: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._pending: list[_Sample] = []
        self._models: dict[str, _Model] = {}
        self._encoders: dict[str, Encode | None] = {}
        self._tokenizers = tokenizers

    @property
    def drift(self) -> dict[str, tuple[int, int]]:
        """See the class. Waits for a vocabulary that is being loaded."""
        self._catch_up()
        return self._drift

    # -- counting -----------------------------------------------------------------------------

    def count(
        self, model: str, texts: Sequence[str], chars: int | None = None, extra: float = 0.0
    ) -> tuple[int, str]:
        """(tokens, how) of an answer made of `texts`, which are joined as they stand.

        `chars` is the length of the whole when `texts` is a sample of it; `extra` tokens are added
        for what is not text. How: "tokenizer" (the
        model's own vocabulary), "scaled" (another's, scaled), "ratio" (characters per token).
        """
        text = "".join(texts)
        total = len(text) if chars is None else chars
        known = self._model(model)
        family = known.family
        encode = self._encoder(family.vocabulary)
        if encode is None:
            return _whole(total / self._chars_per_token(known) + extra), RATIO
        tokens = float(len(encode(text)))
        if text and total > len(text):
            tokens *= total / len(text)
        tokens *= known.factor or family.factor
        return _whole(tokens + extra), TOKENIZER if family.exact else SCALED

    def delivered(self, model: str, tap: Delivered) -> tuple[int, str]:
        """(tokens, how) of what `tap` saw go by."""
        if not tap.delivered_chars and not tap.tool_calls:
            return 0, RATIO
        extra = _markup(self._model(model).family, tap)
        return self.count(model, tap.delivered_text(), tap.delivered_chars, extra)

    def settle(self, model: str, tap: Delivered, prompt: int) -> tuple[Usage, str]:
        """The usage to book for an answer, and its source ("provider" or "counted").

        What the provider told stands. Where it told no output (a cut stream) the delivered text
        is counted; where it told nothing at all, `prompt` tokens stand for the input.
        """
        usage = tap.usage
        if usage is not None and tap.usage_complete:
            return usage, PROVIDER
        tokens, _ = self.delivered(model, tap)
        if usage is None:
            return Usage(input=prompt, output=tokens), COUNTED
        usage = msgspec.structs.replace(usage, output=max(tokens, usage.output))
        return usage, COUNTED

    def estimate_tokens(self, model: str, chars: int) -> int:
        """Tokens that `chars` characters of a prompt will make, rounded up."""
        return math.ceil(chars / self._chars_per_token(self._model(model)))

    # -- learning -----------------------------------------------------------------------------

    def observe(self, model: str, chars: int, tokens: int) -> None:
        """One answer of `model` had `chars` characters and cost `tokens` tokens."""
        if chars <= 0 or tokens <= 0 or not 0.2 < chars / tokens < 20:
            return
        known = self._model(model)
        keep = 0.5 ** (tokens / HALF_LIFE)
        known.chars = known.chars * keep + chars
        known.tokens = known.tokens * keep + tokens

    def learn(self, model: str, tap: Delivered) -> None:
        """Learns from an answer that reported its usage; cheap enough for every one.

        Answers with hidden or summarised reasoning teach nothing about the visible text.
        """
        if not tap.delivered_chars:
            return
        usage = tap.usage
        if usage is None or not tap.usage_complete:
            return
        known = self._model(model)
        family = known.family
        if tap.reasoned and (usage.reasoning or not family.exact):
            return
        tokens = usage.output
        self.observe(model, tap.delivered_chars, _whole(tokens - _markup(family, tap)))
        known.answers += 1
        if known.answers % (SAMPLED if known.answers <= SETTLED else SETTLED) == 1:
            extra = _markup(family, tap)
            sample = _Sample(
                model, tap.delivered_text(), tap.delivered_chars, extra, tap.tool_calls, tokens
            )
            if self._quiet is not None and self._put_off(family.vocabulary, self._quiet):
                if len(self._pending) < PENDING:
                    self._pending.append(sample)
                return
            if self._pending:
                self._catch_up()
            self._compare(known, sample)

    def _put_off(self, vocabulary: str, quiet: Callable[[], bool]) -> bool:
        """Whether the vocabulary is still to come; a thread is to load it from now on."""
        if vocabulary in self._encoders:
            return False
        if vocabulary not in self._loading:
            now = threading.Event()
            thread = threading.Thread(
                target=self._load, args=(vocabulary, quiet, now), name="vocabulary", daemon=True
            )
            self._loading[vocabulary] = thread, now
            thread.start()
        return True

    def _load(self, vocabulary: str, quiet: Callable[[], bool], now: threading.Event) -> None:
        """In a thread of its own: when it is quiet, when it must be, or after PATIENCE."""
        for _ in range(int(PATIENCE / LOOK)):
            if quiet() or now.wait(LOOK):
                break
        self._encoders[vocabulary] = _load(vocabulary, warm=True)

    def _catch_up(self) -> None:
        """Compares what was put off."""
        pending, self._pending = self._pending, []
        for sample in pending:
            self._compare(self._model(sample.model), sample)

    def _compare(self, known: _Model, sample: _Sample) -> None:
        model, reported = sample.model, sample.reported
        counted, how = self.count(model, sample.texts, sample.chars, sample.extra)
        before = self._drift.get(model, (0, 0))
        self._drift[model] = (before[0] + counted, before[1] + reported)
        if how == SCALED and counted >= 64 and not sample.tool_calls:
            factor = known.factor or known.family.factor
            wanted = factor * reported / counted
            if 0.5 < wanted / known.family.factor < 2:
                weight = min(0.5, counted / (counted + 2 * TRUSTED))
                known.factor = factor + weight * (wanted - factor)

    # -- parts --------------------------------------------------------------------------------

    def _model(self, model: str) -> _Model:
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= MODELS:
                oldest = next(iter(self._models))
                del self._models[oldest]
                self._drift.pop(oldest, None)
            known = self._models[model] = _Model(family_of(model))
        return known

    @staticmethod
    def _chars_per_token(known: _Model) -> float:
        """The family's default, giving way to what was observed."""
        return (known.family.chars * TRUSTED + known.chars) / (TRUSTED + known.tokens)

    def _encoder(self, vocabulary: str) -> Encode | None:
        if self._loading and (loading := self._loading.pop(vocabulary, None)) is not None:
            thread, now = loading
            now.set()
            thread.join()
        if vocabulary not in self._encoders:
            self._encoders[vocabulary] = _load(vocabulary) if self._tokenizers else None
        return self._encoders[vocabulary]


def _markup(family: Family, tap: Delivered) -> float:
    """Tokens of an answer that are not its text."""
    calls = tap.tool_calls
    tokens = family.base + calls * family.per_call
    if calls > 1:
        tokens += family.parallel
    return tokens + family.responses if tap.responses else tokens


# Words that no vocabulary has whole: what a tokenizer builds at its first merge, it builds now.
_WARMING = [
    "What zyxwv qrstup makes: 1234 \u00fcn\u00efc\u00f6d\u00e9, \u6f22\u5b57 -> ok_then()\n"
]


def _load(vocabulary: str, *, warm: bool = False) -> Encode | None:
    """A vocabulary's encoder; None when the extra is not installed or does not have it.

    `warm`: ready at once; the batch call lets other threads run meanwhile, a single one would not.
    """
    try:
        package = importlib.import_module("splintr")
        tokenizer = package.Tokenizer.from_pretrained(vocabulary)
        if warm:
            tokenizer.encode_batch(_WARMING)
        encode: Encode = tokenizer.encode_ordinary
    except (ImportError, AttributeError, ValueError):
        return None
    return encode


def _whole(tokens: float) -> int:
    return max(0, math.floor(tokens + 0.5))
