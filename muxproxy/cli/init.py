"""`muxproxy init`: a commented starter configuration for the keys found in the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

DEFAULT = "muxproxy.yaml"


class Known(msgspec.Struct, frozen=True):
    """A provider that `init` can write down. `small` and `large` have prices in the table."""

    name: str
    variables: tuple[str, ...]
    dialect: str
    base_url: str
    small: str
    large: str


KNOWN = (
    Known("openai", ("OPENAI_API_KEY",), "openai", "https://api.openai.com/v1",
          "gpt-4o-mini", "gpt-4o"),
    Known("anthropic", ("ANTHROPIC_API_KEY",), "anthropic", "https://api.anthropic.com",
          "claude-haiku-4-5", "claude-sonnet-4-5"),
    Known("google", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini",
          "https://generativelanguage.googleapis.com", "gemini-2.5-flash-lite", "gemini-2.5-pro"),
    Known("mistral", ("MISTRAL_API_KEY",), "openai", "https://api.mistral.ai/v1",
          "mistral-small-latest", "mistral-large-latest"),
    Known("groq", ("GROQ_API_KEY",), "openai", "https://api.groq.com/openai/v1",
          "llama-3.1-8b-instant", "llama-3.3-70b-versatile"),
    Known("deepseek", ("DEEPSEEK_API_KEY",), "openai", "https://api.deepseek.com/v1",
          "deepseek-chat", "deepseek-reasoner"),
    Known("xai", ("XAI_API_KEY",), "openai", "https://api.x.ai/v1",
          "grok-3-mini", "grok-3"),
    Known("openrouter", ("OPENROUTER_API_KEY",), "openai", "https://openrouter.ai/api/v1",
          "openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"),
)  # fmt: skip
# Written when no key is found, so that the file shows how it goes on.
_USUAL = ("openai", "anthropic", "google")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write."""
    parser.add_argument(
        "file", nargs="?", default=DEFAULT, metavar="FILE", help="default muxproxy.yaml; - prints"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def main(args: argparse.Namespace) -> int:
    """0 written, 1 the file is there already, 2 it cannot be written."""
    text, found = starter(os.environ)
    if args.file == "-":
        print(text, end="")
        return 0
    try:
        with Path(args.file).open("w" if args.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print(f"{args.file} is there already: name another, or --force", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{args.file}: {error.strerror}", file=sys.stderr)
        return 2
    named = ", ".join(found) if found else "none: set one, or try `muxproxy serve --demo`"
    print(f"wrote {args.file}; provider keys found: {named}")
    print(f"next: muxproxy check {args.file} && muxproxy serve --config {args.file}")
    return 0


def starter(env: Mapping[str, str]) -> tuple[str, list[str]]:
    """(the file, the variables found)."""
    given = [(one, name) for one in KNOWN for name in one.variables if env.get(name)]
    used = {one.name: name for one, name in reversed(given)}
    chosen = [one for one in KNOWN if one.name in used] or [
        one for one in KNOWN if one.name in _USUAL
    ]
    width = max(len(one.name) for one in chosen) + 1
    providers = "\n".join(
        f"  {one.name + ':':<{width}} {{dialect: {one.dialect}, base_url: {one.base_url}, "
        f'api_key: "${{{used.get(one.name, one.variables[0])}}}"}}'
        for one in chosen
    )
    return _TEXT.format(
        providers=providers,
        small=", ".join(f"{one.name}/{one.small}" for one in chosen),
        large=", ".join(f"{one.name}/{one.large}" for one in chosen),
    ), [used[one.name] for one in chosen if one.name in used]


_TEXT = """\
# muxproxy: what your app's model calls may do, cost and where they go.
#
#   muxproxy check                  every fault of this file at once
#   muxproxy serve                  then point your SDK's base URL at http://127.0.0.1:8787/v1
#   muxproxy explain -              what would happen to the request on stdin, and why
#   muxproxy run -- COMMAND         or run a program with everything set for it
#
# Edits are taken while it runs. ${{NAME}} reads the environment; keys never stand in this file.

listen: 127.0.0.1:8787
state: ./muxproxy.db            # the books: one SQLite file

# Who can be asked. The first of a dialect also gets every request that names a model of its own.
providers:
{providers}
  # A model on your own machine is free and touches no budget:
  # local: {{dialect: openai, base_url: http://127.0.0.1:11434/v1, price: free}}

# Names for your app to use besides the providers' own. A list is an order of fall-back.
models:
  small: [{small}]
  large: [{large}]

# The first rule that matches decides; who asks for a model by name gets it.
rules:
  - {{name: code, when: {{model: [auto, null], text: [code, complex]}}, to: large}}
  - {{name: rest, when: {{model: [auto, null]}}, to: small}}
  # - {{name: no-previews, when: {{model: "*-preview"}}, deny: "no preview models here"}}

# A request reserves what it may cost before it is sent: no limit is ever exceeded under load.
budgets:
  - {{name: daily, limit: $5, window: day, tz: UTC, on_exceed: block}}

# limits:
#   - {{name: fair, per: key, requests: 600/min, tokens: 200k/min, concurrent: 20}}
"""
