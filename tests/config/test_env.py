"""The environment and the command line over the file."""

# ruff: noqa: E501 (one case, one line)

from __future__ import annotations

import hashlib

import pytest

from muxproxy.config.env import Flags
from muxproxy.config.load import load
from muxproxy.config.loaded import read
from muxproxy.config.model import Listen


def test_flags_beat_the_environment_beats_the_file():
    text = "listen: 127.0.0.1:1\nstate: file.db"
    env = {"MUXPROXY_LISTEN": "127.0.0.1:2", "MUXPROXY_STATE": "env.db"}
    assert load(text, "f", {}).listen == "127.0.0.1:1"
    assert load(text, "f", env).listen == "127.0.0.1:2"
    assert load(text, "f", env).state == "env.db"
    config = load(text, "f", env, Flags(listen="127.0.0.1:3", state="flag.db"))
    assert (config.listen, config.state) == ("127.0.0.1:3", "flag.db")


def test_an_address_keeps_the_files_tls():
    text = "listen: {address: ':1', tls: {cert: c, key: k}}"
    config = load(text, "f", {"MUXPROXY_LISTEN": "127.0.0.1:2"})
    assert isinstance(config.listen, Listen)
    assert config.listen.address == "127.0.0.1:2"
    assert config.listen.tls is not None


def test_modelmuxers_names_fill_in_what_the_file_leaves_open():
    env = {
        "DEFAULT_MODEL": "gpt-4o",
        "MAX_TOKENS_DEFAULT": "1000",
        "TEMPERATURE_DEFAULT": "0.7",
        "DEFAULT_DAILY_BUDGET": "10.0",
        "DEFAULT_MONTHLY_BUDGET": "$100",
    }
    config = load("", "f", env)
    assert (config.defaults.model, config.defaults.max_tokens) == ("gpt-4o", 1000)
    assert config.defaults.temperature == 0.7
    assert [(b.name, b.per, b.limit, b.window) for b in config.budgets] == [
        ("daily", "key", "10.0", "day"),
        ("monthly", "key", "$100", "month"),
    ]
    text = (
        "defaults: {model: x-small}\nbudgets: [{name: mine, limit: $1}, {name: monthly, limit: $2}]"
    )
    config = load(text, "f", env)
    assert (config.defaults.model, config.defaults.max_tokens) == ("x-small", 1000)
    assert [b.name for b in config.budgets] == ["mine", "monthly"]


def test_allowed_api_keys_turn_on_keys():
    config = load("", "f", {"ALLOWED_API_KEYS": "sk-a, sk-b,,sk-a"})
    digests = [hashlib.sha256(k).hexdigest() for k in (b"sk-a", b"sk-b")]
    assert config.auth.mode == "keys"
    assert [k.sha256 for k in config.keys] == digests
    assert [k.name for k in config.keys] == [f"env-{d[:8]}" for d in digests]
    assert "sk-a" not in repr(config)


def test_allowed_api_keys_are_added_once_and_do_not_override_a_mode():
    digest = hashlib.sha256(b"sk-a").hexdigest()
    text = f"auth: {{mode: keys}}\nkeys: [{{name: a, sha256: {digest}}}]"
    config = load(text, "f", {"ALLOWED_API_KEYS": "sk-a,sk-b"})
    assert config.keys[0].name == "a"
    assert len(config.keys) == 2
    loaded = read("auth: {mode: open}", "f", {"ALLOWED_API_KEYS": "sk-a"})
    assert loaded.config.auth.mode == "open"
    assert loaded.config.keys == []
    assert [str(w) for w in loaded.warnings] == [
        "environment: ALLOWED_API_KEYS: is not used: the file says auth.mode: open"
    ]


@pytest.mark.parametrize(
    ("env", "flags", "want"),
    [
        ({"MAX_TOKENS_DEFAULT": "lots"}, Flags(), "environment: MAX_TOKENS_DEFAULT: expected a count such as 500, 200k or 1.5m"),
        ({"MAX_TOKENS_DEFAULT": "0"}, Flags(), "environment: MAX_TOKENS_DEFAULT: expected a number above 0"),
        ({"TEMPERATURE_DEFAULT": "hot"}, Flags(), "environment: TEMPERATURE_DEFAULT: expected a number"),
        ({"TEMPERATURE_DEFAULT": "nan"}, Flags(), "environment: TEMPERATURE_DEFAULT: expected a number from 0 to 2"),
        ({"DEFAULT_DAILY_BUDGET": "x"}, Flags(), "environment: DEFAULT_DAILY_BUDGET: expected dollars such as $10, or tokens such as 200k tokens"),
        ({"MUXPROXY_LISTEN": "nowhere"}, Flags(), "environment: MUXPROXY_LISTEN: expected an address such as 127.0.0.1:8787, [::1]:8787, :8787 or unix:/path"),
        ({}, Flags(listen="x"), "command line: --listen: expected an address such as 127.0.0.1:8787, [::1]:8787, :8787 or unix:/path"),
    ],
)  # fmt: skip
def test_a_bad_variable_is_a_fault_that_names_it(env, flags, want):
    assert [str(f) for f in read("", "f", env, flags).faults] == [want]
