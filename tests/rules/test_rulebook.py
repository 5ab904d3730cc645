"""The rule table as a whole: one request in, one plan out."""

# ruff: noqa: E501 (one case, one line)

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy import exchange
from muxproxy.config.check import check
from muxproxy.config.model import Config, Rule
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Plan
from muxproxy.rules import compile_rules, compile_when
from tests.rules.support import NOON, Shares, ask, config

SHIPPED = Path(__file__).parents[2] / "config/muxproxy.yaml"


def shipped():
    report = check(SHIPPED.read_text(), "muxproxy.yaml", {})
    assert report.config is not None
    return report.config


def decide(book, request, caller=Caller(), **rest):  # noqa: B008 (frozen)
    return book.decide(caller, request, rest.pop("headers", []), NOON, **rest)


def names(plan):
    return [f"{t.provider}:{t.model}" for t in plan.candidates]


# -- without rules: everything goes where it says ------------------------------------------------

FREE = compile_rules(config("rules: []"))


@pytest.mark.parametrize(
    ("given_", "want", "chosen", "alias", "reason"),
    [
        ({"model": "gpt-x"}, ["openai:gpt-x"], False, None, "goes to openai as asked"),
        ({"model": "mistral/a"}, ["mistral:a"], False, None, "goes to mistral as asked"),
        ({"model": "meta/llama"}, ["openai:meta/llama"], False, None, "goes to openai as asked"),
        ({}, ["openai:None"], False, None, "goes to openai as asked"),
        ({"model": ""}, ["openai:None"], False, None, "goes to openai as asked"),
        ({"model": "small"}, ["mistral:tiny-1", "anthropic:haiku-1"], True, "small", "alias small"),
        (
            {"model": "x", "dialect": "anthropic", "endpoint": "messages"},
            ["anthropic:x"],
            False,
            None,
            "goes to anthropic as asked",
        ),
        (
            {"model": "x", "dialect": "responses", "endpoint": "responses"},
            ["openai:x"],
            False,
            None,
            "goes to openai as asked",
        ),
        (
            {"model": "e", "endpoint": "embeddings"},
            ["openai:e"],
            False,
            None,
            "goes to openai as asked",
        ),
        (
            {"endpoint": "other", "path": "/v1/files", "model": "small"},
            ["openai:None"],
            False,
            None,
            "goes to openai as asked",
        ),
        (
            {"endpoint": "models", "path": "/v1/models"},
            ["openai:None"],
            False,
            None,
            "goes to openai as asked",
        ),
    ],
)
def test_a_request_goes_where_it_says(given_, want, chosen, alias, reason):
    plan = decide(FREE, ask(**given_))
    assert names(plan) == want
    assert (plan.chosen, plan.alias, plan.reason, plan.rule) == (chosen, alias, reason, None)


def test_nobody_serves_it():
    only = "translation: off\nproviders: {o: {dialect: openai, base_url: http://x}}"
    book = compile_rules(config(base=only))
    with pytest.raises(MuxError) as caught:
        decide(book, ask(dialect="anthropic", endpoint="messages", model="x"))
    assert caught.value.code == "model_not_found"
    assert "anthropic" in caught.value.message


def test_a_default_model_is_for_chat_without_one():
    book = compile_rules(config("defaults: {model: large}"))
    plan = decide(book, ask())
    assert names(plan) == ["openai:big-1", "anthropic:sonnet-1"]
    assert (plan.chosen, plan.alias, plan.reason) == (
        True,
        "large",
        "no model named, default large",
    )
    assert names(decide(book, ask(model="x"))) == ["openai:x"]
    assert names(decide(book, ask(endpoint="embeddings"))) == ["openai:None"]
    assert names(decide(book, ask(endpoint="other"))) == ["openai:None"]


# -- rules ------------------------------------------------------------------------------------

RULES = """
rules:
  - {name: quiet, when: {n: 1}, deny: "never", shadow: true}
  - {name: mark, when: {team: red}, tag: [eu, red], set: {max_tokens: 10, temperature: 1}, continue: true}
  - {name: cap, when: {tag: red}, set: {max_tokens: 5}, continue: true}
  - {name: no, when: {model: "*-preview"}, deny: "no previews"}
  - {name: code, when: {text: code}, to: large}
  - {name: two, when: {n: 2}, to: [anthropic/x-1, gpt-x]}
  - {name: stop, when: {n: 3}, tag: three}
  - {name: rest, when: {model: auto}, to: small}
"""
BOOK = compile_rules(config(RULES))
RED = Caller(team="red")


def test_the_first_match_wins():
    plan = decide(BOOK, ask(text="`x`", model="auto"))
    assert plan == Plan(
        candidates=plan.candidates,
        rule="code",
        reason="shadow rule quiet: n is 1; rule code: text has inline code",
        alias="large",
        chosen=True,
        sticks=2,
        rules=("code",),
        shadow=("quiet",),
    )
    assert names(plan) == ["openai:big-1", "anthropic:sonnet-1"]


def test_continue_gathers_effects_for_later_rules_to_see():
    plan = decide(BOOK, ask(model="auto"), RED)
    assert plan.rules == ("mark", "cap", "rest")
    assert plan.rule == "rest"
    assert plan.set == {"max_tokens": 5, "temperature": 1}
    assert plan.tags == ("eu", "red")
    assert (
        plan.reason
        == "shadow rule quiet: n is 1; rule mark: team is red; rule cap: tag is red; rule rest: model is auto"
    )


def test_a_list_of_names():
    plan = decide(BOOK, ask(n=2))
    assert names(plan) == ["anthropic:x-1", "openai:gpt-x"]
    assert (plan.alias, plan.chosen) == (None, True)


def test_a_rule_without_to_leaves_the_callers_model():
    plan = decide(BOOK, ask(n=3, model="auto"))
    assert (plan.rule, plan.tags, plan.chosen) == ("stop", ("three",), False)
    assert names(plan) == ["openai:auto"]
    assert plan.reason == "rule stop: n is 3; goes to openai as asked"


def test_a_refusal_is_in_the_plan():
    plan = decide(BOOK, ask(model="o1-preview", n=2), RED)
    assert (plan.deny, plan.candidates, plan.rule) == ("no previews", (), "no")
    assert plan.reason.endswith("rule no: model is o1-preview (*-preview)")


def test_a_pinned_provider_stays():
    plan = decide(BOOK, ask(text="`x`", model="auto"), RED, pinned="mistral")
    assert names(plan) == ["mistral:None"]
    assert plan.set == {"max_tokens": 5, "temperature": 1}
    assert plan.reason.endswith("; sent to mistral")
    assert decide(BOOK, ask(model="a-preview"), pinned="mistral").deny == "no previews"


def test_a_strategy_tells_its_name_and_reason():
    text = "  auto: {strategy: hybrid, cheap: small, strong: large}\nrules: [{name: r, when: {n: 1}, to: auto}]"
    plan = decide(compile_rules(config(text)), ask(text="Explain"))
    assert plan.strategy == "listed"
    assert plan.alias == "auto"
    assert plan.reason == "rule r: n is 1; auto in the order listed"
    assert names(plan)[0] == "mistral:tiny-1"


@pytest.mark.parametrize(
    ("when", "given_", "applies"),
    [
        ("{}", {"endpoint": "other"}, False),
        ("{}", {"endpoint": "models"}, False),
        ("{}", {"endpoint": "embeddings"}, False),
        ("{}", {"endpoint": "count_tokens"}, True),
        ("{model: e*}", {"endpoint": "embeddings", "model": "e1"}, True),
        ("{path: /v1/f*}", {"endpoint": "other", "path": "/v1/files"}, True),
        ("{endpoint: other}", {"endpoint": "other"}, True),
        ("{header.x: a}", {"endpoint": "other"}, True),
        ("{not: {model: x}}", {"endpoint": "other"}, False),
    ],
)
def test_chat_rules_do_not_catch_uploads(when, given_, applies):
    book = compile_rules(config(f"rules: [{{name: r, when: {when}, to: large}}]"))
    plan = decide(book, ask(**given_), headers=[(b"x", b"a")])
    assert (plan.rule == "r") is applies
    if applies and given_["endpoint"] == "other":
        # No model is put into a body that nobody read.
        assert names(plan) == ["openai:None", "anthropic:None"]


def test_a_rule_without_to_holds_on_every_path():
    book = compile_rules(config("rules: [{name: r, deny: closed}]"))
    assert decide(book, ask(endpoint="other")).deny == "closed"


def test_budgets_and_all_text_reach_the_rules():
    text = """rules:
  - {name: poor, when: {budget.b: "> 80%"}, to: small}
  - {name: old, when: {all_text: refund}, to: large}
budgets: [{name: b, limit: $1}]
"""
    book = compile_rules(config(text))
    assert decide(book, ask(), budgets=Shares({"b": 0.9})).rule == "poor"
    plan = decide(book, ask(), budgets=Shares({"b": 0.1}), all_text=lambda a: "my refund")
    assert plan.rule == "old"
    assert decide(book, ask()).rule is None


def test_no_text_is_read_when_fields_decide():
    book = compile_rules(config("rules: [{name: r, when: {all_text: x, model: auto}, to: small}]"))

    def whole(request):
        raise AssertionError("read without need")

    assert decide(book, ask(model="gpt-x"), all_text=whole).rule is None


# -- keys that may use only some models --------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "given_", "want"),
    [
        (("gpt-*",), {"model": "gpt-x"}, ["openai:gpt-x"]),
        (("gpt-*",), {"model": "o1"}, None),
        (("gpt-*",), {"model": "openai/gpt-x"}, ["openai:gpt-x"]),
        (("mistral/*",), {"model": "mistral/a"}, ["mistral:a"]),
        (("small",), {"model": "small"}, ["mistral:tiny-1", "anthropic:haiku-1"]),
        (("haiku-*",), {"model": "small"}, ["anthropic:haiku-1"]),
        (("o9",), {"model": "small"}, None),
        (("auto",), {"model": "auto"}, ["mistral:tiny-1", "anthropic:haiku-1"]),
        ((), {"model": "gpt-x"}, None),
        (("gpt-*",), {"endpoint": "other"}, ["openai:None"]),
    ],
)
def test_a_key_for_some_models(allowed, given_, want):
    caller = Caller(models=allowed)
    if want is None:
        with pytest.raises(MuxError) as caught:
            decide(BOOK, ask(**given_), caller)
        assert caught.value.code == "forbidden"
    else:
        assert names(decide(BOOK, ask(**given_), caller)) == want


# -- explaining ---------------------------------------------------------------------------------


def test_explain_tells_every_rule_and_why():
    verdicts = BOOK.explain(RED, ask(model="auto", n=1), [], NOON)
    assert [(v.rule, v.matched, v.reached, v.why) for v in verdicts] == [
        ("quiet", True, True, "n is 1"),
        ("mark", True, True, "team is red"),
        ("cap", True, True, "tag is red"),
        ("no", False, True, "model is auto, not *-preview"),
        ("code", False, True, "text is not code"),
        ("two", False, True, "n is 1, not 2"),
        ("stop", False, True, "n is 1, not 3"),
        ("rest", True, True, "model is auto"),
    ]
    verdicts = BOOK.explain(Caller(), ask(model="a-preview", text="`x`"), [], NOON)
    assert [(v.rule, v.reached) for v in verdicts if v.matched] == [
        ("quiet", True),
        ("no", True),
        ("code", False),
    ]
    other = BOOK.explain(Caller(), ask(endpoint="other"), [], NOON)
    assert other[4].why == "a rule for other must name the path, endpoint or a header"


def test_resolve_and_home_and_headers():
    assert BOOK.home("anthropic") == "anthropic"
    assert BOOK.resolve("small", ask()).candidates[0].model == "tiny-1"
    assert BOOK.resolve("mistral/q", ask()).candidates[0].provider == "mistral"
    book = compile_rules(config("rules: [{name: r, when: {any: [{header.X-A: b}]}, to: small}]"))
    assert book.headers == {b"x-a"}


def test_a_when_outside_the_rules():
    matches = compile_when({"team": "red", "header.x": "1"})
    assert matches(RED, ask(), [(b"x", b"1")], NOON)
    assert not matches(RED, ask(), [], NOON)
    assert compile_when(None)(RED, ask(), [], NOON)


def test_an_unchecked_condition_is_refused():
    bad = Config(rules=[Rule(name="r", when={"modle": 1}, to="x")])
    with pytest.raises(ValueError, match="when modle: unknown condition modle"):
        compile_rules(bad)


# -- the shipped file ---------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("model", ["auto", None])
@pytest.mark.parametrize(
    ("given_", "rule", "alias"),
    [
        ({"text": "What is the capital of France?"}, "simple", "small"),
        ({"text": "What is the capital of France?", "tools": True}, "balanced", "balanced"),
        ({"text": "Write a Python function"}, "code", "large"),
        ({"text": "```\nx\n```"}, "code", "large"),
        ({"text": "Analyze the causes of the war"}, "complex", "large"),
        ({"text": "Write about the sea. " * 20}, "balanced", "balanced"),
        ({"text": "yes", "prompt_tokens": 20_000}, "long", "balanced"),
        ({"text": "what is this?", "images": True}, "long", "balanced"),
        ({"text": ""}, "balanced", "balanced"),
    ],
)
def test_the_shipped_rules_route_as_modelmuxer(given_, rule, alias, model, dialect):
    endpoint = {"openai": "chat", "anthropic": "messages", "gemini": "generate"}[dialect]
    plan = decide(
        compile_rules(shipped()), ask(dialect=dialect, endpoint=endpoint, model=model, **given_)
    )
    assert (plan.rule, plan.alias) == (rule, alias)
    # Every kind of caller finds a model that needs no translation.
    dialects = {shipped().providers[t.provider].dialect for t in plan.candidates}
    assert dialect in dialects


@pytest.mark.parametrize("text", ["hi", "```\ncode\n```", "Explain everything"])
def test_the_shipped_rules_leave_a_named_model_alone(text):
    plan = decide(compile_rules(shipped()), ask(model="gpt-4o", text=text))
    assert (names(plan), plan.chosen, plan.rule) == (["openai:gpt-4o"], False, None)


# -- properties ---------------------------------------------------------------------------------

WHENS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["auto", None, "gpt-*", ["auto", None]]),
        "text": st.sampled_from(["code", "complex", "simple", "/a+b/", "word"]),
        "n": st.sampled_from([1, "> 1", "!= 2"]),
        "stream": st.booleans(),
        "hour": st.sampled_from(["8-18", "22-6"]),
        "tag": st.sampled_from(["t1", "!= t1", None]),
        "header.x": st.sampled_from(["1", None]),
        "path": st.sampled_from(["/v1/*", "/x"]),
        "not": st.fixed_dictionaries({"stream": st.booleans()}),
    },
)
EFFECTS = st.sampled_from(
    [
        {"to": "small"},
        {"to": ["large", "x-1"]},
        {"deny": "no"},
        {"tag": "t1"},
        {"set": {"a": 1}},
        {"tag": "t2", "continue_": True},
        {"to": "bare", "shadow": True},
    ]
)
BOOKS = st.lists(st.tuples(WHENS, EFFECTS), max_size=5)
ASKS = st.builds(
    ask,
    dialect=st.sampled_from(exchange.DIALECTS),
    endpoint=st.sampled_from(sorted({*exchange.INSPECTED, exchange.OTHER, exchange.MODELS})),
    model=st.none()
    | st.sampled_from(["auto", "small", "gpt-4", "mistral/x", "a/b"])
    | st.text(max_size=5),
    text=st.sampled_from(["", "hi", "`x`", "explain aab word"]) | st.text(max_size=30),
    n=st.integers(0, 3),
    stream=st.booleans(),
)
BASE = config()


def build(rules):
    made = [Rule(name=f"r{i}", when=w, **e) for i, (w, e) in enumerate(rules)]
    return compile_rules(msgspec.structs.replace(BASE, rules=made))


@settings(max_examples=200, deadline=None)
@given(BOOKS, ASKS, st.floats(0, 4e9))
def test_every_request_gets_the_same_verdict_every_time(rules, request, now):
    book = build(rules)
    plan = book.decide(RED, request, [(b"x", b"1")], now)
    assert plan == book.decide(RED, request, [(b"x", b"1")], now)
    assert plan == build(rules).decide(RED, request, [(b"x", b"1")], now)
    assert (plan.deny is None) == bool(plan.candidates)
    assert plan.reason
    assert "\n" not in plan.reason
    # Explaining is the same path: what took effect there is what decided here.
    verdicts = book.explain(RED, request, [(b"x", b"1")], now)
    matched = [v.rule for v in verdicts if v.matched and v.reached]
    assert matched == sorted((*plan.rules, *plan.shadow), key=lambda name: int(name[1:]))
    assert all(v.why for v in verdicts)


@settings(max_examples=150, deadline=None)
@given(BOOKS, ASKS, st.integers(0, 5))
def test_an_unrelated_rule_changes_nothing(rules, request, at):
    before = build(rules).decide(RED, request, [], NOON)
    unrelated = Rule(name="unrelated", when={"header.x-unrelated": "yes"}, deny="never")
    made = [Rule(name=f"r{i}", when=w, **e) for i, (w, e) in enumerate(rules)]
    made.insert(at, unrelated)
    book = compile_rules(msgspec.structs.replace(BASE, rules=made))
    assert book.decide(RED, request, [], NOON) == before


@pytest.mark.parametrize(
    ("when", "model", "sticks"),
    [
        ("model: [auto, null]", "auto", True),
        ("model: [auto, null]", None, True),
        ("model: [auto, null]", "gpt-4o", False),
        ("model: auto", None, False),
        ("model: 'gpt-*'", "gpt-4o", True),
        ("model: ['gpt-*', auto]", "gpt-4o", True),
        ("model: '!= auto'", "gpt-4o", True),
        ("tools: false", "gpt-4o", True),
    ],
)
def test_what_no_text_rule_could_be_about_does_not_stick(
    when: str, model: str | None, sticks: bool
) -> None:
    """What is left over by a text rule was decided by the text, if the rule could have matched."""
    rules = f"rules: [{{name: code, when: {{text: code, {when}}}, to: openai/gpt-4o}}]"
    plan = decide(compile_rules(config(rules)), ask(text="hello", model=model))
    assert plan.rule is None
    assert bool(plan.sticks) is sticks
