"""How each family of models counts: its vocabulary, and what a message costs beyond its text.

Numbers were fitted to recorded answers with known usage. A family whose vocabulary is public is
counted exactly; the others are counted with o200k_base and scaled, which follows code, prose and
other scripts far better than characters do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

O200K = "o200k_base"


class Family(NamedTuple):
    """Tokens = factor * vocabulary's count + base + calls * per_call (+ parallel, if several)."""

    vocabulary: str
    factor: float = 1.0
    base: float = 1.0  # end-of-turn and channel markers that are counted as output
    per_call: float = 10.0  # markup around one tool call
    parallel: float = 0.0  # once, when an answer makes several calls
    chars: float = 4.2  # characters per token of English, while nothing better is known
    exact: bool = True  # the vocabulary is the model's own
    responses: float = 0.0  # more of the base in OpenAI's Responses API


def _scaled(factor: float, base: float, per_call: float, chars: float) -> Family:
    return Family(O200K, factor, base, per_call, 0.0, chars, False)


UNKNOWN = _scaled(1.05, 1.0, 10.0, 4.0)

_TABLE: tuple[tuple[str, Family], ...] = (
    (r"gpt-?oss", Family("gpt-oss", base=4, per_call=10)),
    (r"gpt-?(?:5|6)|codex|(?:^|/)o[134](?:$|-|:)", Family(O200K, base=4, per_call=8)),
    (
        r"gpt-?4o|gpt-?4\.1|gpt-?4\.5|chatgpt",
        Family(O200K, base=0, per_call=7, parallel=15, responses=1),
    ),
    (r"gpt-?35|gpt-?3\.5|gpt-?4", Family("cl100k_base", base=0, per_call=8)),
    (r"text-embedding-(?:3|ada)", Family("cl100k_base", base=0)),
    # Anthropic's tokenizer changed with Opus 4.7: a third more tokens for the same text.
    (
        r"claude-(?:opus-4[-.][789]|(?:opus|sonnet|haiku|fable|mythos)-(?:[5-9]|\d\d)(?!\d))",
        _scaled(1.43, 4, 28, 2.9),
    ),
    (r"claude|anthropic", _scaled(1.11, 4, 34, 3.7)),
    (r"gemini-(?:1|2\.0)", _scaled(1.03, 1, -3, 4.2)),
    (r"gemini-(?:[3-9]|\d\d)", _scaled(1.09, 0, 6, 4.0)),
    (r"gemini|gemma|learnlm", _scaled(1.03, 0, 6, 4.2)),
    (r"grok", _scaled(1.0, 0, 20, 4.3)),
    (r"command|aya|cohere|c4ai", _scaled(1.07, 3, 30, 3.9)),
    (r"nova", _scaled(1.03, 0, 20, 4.3)),
    (r"deepseek", Family("deepseek_v3", base=0, per_call=24)),
    (r"qwen|qwq", Family("qwen3", base=0, per_call=15)),
    (r"kimi|moonshot", Family("kimi", per_call=11)),
    (r"glm|zai", Family("glm4", base=2, per_call=10)),
    (r"mixtral-8x7b|mistral-tiny|open-mistral-7b|mistral-7b", Family("mistral_v1", chars=3.8)),
    (r"mixtral-8x22b|codestral|mathstral", Family("mistral_v2", per_call=3, chars=3.8)),
    (r"mistral|ministral|pixtral|magistral|devstral|voxtral", Family("mistral_v3", per_call=4)),
    (r"llama-?2|codellama|vicuna|tinyllama", Family("llama2", chars=3.7)),
    (r"llama", Family("llama3", per_call=20)),
    (r"phi-?4", Family("phi4")),
    (r"olmo", Family("olmo2")),
)  # fmt: skip

_FAMILIES = tuple((re.compile(pattern, re.IGNORECASE), family) for pattern, family in _TABLE)


def family_of(model: str) -> Family:
    """The family that a model's name tells; UNKNOWN otherwise."""
    for pattern, family in _FAMILIES:
        if pattern.search(model):
            return family
    return UNKNOWN
