"""One file per doubt; what `check` says stands at its end.

Write the ends anew with `python -m tests.config.test_lint_golden`, and read the difference.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from muxproxy.cli.price_lint import EXTRA
from muxproxy.compiling import TERMS
from muxproxy.config.check import check
from muxproxy.config.covering import covered
from muxproxy.config.model import Rule
from muxproxy.exchange import Ask, Caller
from muxproxy.rules import compile_when

GOLDEN = Path(__file__).with_name("golden") / "lint"
FILES = sorted(GOLDEN.glob("*.yaml"))
MARK = "# ---- check says ----\n"


def said(path: Path) -> str:
    """The golden file as it should be."""
    text = path.read_text().partition(MARK)[0]
    report = check(text, path.name, {}, extra=EXTRA, terms=TERMS)
    return text + MARK + "".join(f"# {line}\n" for line in str(report).splitlines())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_check_says(path: Path) -> None:
    assert path.read_text() == said(path)


def test_what_covers_a_thousand_rules_is_found_in_time() -> None:
    rules = [
        Rule(name=f"r{i}", when={"model": f"m{i}", "tools": True}, to="a") for i in range(3000)
    ]
    rules.append(Rule(name="late", when={"model": "m2999", "tools": True, "json": True}, to="a"))
    assert covered(rules) == [(3000, 2999)]


VALUES: dict[str, list[object]] = {
    "model": ["a-1", "a-2", "a-*", "*", None, "!= a-1", ["a-1", None], ["a-1", "a-2"]],
    "tools": [True, False],
    "messages": [1, "> 1", ">= 2", "< 2", "<= 1", "!= 2", [1, "> 2"]],
    "user": ["u", None, "!= u", "u*"],
    "header.x-t": ["v", None, "!= v", "*"],
    "path": ["/v1/chat/completions", "/v1/*"],
}
ASKS = [
    (model, tools, messages, user, header)
    for model in ("a-1", "a-2", "b", None)
    for tools in (True, False)
    for messages in (1, 2, 3)
    for user in ("u", "v", None)
    for header in ([b"v"], [b"w", b"v"], [])
]


def test_a_rule_called_dead_meets_no_request_that_the_earlier_one_leaves() -> None:
    chance = random.Random(5)

    def condition(depth: int) -> dict[str, object]:
        found: dict[str, object] = {
            name: chance.choice(VALUES[name]) for name in chance.sample(list(VALUES), 2)
        }
        if depth and chance.random() < 0.4:
            kind = chance.choice(["any", "all", "not"])
            parts = [condition(depth - 1) for _ in range(2)]
            found = {kind: parts[0] if kind == "not" else parts}
        return found

    pairs = 0
    for _ in range(12000):
        whens = [condition(1), condition(1)]
        rules = [Rule(name=str(n), when=when, deny="no") for n, when in enumerate(whens)]
        if not covered(rules):
            continue
        pairs += 1
        earlier, later = (compile_when(when) for when in whens)
        for model, tools, messages, user, header in ASKS:
            ask = Ask(dialect="openai", endpoint="chat", path="/v1/chat/completions", model=model,
                      tools=tools, messages=messages, user=user)  # fmt: skip
            call = (Caller(), ask, [(b"x-t", value) for value in header], 0.0)
            assert earlier(*call) or not later(*call), (whens, ask, header)
    assert pairs > 50


if __name__ == "__main__":
    for file in FILES:
        file.write_text(said(file))
