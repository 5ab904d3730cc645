"""Who calls, by the credential where each SDK puts it."""

from __future__ import annotations

import hashlib

import pytest

from muxproxy.auth import REMEMBERED, Authenticator, with_user
from muxproxy.config.model import Auth, Key
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller

SECRET = b"mux-secret-1"
KEYS = [
    Key(name="app", value=SECRET.decode(), team="t", tags=["a"], models=["small", "gpt-*"]),
    Key(name="ann", sha256=hashlib.sha256(b"mux-secret-2").hexdigest().upper(), user="ann"),
    Key(name="off", value=""),
]
PLACES = [
    ("openai", (b"authorization", b"Bearer " + SECRET), b""),
    ("openai, lower case", (b"authorization", b"bearer  " + SECRET), b""),
    ("anthropic", (b"x-api-key", SECRET), b""),
    ("gemini", (b"x-goog-api-key", SECRET), b""),
    ("azure", (b"api-key", SECRET), b""),
    ("gemini in the query", (b"accept", b"*/*"), b"alt=sse&key=" + SECRET),
]


def keys(**more: str) -> Authenticator:
    return Authenticator(Auth(mode="keys", **more), KEYS)


def opened(**more: str) -> Authenticator:
    return Authenticator(Auth(**more), [])


@pytest.mark.parametrize(("header", "query"), [p[1:] for p in PLACES], ids=[p[0] for p in PLACES])
def test_a_key_is_found_where_an_sdk_puts_it(header: tuple[bytes, bytes], query: bytes) -> None:
    caller = keys().caller([header], query=query)
    assert caller == Caller(key="app", team="t", tags=("a",), models=("small", "gpt-*"), ours=True)


def test_a_hashed_key_and_its_user() -> None:
    caller = keys(user_header="x-user").caller(
        [(b"x-api-key", b"mux-secret-2"), (b"x-user", b"mallory")], "body"
    )
    assert (caller.key, caller.user) == ("ann", "ann"), (
        "the key's own user is no header's to change"
    )


REFUSED: list[tuple[str, list[tuple[bytes, bytes]], str]] = [
    ("no credential", [], "missing"),
    ("an unknown one", [(b"authorization", b"Bearer sk-other")], "not one of"),
    ("another scheme", [(b"authorization", b"Basic " + SECRET)], "missing"),
    ("an empty one", [(b"x-api-key", b"")], "missing"),
    ("a prefix", [(b"x-api-key", SECRET[:-1])], "not one of"),
    ("the name of a key", [(b"x-api-key", b"app")], "not one of"),
]


@pytest.mark.parametrize(("headers", "says"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_keys_mode_refuses(headers: list[tuple[bytes, bytes]], says: str) -> None:
    with pytest.raises(MuxError) as caught:
        keys().caller(headers)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert says in caught.value.message
    assert (b"www-authenticate", b"Bearer") in caught.value.headers


def test_a_key_of_ours_beside_a_providers_key() -> None:
    headers = [(b"authorization", b"Bearer sk-provider"), (b"x-api-key", SECRET)]
    auth = keys()
    assert auth.caller(headers).key == "app"
    assert auth.ours(headers) == {b"x-api-key"}


def test_open_mode_counts_under_the_hash_of_the_providers_key() -> None:
    caller = opened().caller([(b"authorization", b"Bearer sk-123")])
    assert caller.key == "k-" + hashlib.sha256(b"sk-123").hexdigest()[:12]
    assert not caller.ours
    assert opened().caller([(b"x-api-key", b"sk-123")]).key == caller.key
    assert opened().caller([]).key == "anonymous"


def test_open_mode_recognises_our_keys_too() -> None:
    assert Authenticator(Auth(), KEYS).caller([(b"x-api-key", SECRET)]).ours


def test_user_and_run() -> None:
    auth = opened(user_header="X-User", run_header="X-Session")
    assert auth.caller([(b"x-user", b"ann"), (b"x-session", b"s1")]) == Caller(user="ann", run="s1")
    both = [(b"x-session", b"s1"), (b"x-muxproxy-run", b"r1")]
    assert auth.caller(both).run == "r1"
    assert auth.caller([(b"x-user", b"ann")], "body").user == "ann"
    assert auth.caller([], "body").user == "body"
    assert auth.caller([(b"x-user", b"  ")]).user is None
    assert len(auth.caller([(b"x-user", b"x" * 9999)]).user or "") == 256


def test_the_bodys_user_comes_last() -> None:
    assert with_user(Caller(user="ann"), "bob").user == "ann"
    assert with_user(Caller(key="k"), "bob") == Caller(key="k", user="bob")
    assert with_user(Caller(), None) == Caller()


def test_the_memory_of_credentials_is_bounded() -> None:
    auth = opened()
    for i in range(REMEMBERED + 10):
        auth.caller([(b"x-api-key", b"%d" % i)])
    assert len(auth._known) <= REMEMBERED


def test_what_cannot_be_served_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="jwt"):
        Authenticator(Auth(mode="jwt"), [])
    with pytest.raises(ValueError, match="at least one key"):
        Authenticator(Auth(mode="keys"), [Key(name="off", value="")])


def test_no_secret_in_a_callers_name() -> None:
    assert "secret" not in repr(keys().caller([(b"x-api-key", SECRET)]))
    assert "sk-123" not in repr(opened().caller([(b"x-api-key", b"sk-123")]))
