"""Recorded traffic through another configuration; nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.process.server import command
from tests.stack import PROVIDERS, Stack, stack

PATH = "/v1/chat/completions"
RULES = """
models: {small: [mistral/mistral-small-latest], large: [openai/gpt-4o]}
rules:
  - {name: team, when: {header.x-team: red}, tag: red, continue: true}
  - {name: watch, when: {prompt_tokens: "> 1"}, deny: "no", shadow: true}
  - {name: code, when: {model: auto, text: code}, to: large}
  - {name: no, when: {model: "*-preview"}, deny: "not here"}
  - {name: rest, when: {model: auto}, to: small}
"""


async def traffic(pair: Stack) -> None:
    """Two of code, one plain, one denied, one that names its model."""
    for text in ("def f(): return 1  ```python```", "```js\nlet a = 1\n```", "hello"):
        await ask(pair, "auto", text, {"x-team": "red"})
    await ask(pair, "x-preview", "hello")
    await ask(pair, "gpt-4o", "hello")
    await pair.settled(5)


async def ask(pair: Stack, model: str, text: str, headers: dict[str, str] | None = None) -> None:
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    await pair.post(PATH, body, headers)


def replay(folder: Path, candidate: str, *more: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and the lines of `replay --json`."""
    base = folder / "muxproxy.yaml"
    path = folder / "candidate.yaml"
    head = base.read_text().partition("models:")[0]
    path.write_text(head + candidate)
    state = str(folder / "books.db")
    done = command("replay", str(path), "--config", str(base), "--state", state,
                   "--since", "1h", "--json", *more)  # fmt: skip
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


async def test_replay(tmp_path: Path) -> None:
    async with stack(tmp_path, RULES, providers=PROVIDERS) as pair:
        await traffic(pair)
        sent = len(pair.sim.requests)
        receipts = await pair.settled(5)
        shown = (await pair.get(f"/v1/calls/{receipts[0].id:016x}")).json()
        assert shown["shadow"] == ["watch"]
        cost = sum(r.cost or 0 for r in receipts) / 1e9

        # The same configuration: nothing changes, though no text and no header is stored.
        code, lines = replay(tmp_path, RULES)
        total = lines[-1]
        assert (code, total["calls"], total["changed"], total["undecided"]) == (0, 5, 0, {})
        assert total["then_usd"] == total["now_usd"]
        assert abs(total["now_usd"] - cost) < 1e-12

        # Code goes to the small model too.
        cheaper = RULES.replace("text: code}, to: large", "text: code}, to: small")
        code, lines = replay(tmp_path, cheaper, "--diff")
        total = lines[-1]
        assert (code, total["changed"]) == (1, 2)
        assert total["now_usd"] < total["then_usd"]
        changed = [line for line in lines if line["kind"] == "call"]
        assert {(c["then"], c["now"]) for c in changed} == {
            ("openai/gpt-4o", "mistral/mistral-small-latest")
        }
        small = next(r for r in receipts if r.model == "mistral-small-latest")
        models = {line["name"]: line for line in lines if line["kind"] == "model"}
        assert models["mistral/mistral-small-latest"]["now_calls"] == 3
        assert models["refused: denied_by_rule"]["now_calls"] == 1
        assert small.features is not None

        # What was denied is let through, at its estimate; what asks for new text is undecided.
        other = RULES.replace("not here", "x").replace('"*-preview"', "nobody")
        code, lines = replay(tmp_path, other)
        assert lines[-1]["changed"] == 1 and lines[-1]["unpriced"] == 1
        new_text = RULES.replace("text: code", "text: [code, zebra]")
        code, lines = replay(tmp_path, new_text)
        assert (code, lines[-1]["undecided"]) == (0, {"text is not stored": 3})

        # A budget refuses from the third call on, in the order of the calls.
        dear = next(r for r in receipts if r.model == "gpt-4o")
        limit = ((dear.held or 0) + (dear.cost or 0)) / 1e9
        tight = f"{RULES}budgets: [{{name: b, limit: ${limit:.9f}}}]\n"
        code, lines = replay(tmp_path, tight, "--diff")
        refused = [c for c in lines if c["kind"] == "call"]
        assert {c["now"] for c in refused} == {"refused: budget_exceeded"}
        assert len(refused) == 1
        assert len(pair.sim.requests) == sent
    text = command("replay", str(tmp_path / "candidate.yaml"), "--config",
                   str(tmp_path / "muxproxy.yaml"), "--state", str(tmp_path / "books.db"),
                   "--since", "1h", "--diff")  # fmt: skip
    assert "would go elsewhere" in text.stdout and "MODEL" in text.stdout
    assert command("replay", "/nowhere.yaml", "--since", "1h").returncode == 2
