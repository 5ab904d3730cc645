"""One reading of a YAML text: values, places of faults, environment, secrets."""

# ruff: noqa: E501 (one case, one line)

from __future__ import annotations

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.dump import dump
from muxproxy.config.loaded import read
from muxproxy.config.marks import Secret
from muxproxy.config.model import Config, Listen
from muxproxy.config.strategies import Strategy

PROVIDER = "providers:\n  openai: {dialect: openai, base_url: https://api.openai.com/v1%s}\n"


def load(text, source, env):
    loaded = read(text, source, env)
    assert loaded.faults == []
    return loaded.config


def faults(text, env=None):
    return [str(f) for f in read(text, "mux.yaml", env or {}).faults]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "~", "null\n", "{}"])
def test_an_empty_file_is_all_defaults(text):
    assert load(text, "mux.yaml", {}) == Config()


def test_every_kind_of_value():
    config = load(
        """
x-shared: &timeouts {connect: 1s}
listen: {address: ":8787", tls: {cert: a.pem, key: b.pem}}
drain_timeout: 5m
server: {max_body_bytes: 10MB, max_header_bytes: 4096}
providers:
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1
    usage_injection: off
    timeouts: {<<: *timeouts, idle: 5s}
    headers: {x-team: a}
    on_abort: {drain: 30s}
models:
  small: openai/gpt-4o-mini
  large: [openai/gpt-4o]
  auto: {strategy: heuristic, cheap: small, strong: large, threshold: 1}
rules:
  - {name: r, when: {model: [auto, null], prompt_chars: "< 100"}, to: small, continue: true}
budgets: [{name: b, limit: 5}]
log: {exchanges: off}
""",
        "mux.yaml",
        {},
    )
    assert isinstance(config.listen, Listen)
    assert config.listen.tls is not None
    openai = config.providers["openai"]
    assert openai.usage_injection == "off"
    assert (openai.timeouts.connect, openai.timeouts.idle) == ("1s", "5s")
    assert openai.on_abort == {"drain": "30s"}
    assert openai.missing_key is None
    assert isinstance(config.models["auto"], Strategy)
    assert config.models["auto"].threshold == 1.0
    assert config.rules[0].when == {"model": ["auto", None], "prompt_chars": "< 100"}
    assert config.rules[0].continue_ is True
    assert config.budgets[0].limit == 5
    assert config.log.exchanges == "off"
    assert config.server.max_header_bytes == 4096


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("lisen: 1", ["mux.yaml:1:1: lisen: unknown key lisen (did you mean listen?)"]),
        ("- a", ["mux.yaml:1:1: expected a mapping such as `listen: 127.0.0.1:8787`"]),
        ("just text", ["mux.yaml:1:1: expected a mapping such as `listen: 127.0.0.1:8787`"]),
        (
            "drain_timeout: 30",
            [
                "mux.yaml:1:16: drain_timeout: expected a duration such as 250ms, 30s, 5m, 12h or "
                "7d, got 30"
            ],
        ),
        (
            "drain_timeout: soon",
            [
                "mux.yaml:1:16: drain_timeout: expected a duration such as 250ms, 30s, 5m, 12h or "
                "7d, got soon"
            ],
        ),
        (
            "server: {max_body_bytes: 64K}",
            [
                "mux.yaml:1:26: server.max_body_bytes: expected a size such as 64KiB, 64MiB or "
                "10MB, got 64K"
            ],
        ),
        (
            "durability: strickt",
            [
                "mux.yaml:1:13: durability: expected power, relaxed or strict, got strickt "
                "(did you mean strict?)"
            ],
        ),
        ("hosts: a.example", ["mux.yaml:1:8: hosts: expected a list, got a.example (write a list: [a.example])"]),
        ("rules: {name: x}", ["mux.yaml:1:8: rules: expected a list, got a mapping"]),
        (
            "rules: [{name: x, shadow: yes}]",
            ["mux.yaml:1:27: rules[0].shadow: expected true or false, got yes (write true)"],
        ),
        (
            "rules: [{name: 7, to: a}]",
            ['mux.yaml:1:16: rules[0].name: expected text, got 7 (put it in quotes: "7")'],
        ),
        ("rules:\n  - {to: a}", ["mux.yaml:2:5: rules[0]: name is missing (add name: ...)"]),
        ("listen:", ["mux.yaml:1:8: listen: expected an address such as 127.0.0.1:8787, [::1]:8787, :8787 or unix:/path, got nothing"]),
        (
            "server: {max_connections: 1.5}",
            ["mux.yaml:1:27: server.max_connections: expected a whole number, got 1.5"],
        ),
        (
            "providers:\n  p: {dialect: opnai, base_url: nowhere}",
            [
                "mux.yaml:2:16: providers.p.dialect: expected anthropic, gemini, openai or "
                "responses, got opnai (did you mean openai?)",
                "mux.yaml:2:33: providers.p.base_url: expected a URL such as "
                "https://api.openai.com/v1, got nowhere",
            ],
        ),
        (
            "providers: {p: {dialect: openai, base_url: http://x, missing_key: X}}",
            ["mux.yaml:1:54: providers.p.missing_key: unknown key missing_key"],
        ),
        (
            "budgets: [{name: b, limit: ten, window: fortnight, tz: Mars}]",
            [
                "mux.yaml:1:28: budgets[0].limit: expected dollars such as $10, or tokens such as "
                "200k tokens, got ten",
                "mux.yaml:1:41: budgets[0].window: expected minute, hour, day, week, month, "
                "rolling 24h, prepaid or run, got fortnight",
                "mux.yaml:1:56: budgets[0].tz: expected an IANA time zone such as UTC or "
                "Europe/Berlin, got Mars",
            ],
        ),
        (
            "state: mysql://x",
            ["mux.yaml:1:8: state: expected a file, or redis://... or postgresql://..., got mysql://x"],
        ),
        ("models: {a: {strategy: magic}}", ["mux.yaml:1:24: models.a.strategy: expected cascade, cheapest, fastest, heuristic, hybrid, "
        "least_in_flight, peak_ewma, semantic or weighted, got magic"]),
        (
            "a: 1\nb: [",
            ["mux.yaml:2:5: not YAML: did not find expected node content"],
        ),
    ],
)  # fmt: skip
def test_each_fault_says_where_what_and_how_to_mend_it(text, want):
    found = faults(text)
    if text == "a: 1\nb: [":
        found = [f.split(" while")[0] for f in found if "not YAML" in f]
        assert len(found) == 1
        return
    if "missing_key" in text:
        found = [found[0].split(" (")[0]]
    assert found == want


def test_all_faults_at_once_in_the_order_of_the_file():
    text = "budgets:\n  - {name: b, limit: x}\nlisen: 1\nauth: {mode: open, mood: 1}\nauth: {}\n"
    found = read(text, "f", {}).faults
    assert [(f.line, f.column) for f in found] == [(2, 22), (3, 1), (4, 20), (5, 1)]


# -- environment -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "env", "want"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("pre-${A}-post", {"A": "x"}, "pre-x-post"),
        ("${A:-y}", {}, "y"),
        ("${A:-y}", {"A": ""}, "y"),
        ("${A:-y}", {"A": "x"}, "x"),
        ("${A:-}z", {}, "z"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("$A", {"A": "x"}, "$A"),
        ("${A}${B:-b}", {"A": "1"}, "1b"),
        ("${A}", {"A": "12"}, "12"),
        ("${A}", {"A": "a: b # c"}, "a: b # c"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_the_environment_is_put_into_strings(written, env, want):
    config = load(f"models: {{m: '{written}'}}", "f", env)
    assert config.models["m"] == want


def test_numbers_may_come_from_the_environment():
    text = 'server: {max_connections: "${N}"}\nrules: [{name: r, set: {max_tokens: "${M}"}, tag: "${T}"}]'
    config = load(text, "f", {"N": "5", "M": "7", "T": "8"})
    assert config.server.max_connections == 5
    assert config.rules[0].set == {"max_tokens": 7}
    assert config.rules[0].tag == "8"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            "state: ${DB}",
            "f:1:8: state: environment variable DB is not set (set it, or write ${DB:-default})",
        ),
        (
            'keys: [{name: a, value: "${K}"}]',
            "f:1:25: keys[0].value: environment variable K is not set (set it, or write "
            "${K:-default})",
        ),
        ("state: ${1}", "f:1:8: state: expected ${NAME} or ${NAME:-default} ($${ is a plain ${)"),
    ],
)
def test_a_missing_variable_is_a_fault(text, want):
    assert [str(f) for f in read(text, "f", {}).faults] == [want]


@pytest.mark.parametrize("env", [{}, {"K": ""}])
def test_a_provider_without_its_key_is_marked(env):
    config = load(PROVIDER % ', api_key: "${K}"', "f", env)
    assert config.providers["openai"].api_key is None
    assert config.providers["openai"].missing_key == "K"


def test_a_provider_with_its_key():
    config = load(PROVIDER % ', api_key: "${K}"', "f", {"K": "sk-1"})
    assert config.providers["openai"].api_key == "sk-1"
    assert config.providers["openai"].missing_key is None


# -- secrets ---------------------------------------------------------------------------------

SECRET = "sk-verysecret-0123456789"
SECRET_TEXTS = [
    PROVIDER % ', api_key: "${K}", headers: {x-k: "${K}"}',
    PROVIDER % f", api_key: {SECRET}",
    PROVIDER % f", api_key: [{SECRET}]",
    PROVIDER % f", api_key: {{a: {SECRET}}}",
    PROVIDER % f", apikey: {SECRET}",
    PROVIDER % ', proxy: "ftp://u:${K}@h"',
    f"keys: [{{name: a, value: {SECRET}, sha256: {SECRET}}}]",
    "keys: [{name: a, value: ${K}}]\nlisten: ${K}\n",
    "keys:\n  - ${K}\n  - [${K}]\ndrain_timeout: ${K}\nauth: ${K}\nserver: {max_connections: ${K}}",
    f"state: redis://u:{SECRET}@h/0\nadmin: u:{SECRET}@h:1",
    "durability: ${K}\nunknown_price: {input: ${K}}\nlimits: [{name: x, tokens: '${K}'}]",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_no_secret_is_ever_shown(text):
    loaded = read(text, "f", {"K": SECRET})
    shown = "\n".join(map(str, loaded.faults))
    shown += repr(loaded.faults) + repr(loaded.config) + str(dump(loaded.config))
    shown += str(loaded.warnings)
    assert SECRET not in shown


def test_secret_is_a_string_that_hides():
    secret = Secret("abc")
    assert f"{secret} {secret!r} {secret!s}" == "*** '***' ***"
    assert "%s %r" % (secret, secret) == "*** '***'"  # noqa: UP031
    assert secret == "abc"
    assert "Bearer " + secret == "Bearer abc"
    assert secret.encode() == b"abc"
    assert type(secret.reveal()) is str
    assert secret.reveal() == "abc"


# -- never anything but a Config or faults ------------------------------------------------------


def test_aliases_cannot_multiply_without_end():
    lines = ["x-a: &a0 [1]"]
    lines += [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    text = "\n".join(lines) + "\nrules: [{name: r, set: {v: *a11}}]"
    assert any("aliases multiply" in f for f in faults(text))


KEYS = st.sampled_from(
    [
        "listen",
        "providers",
        "models",
        "rules",
        "budgets",
        "keys",
        "auth",
        "when",
        "name",
        "to",
        "limit",
        "openai",
        "dialect",
        "base_url",
        "set",
        "model",
        "x",
        "<<",
        "timeouts",
        "strategy",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_structure_is_read_or_refused(tree):
    loaded = read(yaml.safe_dump(tree), "f", {})
    assert isinstance(loaded.config, Config)
    assert all(f.message and f.line >= 0 for f in loaded.faults)
    if not loaded.faults:
        msgspec.json.encode(dump(loaded.config))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.text(max_size=10))
def test_any_text_is_read_or_refused(text, value):
    loaded = read(text, "f", {"A": value})
    assert isinstance(loaded.config, Config)
