"""Signatures and sealed reasoning of one dialect, carried through another one's fields.

A thinking block goes to the caller with the proof its maker gave it, tagged with the maker's
name, and comes back with the next turn. A proof is only ever sent to its maker: a foreign
signature is a 400 there.
"""

from __future__ import annotations

from muxproxy.dialects.neutral import Thinking

_MARK = "mux1"

# OpenRouter's names of the formats in reasoning_details, by maker
# (openrouter.ai/docs/use-cases/reasoning-tokens; recorded: openrouter, vercel-gateway).
FORMATS = {
    "anthropic": "anthropic-claude-v1",
    "gemini": "google-gemini-v1",
    "responses": "openai-responses-v1",
    "xai": "xai-responses-v1",
}
MAKERS = {name: maker for maker, name in FORMATS.items()}


def proven(thinking: Thinking) -> bool:
    """Whether its maker can tell that this is its own."""
    return thinking.signature is not None or thinking.sealed is not None


def tag(thinking: Thinking) -> str:
    """A foreign proof as one opaque string; "" where there is none."""
    proof = thinking.sealed if thinking.sealed is not None else thinking.signature
    if proof is None or thinking.maker is None:
        return ""
    kind = "e" if thinking.sealed is not None else "s"
    name = thinking.id if thinking.id is not None and "." not in thinking.id else ""
    return f"{_MARK}.{thinking.maker}.{kind}.{name}.{proof}"


def untag(thinking: Thinking, opaque: str) -> bool:
    """Puts a tagged proof back into `thinking`; False where `opaque` is not one of ours."""
    if not opaque.startswith(_MARK + "."):
        return False
    parts = opaque.split(".", 4)
    if len(parts) != 5:
        return False
    _, thinking.maker, kind, name, proof = parts
    thinking.id = name or None
    thinking.signature = proof if kind == "s" else None
    thinking.sealed = proof if kind == "e" else None
    return True
