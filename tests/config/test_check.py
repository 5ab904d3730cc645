"""What a configuration means: references, safety, doubts."""

# ruff: noqa: E501 (one case, one line)

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.check import Report, check
from muxproxy.config.notes import Note
from muxproxy.rules import compile_rules

BASE = """providers:
  openai: {dialect: openai, base_url: https://api.openai.com/v1}
  anthropic: {dialect: anthropic, base_url: https://api.anthropic.com}
models:
  small: [openai/gpt-4o-mini, anthropic/claude-haiku-4-5]
  large: openai/gpt-4o
"""  # six lines


def errors(text, env=None):
    return [str(f).removeprefix("f:") for f in check(text, "f", env or {}).faults]


def warnings(text, env=None):
    report = check(text, "f", env or {})
    assert report.ok, str(report)
    return [str(f).removeprefix("f:") for f in report.warnings]


def test_a_good_file():
    report = check(BASE + "rules: [{name: a, to: small}]", "f", {})
    assert report.ok
    assert report.config is not None
    assert str(report) == "f: ok: 2 providers, 2 model aliases, 1 rule, 0 budgets"


def test_the_report_reads_well():
    report = check("lisen: 1\nproviders: {}", "f", {})
    assert report.config is None
    assert report.lines() == [
        "error: f:1:1: lisen: unknown key lisen (did you mean listen?)",
        "warning: f: no providers: there is nowhere to send a request",
    ]
    assert str(report).splitlines()[-1] == "f: 1 error, 1 warning"
    assert str(Report(source="x", faults=[], warnings=[], config=report.config)) == "x: 0 errors"


@pytest.mark.parametrize(
    ("more", "want"),
    [
        ("rules: [{name: a, to: smal}]", ["7:23: rules[0].to: unknown model or alias 'smal' (did you mean small?)"]),
        ("rules: [{name: a, to: [small, nonsense]}]", ["7:31: rules[0].to[1]: unknown model or alias 'nonsense' (valid: large, small)"]),
        ("rules: [{name: a, to: opnai/gpt-4o}]", ["7:23: rules[0].to: unknown provider opnai in opnai/gpt-4o (did you mean openai/gpt-4o?)"]),
        ("rules: [{name: a, to: meta/llama-3}]", ["7:23: rules[0].to: unknown provider meta in meta/llama-3 (a model called meta/llama-3 is written anthropic/meta/llama-3)"]),
        ("rules: [{name: a, to: openai/}]", ["7:23: rules[0].to: openai/ names no model (write openai/MODEL)"]),
        ("rules: [{name: a, to: []}]", ["7:23: rules[0].to: an empty list serves nobody (name an alias or provider/model)"]),
        ("rules: [{name: a, to: gpt-4o}]", []),
        ("rules: [{name: a, when: {model: x}}]", ["7:9: rules[0]: a rule without any effect (give it to, deny, set or tag)"]),
        ("rules: [{name: a, to: small}, {name: a, to: large}]", ["7:38: rules[1].name: the name a is taken by rules[0]"]),
        ("rules: [{name: a, deny: no, to: small}]", ["7:25: rules[0].deny: deny ends the request: to, set and continue have no effect"]),
        ("rules: [{name: a, set: {model: x}}]", ["7:32: rules[0].set.model: model cannot be set by a rule (write to: ...)"]),
        ("rules: [{name: a, when: {modle: x}, to: small}]", ["7:33: rules[0].when.modle: unknown condition modle (did you mean model?)"]),
        ("rules: [{name: a, when: {any: [{n: x}]}, to: small}]", ["7:36: rules[0].when.any[0].n: expected a number or a comparison such as \"< 100\", got 'x'"]),
        ("rules: [{name: a, when: {budget.dayly: '> 5%'}, to: small}]\nbudgets: [{name: daily, limit: $1}]", ["7:40: rules[0].when.budget.dayly: unknown budget dayly (did you mean daily?)"]),
        ("budgets: [{name: a, limit: 1}, {name: a, limit: 2}]", ["7:39: budgets[1].name: the name a is taken by budgets[0]"]),
        ("budgets: [{name: a, limit: 1, on_exceed: {downgrade: smal}}]", ["7:54: budgets[0].on_exceed.downgrade: unknown model or alias 'smal' (did you mean small?)"]),
        ("budgets: [{name: a, limit: 1, on_exceed: {downgrad: small}}]", ["7:53: budgets[0].on_exceed.downgrad: unknown key downgrad (did you mean downgrade?)"]),
        ("budgets: [{name: a, limit: 1, on_exceed: {}}]", ["7:42: budgets[0].on_exceed: expected {downgrade: ...}"]),
        ("budgets: [{name: a, limit: 1, thresholds: [0]}]", ["7:44: budgets[0].thresholds[0]: expected a percentage such as 80"]),
        ("budgets: [{name: a, limit: 1, window: run, per: key}]", ["7:49: budgets[0].per: a run's budget is counted per run (write per: run)"]),
        ("budgets: [{name: a, limit: 1, when: {x: 1}}]", ["7:41: budgets[0].when.x: unknown condition x"]),
        ("limits: [{name: a}]", ["7:10: limits[0]: a limit of nothing (give requests, tokens or concurrent)"]),
        ("limits: [{name: a, concurrent: 0}]", ["7:32: limits[0].concurrent: expected a number above 0"]),
        ("limits: [{name: a, requests: 5}]", ["7:30: limits[0].requests: expected a rate such as 10/s, 600/min or 200k/hour, got 5"]),
        ("unknown_price: {input: $3}", ["7:16: unknown_price: output is missing (write {input: $3, output: $15})"]),
        ("unknown_price: {input: $3, output: $x}", ["7:36: unknown_price.output: expected dollars such as $10, or tokens such as 200k tokens, got '$x'"]),
        ("defaults: {model: smal}", ["7:19: defaults.model: unknown model or alias 'smal' (did you mean small?)"]),
        ("defaults: {max_tokens: 0, temperature: 3}", ["7:24: defaults.max_tokens: expected a number above 0, got 0", "7:40: defaults.temperature: expected a number from 0 to 2"]),
        ("origins: [app.example.com]", ["7:11: origins[0]: expected an origin such as https://app.example.com"]),
        ("auth: {mode: keys}", ["7:14: auth.mode: mode keys without keys lets nobody in (add keys:)"]),
        ("auth: {mode: jwt}", ["7:14: auth.mode: mode jwt is not built yet (use keys)"]),
        ("auth: {mode: keys}\nkeys: [{name: a}]", ['8:8: keys[0]: expected sha256 or value, such as value: "${APP_KEY}"']),
        ("auth: {mode: keys}\nkeys: [{name: a, value: x, sha256: " + "0" * 64 + "}]", ["8:8: keys[0]: expected sha256 or value, not both"]),
        ("auth: {mode: keys}\nkeys: [{name: a, value: x}, {name: a, value: y}]", ["8:36: keys[1].name: the name a is taken by keys[0]"]),
        ("listen: 0.0.0.0:8787", ["7:9: listen: 0.0.0.0:8787 is reachable from outside and auth is open: anyone could spend (listen on 127.0.0.1, or set auth: {mode: keys} and keys:)"]),
        ("admin: ':9'", ["7:8: admin: :9 is reachable from outside and auth is open: anyone could spend (listen on 127.0.0.1, or set auth: {mode: keys} and keys:)"]),
        ("listen: ':8787'\nauth: {mode: keys}\nkeys: [{name: a, value: x}]", []),
        ("listen: {address: ':8787', tls: {cert: a, key: b, client_ca: c}}", []),
        ("listen: unix:/tmp/x", []),
        ("listen: localhost:1", []),
        ("server: {max_connections: 0}", ["7:27: server.max_connections: expected a number above 0, got 0"]),
    ],
)  # fmt: skip
def test_faults_of_meaning(more, want):
    assert errors(BASE + more) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("models: {a: [b], b: [c], c: a}", ["1:13: models.a: aliases in a circle: a -> b -> c -> a"]),
        ("models: {a: {strategy: heuristic, cheap: b, strong: x-1}, b: a}", ["1:13: models.a: aliases in a circle: a -> b -> a"]),
        ("models: {gpt-4o: [gpt-4o, x-1]}", []),
        ("models: {a: []}", ["1:13: models.a: an empty list serves nobody (name a provider/model)"]),
        ("models: {a: {strategy: hybrid, cheap: x-1}}", ["1:13: models.a: strong is missing (give cheap and strong, or a list of models)"]),
        ("models: {a: {strategy: weighted, models: [x-1], weights: [1, 2]}}", ["1:58: models.a.weights: expected one weight per entry of models"]),
        ("models: {a: {strategy: weighted, models: [x-1], weights: [0]}}", ["1:58: models.a.weights: expected weights of 0 or more, one of them above 0"]),
        ("models: {a: {strategy: hybrid, cheap: x-1, strong: y-1, threshold: 2}}", ["1:68: models.a.threshold: expected a number from 0 to 1"]),
        ("models: {a: {strategy: hybrid, cheap: x-1, strong: y-1, learn: features, explore: 2%}}", []),
        ("models: {a: {strategy: hybrid, cheap: x-1, strong: y-1, learn: features, explore: 200%}}", ["1:83: models.a.explore: expected a share such as 2%, or a number from 0 to 1, got 200%"]),
        ("models: {a: {strategy: hybrid, cheap: x-1, strong: y-1, explore: 2%}}", ["1:66: models.a.explore: what is explored would be forgotten (add learn: features)"]),
        ("routing: {learn: text}\nmodels: {a: {strategy: hybrid, cheap: x-1, strong: y-1, explore: 2%}}", []),
        ("routing: {learn: text}\nmodels: {a: {strategy: semantic, cheap: x-1, strong: y-1, explore: 0.02, learn: off}}", ["2:68: models.a.explore: what is explored would be forgotten (add learn: features)"]),
        ("models: {a: {strategy: cascade, cheap: x-1, strong: y-1, learn: features, explore: 2%}}", ["1:84: models.a.explore: nothing to explore: only heuristic, semantic, hybrid, and cascade with a judge leave answers unjudged"]),
        ("models: {a: {strategy: cascade, cheap: x-1, strong: y-1, judge: z-1, learn: features, explore: 2%}}", []),
        ("models: {a: {strategy: cheapest, models: [x-1], learn: features}}", ["1:56: models.a.learn: there is nothing to learn without cheap and strong"]),
        ("models: {' a': x-1}", ["1:16: models. a: expected a name without spaces around it"]),
        ("providers: {a/b: {dialect: openai, base_url: http://x}}", ["1:18: providers.a/b: a provider's name has letters, digits, _ . - (it stands in URLs)"]),
        ("providers: {a: {dialect: openai, base_url: http://x, on_abort: {drain: 5}}}", ["1:72: providers.a.on_abort.drain: expected text, got 5 (put it in quotes: \"5\")"]),
        ("providers: {a: {dialect: openai, base_url: http://x, on_abort: {drain: soon}}}", ["1:72: providers.a.on_abort.drain: expected a duration such as 250ms, 30s, 5m, 12h or 7d, got 'soon'"]),
        ('providers: {a: {dialect: openai, base_url: http://x, headers: {x-a: "1\\r\\nx: 2"}}}', ["1:69: providers.a.headers.x-a: a header's value is one line"]),
        ("providers: {a: {dialect: openai, base_url: http://x, headers: {x a: b}}}", ["1:69: providers.a.headers.x a: expected a header name such as x-team"]),
        ("providers: {a: {dialect: openai, base_url: http://x, pool: {max_connections: 0, max_idle: -1}}}", ["1:78: providers.a.pool.max_connections: expected a number above 0, got 0", "1:91: providers.a.pool.max_idle: expected 0 or more"]),
    ],
)  # fmt: skip
def test_faults_of_providers_and_aliases(text, want):
    assert errors(text) == want


def test_one_mistake_is_one_fault():
    """An entry with a fault of its own is not reported as unknown wherever it is named."""
    text = "providers:\n  openai: {dialect: opnai, base_url: http://x}\nmodels: {a: openai/gpt-4o}\nrules: [{name: a, to: a}]"
    assert len(errors(text)) == 1
    assert errors("rules: [{name: a, to: [3]}]") == [
        '1:24: rules[0].to[0]: expected text, got 3 (put it in quotes: "3")'
    ]


KEYED = 'providers: {p: {dialect: openai, base_url: "%s", api_key: "${K}"}}\n'


@pytest.mark.parametrize(
    ("text", "env", "want"),
    [
        (KEYED % "https://x", {}, ["1:66: providers.p.api_key: K is not set: provider p is off unless callers bring their own key"]),
        (KEYED % "https://x" + "auth: {mode: keys}\nkeys: [{name: a, value: b}]", {}, ["1:66: providers.p.api_key: K is not set: provider p is off"]),
        (KEYED % "https://x", {"K": "k"}, []),
        (KEYED % "http://x", {"K": "k"}, ["1:44: providers.p.base_url: the key travels unencrypted (use https://)"]),
        (KEYED % "http://127.0.0.1:1/v1", {"K": "k"}, []),
        (BASE + "keys: [{name: a, value: b}]", {}, ["7:7: keys: keys are not checked while auth.mode is open (mode: keys)"]),
        (BASE + "  auto: {strategy: hybrid, cheap: small, strong: large}", {}, []),
        (BASE + "  auto: {strategy: cheapest, models: [small, large]}", {}, []),
        (BASE + "  auto: {strategy: heuristic, cheap: small, strong: large}", {}, []),
        (BASE + "  openai/o1: large", {}, ["7:14: models.openai/o1: this alias hides the model openai/o1 of openai"]),
        (BASE + "rules: [{name: a, to: small}, {name: b, when: {model: x}, to: large}]", {}, ["7:31: rules[1]: never reached: rules[0] a always matches (move it up)"]),
        (BASE + "rules: [{name: a, to: small}, {name: b, when: {path: /v1/files}, to: large}]", {}, []),
        (BASE + "rules: [{name: a, deny: no}, {name: b, when: {path: /v1/files}, to: large}]", {}, ["7:30: rules[1]: never reached: rules[0] a always matches (move it up)"]),
        (BASE + "rules: [{name: a, tag: t, continue: true}, {name: b, to: large}]", {}, []),
        (BASE + "rules: [{name: a, when: {n: 1}, to: small}, {name: b, when: {n: 1}, to: large}]", {}, ["7:61: rules[1].when: never matches: rule a has the same conditions"]),
        (BASE + "rules: [{name: a, when: {hour: 8-18}, to: small}]", {}, ["7:32: rules[0].when.hour: is read in UTC (add tz: Europe/Berlin)"]),
        (BASE + "budgets: [{name: a, limit: 0}]\nlimits: [{name: a, tokens: 0/min}]", {}, ["7:28: budgets[0].limit: no request can meet a limit of nothing", "8:28: limits[0].tokens: no request can meet a limit of nothing"]),
        (BASE + "auth: {mode: open}", {"ALLOWED_API_KEYS": "a"}, ["environment: ALLOWED_API_KEYS: is not used: the file says auth.mode: open"]),
    ],
)  # fmt: skip
def test_doubts(text, env, want):
    assert warnings(text, env) == want


def test_listening_everywhere_by_environment_is_refused_too():
    assert errors(BASE, {"MUXPROXY_LISTEN": "0.0.0.0:1"})[0].endswith(
        "auth: {mode: keys} and keys:)"
    )
    assert errors(BASE, {"MUXPROXY_LISTEN": "0.0.0.0:1", "ALLOWED_API_KEYS": "k"}) == []


def test_others_add_their_doubts():
    def prices(config):
        assert "large" in config.models
        return [Note(("models", "large"), "no price is known for openai/gpt-4o", "add prices:")]

    report = check(BASE, "f", {}, extra=[prices])
    assert report.ok
    assert [str(w) for w in report.warnings] == [
        "f:6:10: models.large: no price is known for openai/gpt-4o (add prices:)"
    ]
    assert check("lisen: 1", "f", {}, extra=[prices]).warnings[0].message.startswith("no providers")


NAMES = st.sampled_from(["a", "b", "openai", "openai/x", "c", "x-1", ""])
STRATEGIES = st.fixed_dictionaries(
    {"strategy": st.sampled_from(["hybrid", "weighted"])},
    optional={"cheap": NAMES, "strong": NAMES, "models": st.lists(NAMES, max_size=3)},
)
RULES = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "to": NAMES | st.lists(NAMES, max_size=3),
        "deny": NAMES,
        "when": st.dictionaries(st.sampled_from(["model", "text", "n", "x"]), NAMES, max_size=2),
        "continue": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(NAMES, NAMES | st.lists(NAMES, max_size=3) | STRATEGIES, max_size=4),
    st.lists(RULES, max_size=4),
)
def test_what_passes_check_compiles(models, rules):
    tree = {
        "providers": {"openai": {"dialect": "openai", "base_url": "http://x"}},
        "models": models,
        "rules": rules,
    }
    report = check(yaml.safe_dump(tree), "f", {})
    assert (report.config is None) == bool(report.faults)
    if report.config is not None:
        compile_rules(report.config)


@pytest.mark.parametrize(
    ("intercept", "words"),
    [
        ("off", "escape budgets"),
        ("{fail_open: [api.example.com]}", "tunnels to api.example.com escape budgets"),
        ("auto", None),
        ('["*.example.com"]', None),
    ],
)
def test_ways_around_the_budgets_are_doubts(intercept: str, words: str | None) -> None:
    text = f"""
providers: {{a: {{dialect: openai, base_url: https://a.example/v1, api_key: k}}}}
budgets: [{{name: b, limit: $1}}]
intercept: {intercept}
"""
    lines = check(text, "f", {}).lines()
    assert len(lines) == (words is not None)
    assert words is None or words in lines[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("intercept: maybe", "auto"),
        ('intercept: ["a*b.example"]', "*.example.com"),
        ("intercept: {hosts: [http://x]}", "*.example.com"),
        (
            "providers: {a: {dialect: openai, base_url: https://a/v1, connect_to: nowhere}}",
            "10.0.0.5:443",
        ),
    ],
)
def test_what_intercept_and_connect_to_take(text: str, words: str) -> None:
    assert words in str(check(text, "f", {}))


@pytest.mark.parametrize(
    ("listen", "url", "circle"),
    [
        ("127.0.0.1:8787", "http://127.0.0.1:8787/v1", True),
        ("127.0.0.1:8787", "http://localhost:8787/v1", True),
        (":8787", "http://[::1]:8787/v1", True),
        ("127.0.0.1:8787", "http://127.0.0.1:11434/v1", False),
        ("127.0.0.1:8787", "https://api.example.com:8787/v1", False),
        ("127.0.0.1:0", "http://127.0.0.1:80/v1", False),
    ],
)
def test_a_provider_that_is_muxproxy_itself(listen: str, url: str, circle: bool) -> None:
    providers = f"providers: {{a: {{dialect: openai, base_url: '{url}'}}}}"
    report = check(f"listen: '{listen}'\n{providers}\n", "f", {})
    assert any("in circles" in str(fault) for fault in report.faults) is circle


EXAMPLES = """providers: {openai: {dialect: openai, base_url: https://api.openai.com/v1, api_key: k}}
models:
  auto:
    strategy: %s
    cheap: openai/small
    strong: openai/large
    examples:
      embeddings: %s
      threshold: %s
      routes: %s
"""
ROUTES = "[{to: openai/large, utterances: [prove it]}, {to: openai/small, utterances: [say hello]}]"


@pytest.mark.parametrize(
    ("strategy", "embeddings", "threshold", "routes", "told"),
    [
        (
            "heuristic",
            "openai/embed",
            "0.3",
            ROUTES,
            "models.auto.examples: these are for strategy: semantic",
        ),
        (
            "semantic",
            "opanai/embed",
            "0.3",
            ROUTES,
            "examples.embeddings: opanai/embed is no provider/model of this file (did you mean openai?)",
        ),
        (
            "semantic",
            "openai/embed",
            "1.3",
            ROUTES,
            "examples.threshold: expected a cosine from -1 to 1",
        ),
        ("semantic", "openai/embed", "0.3", "[]", "examples.routes: an empty list routes nothing"),
        (
            "semantic",
            "openai/embed",
            "0.3",
            "[{to: openai/huge, utterances: [x y]}]",
            "routes[0].to: openai/huge is not among the models of this alias",
        ),
        (
            "semantic",
            "openai/embed",
            "0.3",
            "[{to: openai/large, utterances: []}]",
            "routes[0].utterances: an empty list is like nothing",
        ),
        (
            "semantic",
            "openai/embed",
            "0.3",
            ROUTES.replace("say hello", "prove it"),
            "routes[1].utterances[0]: is in routes[0] as well",
        ),
    ],
)
def test_examples_that_cannot_be(strategy, embeddings, threshold, routes, told):
    found = errors(EXAMPLES % (strategy, embeddings, threshold, routes))
    assert len(found) == 1 and told in found[0], found
    assert errors(EXAMPLES % ("semantic", "openai/embed", "0.3", ROUTES)) == []
