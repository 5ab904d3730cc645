"""What `models:` and `routing:` say about strategies."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from muxproxy.config.marks import Duration, Share, Strict

Judge = Literal["finish", "refusal", "empty", "repetition", "json", "tools", "logprobs"]
Learn = Literal["off", "features", "text"]
JUDGES: tuple[Judge, ...] = get_args(Judge)


class ExampleRoute(Strict, frozen=True, kw_only=True):
    """Prompts like these go there."""

    to: str
    """`cheap`, `strong` or one of `models` of the alias, as written there."""
    utterances: list[str]
    """Prompts as callers would write them; some five to fifty."""


class Examples(Strict, frozen=True, kw_only=True):
    """Prompts are compared with example prompts by their embeddings."""

    embeddings: str
    """The provider/model that embeds, of an `openai` or `gemini` provider."""
    routes: list[ExampleRoute]
    """Each with its example prompts; the most similar one decides."""
    timeout: Duration = "150ms"
    """How long a call waits for its embedding; then the classifier decides."""
    threshold: float = 0.35
    """The least cosine similarity, -1..1; below it the classifier decides. What is near differs
    from model to model: `muxproxy explain` and the reasons tell the figures."""
    nearest: int = 3
    """A route's similarity is the mean of so many of its most similar utterances."""
    dimensions: int | None = None
    """Shorter vectors, where the model can make them: compared faster; null: as they come."""
    prompts: int = 10_000
    """Embeddings of so many prompts are kept in the file, by the SHA-256 of the text; 0: none."""


class Strategy(Strict, frozen=True, kw_only=True):
    """An alias resolved by a strategy."""

    strategy: Literal[
        "heuristic",
        "semantic",
        "cascade",
        "hybrid",
        "cheapest",
        "fastest",
        "weighted",
        "least_in_flight",
        "peak_ewma",
    ]
    cheap: str | None = None
    """An alias or provider/model."""
    strong: str | None = None
    """An alias or provider/model."""
    threshold: float | None = None
    """Score in 0..1 from which the strong model is used; null: what `routing.weights` says, or
    0.5."""
    band: float = 0.1
    """hybrid: scores this near to the threshold ask the cheap model first and judge its answer."""
    counts: dict[str, float] = msgspec.field(default_factory=dict)
    """heuristic: what each count adds to the score; empty: the built-in weights."""
    examples: Examples | None = None
    """semantic: route by example prompts; the classifier decides where that cannot be done."""
    judges: list[Judge] = msgspec.field(default_factory=lambda: list(JUDGES))
    """cascade: what a cheap answer is looked at for; any that finds fault sends the call on."""
    agree: str | None = None
    """cascade: a second cheap model; where its answer differs from the first, the call goes on."""
    judge: str | None = None
    """cascade: a model that rates the answer; below `quality_threshold` (0.5) the call goes on."""
    hold: int | None = None
    """cascade: characters of a stream that are held back; null: the whole answer."""
    models: list[str] = msgspec.field(default_factory=list)
    """The candidates of all but heuristic, semantic, cascade and hybrid."""
    weights: list[float] = msgspec.field(default_factory=list)
    """One per entry of `models`."""
    affinity: bool = False
    """A session or conversation stays with one of `models`, while that one is well."""
    learn: Learn | None = None
    """What the ledger keeps of a call to learn from: its hashed features, or its prompt as well;
    null: as `routing.learn`."""
    explore: Share = 0
    """heuristic, semantic, hybrid: so many of the calls sent to the cheap model have its answer
    judged, as a cascade does, so that what is learned is not biased. With `judge`, cascades too:
    of so many calls that go on the strong answer is rated as well."""
    sticky: bool = True
    """A conversation stays with the model that it began on; balanced aliases have `affinity`."""


class Routing(Strict, frozen=True, kw_only=True):
    """How prompts are scored."""

    weights: str | None = None
    """A file of `muxproxy train`; null: what is built in."""
    learn: Learn = "off"
    """For aliases with cheap and strong: what the ledger keeps of a call to learn from. Hashed
    features hold no text, but can be compared with guesses."""
    conversations: int = 100_000
    """How many conversations are remembered, for `sticky`."""
