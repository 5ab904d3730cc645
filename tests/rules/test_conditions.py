"""Every field and operator of the `when` language against requests."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from muxproxy.config import when as language
from muxproxy.exchange import CHAT, EMBEDDINGS, OTHER, Caller
from muxproxy.rules.conditions import compile_condition
from muxproxy.rules.context import Context
from tests.rules.support import NOON, Shares, ask

ALICE = Caller(key="alice", user="u1", team="red", tags=("beta", "eu"), run="r1")
HEADERS = [(b"x-team", b"search"), (b"x-n", b"7"), (b"x-n", b"x"), (b"authorization", b"s3cret")]


def compiled(when):
    def refuse(path, message, hint):
        raise AssertionError((path, message, hint))

    return compile_condition(language.parse(when, refuse))


def context(request=None, caller=ALICE, now=NOON, shares=None, all_text="", headers=HEADERS):
    return Context(caller, request or ask(), headers, now, Shares(shares or {}), lambda _: all_text)


def why(when, request=None, **rest):
    return compiled(when).hit(context(request, **rest))


CASES = [
    # path
    ({"path": "/v1/chat/completions"}, ask(), "path is /v1/chat/completions"),
    ({"path": "/v1/*"}, ask(), "path is /v1/chat/completions (/v1/*)"),
    ({"path": "/v2/*"}, ask(), None),
    ({"path": ["/x", "*/completions"]}, ask(), "path is /v1/chat/completions (*/completions)"),
    # dialect, endpoint
    ({"dialect": "openai"}, ask(), "dialect is openai"),
    ({"dialect": ["anthropic", "gemini"]}, ask(), None),
    ({"dialect": "!= anthropic"}, ask(), "dialect is openai"),
    ({"endpoint": "chat"}, ask(), "endpoint is chat"),
    ({"endpoint": ["embeddings", "messages"]}, ask(), None),
    # model
    ({"model": "auto"}, ask(model="auto"), "model is auto"),
    ({"model": "auto"}, ask(model="AUTO"), None),
    ({"model": "auto"}, ask(), None),
    ({"model": None}, ask(), "no model"),
    ({"model": None}, ask(model="auto"), None),
    ({"model": ["auto", None]}, ask(), "no model"),
    ({"model": ["auto", None]}, ask(model="auto"), "model is auto"),
    ({"model": "gpt-4*"}, ask(model="gpt-4o"), "model is gpt-4o (gpt-4*)"),
    ({"model": "gpt-4*"}, ask(), None),
    ({"model": "*-preview"}, ask(model="o1-preview"), "model is o1-preview (*-preview)"),
    ({"model": "gpt-?"}, ask(model="gpt-4o"), None),
    ({"model": "gpt-[45]"}, ask(model="gpt-5"), "model is gpt-5 (gpt-[45])"),
    ({"model": ["x*", None, "y"]}, ask(model="y"), "model is y"),
    ({"model": ["x*", None]}, ask(), "no model"),
    ({"model": "!= gpt-4o"}, ask(model="o1"), "model is o1"),
    ({"model": "!= gpt-4o"}, ask(model="gpt-4o"), None),
    ({"model": "!= gpt-4o"}, ask(), "no model"),
    ({"model": "a*"}, ask(model="a\nb"), "model is 'a\\nb' (a*)"),
    # flags
    ({"stream": True}, ask(stream=True), "stream is true"),
    ({"stream": False}, ask(stream=True), None),
    ({"tools": False}, ask(), "tools is false"),
    ({"images": True}, ask(images=True), "images is true"),
    ({"json": True}, ask(json=True), "json is true"),
    ({"json": [True, False]}, ask(), "json is false"),
    # numbers
    ({"prompt_chars": "< 100"}, ask(text="hi"), "prompt_chars is 2 (< 100)"),
    ({"prompt_chars": "< 2"}, ask(text="hi"), None),
    ({"prompt_chars": 2}, ask(text="hi"), "prompt_chars is 2"),
    ({"prompt_chars": [1, 2]}, ask(text="hi"), "prompt_chars is 2"),
    ({"prompt_tokens": ">= 32k"}, ask(prompt_tokens=32000), "prompt_tokens is 32000 (>= 32000)"),
    ({"prompt_tokens": "> 32k"}, ask(prompt_tokens=32000), None),
    ({"messages": "<= 3"}, ask(messages=3), "messages is 3 (<= 3)"),
    ({"messages": "!= 3"}, ask(messages=3), None),
    ({"messages": "== 3"}, ask(messages=3), "messages is 3"),
    ({"max_tokens": None}, ask(), "no max_tokens"),
    ({"max_tokens": "> 10"}, ask(), None),
    ({"max_tokens": [None, "> 10"]}, ask(), "no max_tokens"),
    ({"max_tokens": "> 10"}, ask(max_tokens=11), "max_tokens is 11 (> 10)"),
    ({"n": "> 1"}, ask(n=2), "n is 2 (> 1)"),
    # who
    ({"key": "alice"}, ask(), "key is alice"),
    ({"key": "al*"}, ask(), "key is alice (al*)"),
    ({"user": "u1"}, ask(user="u2"), "user is u1"),
    ({"team": ["red", "blue"]}, ask(), "team is red"),
    ({"team": None}, ask(), None),
    ({"run": "r1"}, ask(), "run is r1"),
    ({"tag": "eu"}, ask(), "tag is eu"),
    ({"tag": ["x", "b*"]}, ask(), "tag is beta (b*)"),
    ({"tag": "!= eu"}, ask(), None),
    ({"tag": "!= us"}, ask(), "tag is not us"),
    ({"tag": None}, ask(), None),
    # headers
    ({"header.X-Team": "search"}, ask(), "header x-team is search"),
    ({"header.x-team": "sea*"}, ask(), "header x-team fits"),
    ({"header.x-team": "Search"}, ask(), None),
    ({"header.x-none": None}, ask(), "no header x-none"),
    ({"header.x-team": None}, ask(), None),
    ({"header.x-n": "7"}, ask(), "header x-n is 7"),
    ({"header.x-n": "> 5"}, ask(), "header x-n fits"),
    ({"header.x-n": "> 7"}, ask(), None),
    ({"header.x-team": "> 7"}, ask(), None),
    ({"header.x-team": "!= other"}, ask(), "header x-team fits"),
    ({"header.authorization": "s3cret"}, ask(), "header authorization fits"),
    # text
    ({"text": "code"}, ask(text="```\nx\n```"), "text has a code block"),
    ({"text": "complex"}, ask(text="Analyze this"), "text has the word analyze"),
    ({"text": "simple"}, ask(text="hi"), "text has only 2 characters"),
    ({"text": "Refund"}, ask(text="a REFUND, please"), "text has the word Refund"),
    ({"text": "refund"}, ask(text="refunded"), None),
    ({"text": "c++"}, ask(text="in C++, x"), "text has the word c++"),
    ({"text": ["vat", "a refund"]}, ask(text="I want a refund!"), "text has the word a refund"),
    ({"text": "/inv(oice)?\\b/i"}, ask(text="my INVOICE"), "text matches /inv(oice)?\\b/i"),
    ({"text": "/^x.*y$/m"}, ask(text="a\nx--y\nb"), "text matches /^x.*y$/m"),
    ({"text": ["code", "/zzz/"]}, ask(text="nothing"), None),
    # nesting
    ({"all": [{"n": 1}, {"stream": False}]}, ask(), "n is 1, stream is false"),
    ({"any": [{"n": 2}, {"stream": False}]}, ask(), "stream is false"),
    ({"any": [{"n": 2}, {"stream": True}]}, ask(), None),
    ({"not": {"n": 2}}, ask(), "n is 1, not 2"),
    ({"not": {"n": 1}}, ask(), None),
    ({"not": [{"n": 2}, {"n": 3}]}, ask(), "n is 1, not 2 and n is 1, not 3"),
    ({"not": {"any": [{"n": 1}]}}, ask(), None),
    ({}, ask(), "always"),
    ({"text": "code", "n": 1}, ask(text="`a`"), "n is 1, text has inline code"),
    ({"text": "code", "n": 2}, ask(text="`a`"), None),
]


@pytest.mark.parametrize(("when", "request_", "want"), CASES)
def test_conditions(when, request_, want):
    assert why(when, request_) == want


@pytest.mark.parametrize(("when", "request_", "want"), CASES)
def test_a_condition_that_fails_says_why_and_only_then(when, request_, want):
    condition = compiled(when)
    c = context(request_)
    if condition.hit(c) is None:
        assert condition.miss(c)
        assert "s3cret" not in condition.miss(c)


@pytest.mark.parametrize(
    ("when", "want"),
    [
        ({"model": "auto"}, "model is gpt-4o, not auto"),
        ({"model": ["a*", None]}, "model is gpt-4o, not a* or absent"),
        ({"max_tokens": "> 5"}, "max_tokens is absent, not > 5"),
        ({"stream": True}, "stream is false, not true"),
        ({"tag": "us"}, "tag is beta, eu, not us"),
        ({"header.x-none": "a"}, "no header x-none"),
        ({"header.x-team": "a"}, "header x-team does not fit"),
        ({"text": ["code", "/zzz/"]}, "text is not code or /zzz/"),
        ({"hour": "1-2"}, "hour is 12:00 UTC"),
        ({"weekday": "sat"}, "weekday is wed"),
        ({"budget.b": "> 5%"}, "budget b is unknown"),
        ({"stream": False, "n": 2}, "n is 1, not 2"),
    ],
)
def test_why_not(when, want):
    assert compiled(when).miss(context(ask(model="gpt-4o", text="some text"))) == want


def at(hour, minute=0, day=1, zone="UTC"):
    return datetime(2026, 7, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("when", "now", "want"),
    [
        ({"hour": "8-18"}, at(8), "hour is 08:00 UTC"),
        ({"hour": "8-18"}, at(17, 59), "hour is 17:59 UTC"),
        ({"hour": "8-18"}, at(18), None),
        ({"hour": "8-18"}, at(7, 59), None),
        ({"hour": "22-6"}, at(23), "hour is 23:00 UTC"),
        ({"hour": "22-6"}, at(5, 59), "hour is 05:59 UTC"),
        ({"hour": "22-6"}, at(6), None),
        ({"hour": "8:30-9"}, at(8, 29), None),
        ({"hour": 8}, at(8, 59), "hour is 08:59 UTC"),
        ({"hour": ["1-2", "8-9"]}, at(8), "hour is 08:00 UTC"),
        ({"hour": "0-24"}, at(23, 59), "hour is 23:59 UTC"),
        ({"hour": "8-9", "tz": "Asia/Tokyo"}, at(23, 15), "hour is 08:15 Asia/Tokyo"),
        ({"hour": "8-9", "tz": "Europe/Berlin"}, at(6, 15), "hour is 08:15 Europe/Berlin"),
        ({"weekday": "mon-fri"}, at(1), "weekday is wed"),
        ({"weekday": ["sat", "sun"]}, at(1, day=4), "weekday is sat"),
        ({"weekday": "fri-mon"}, at(1, day=5), "weekday is sun"),
        ({"weekday": "mon-fri"}, at(1, day=5), None),
        ({"weekday": "wed", "tz": "Pacific/Auckland"}, at(13), None),
    ],
)
def test_times(when, now, want):
    assert why(when, now=now) == want


@pytest.mark.parametrize(
    ("when", "share", "want"),
    [
        ({"budget.b": "> 80%"}, 0.81, "budget b is 81% used (> 80%)"),
        ({"budget.b": "> 80%"}, 0.8, None),
        ({"budget.b": ">= 80%"}, 0.8, "budget b is 80% used (>= 80%)"),
        ({"budget.b": "< 50%"}, 0.2, "budget b is 20% used (< 50%)"),
        ({"budget.c": "> 0%"}, 1, None),
        ({"budget.b": ["> 90%", "< 10%"]}, 0.95, "budget b is 95% used (> 90%)"),
    ],
)
def test_budgets(when, share, want):
    assert why(when, shares={"b": share}) == want


def test_all_text_is_asked_for_once_and_only_when_needed():
    asked = []

    def whole(request):
        asked.append(request)
        return "first part\nrefund"

    c = Context(ALICE, ask(text="last part"), [], NOON, Shares({}), whole)
    both = compiled({"any": [{"all_text": "refund"}, {"all_text": "vat"}], "n": 2})
    assert both.hit(c) is None
    assert asked == []
    assert compiled({"all_text": "vat"}).hit(c) is None
    assert compiled({"all_text": "refund"}).hit(c) == "all_text has the word refund"
    assert len(asked) == 1


@pytest.mark.parametrize("field", sorted(language.BODY))
def test_an_unread_body_matches_no_condition_about_it_nor_its_opposite(field):
    value = {"model": None, "text": "/./", "all_text": "/./"}.get(field, False)
    if language.FIELDS[field] == language.NUMBER:
        value = ">= 0"
    upload = ask(endpoint=OTHER, path="/v1/files")
    assert why({field: value}, upload) is None
    assert why({"not": {field: value}}, upload) is None
    assert compiled({field: value}).miss(context(upload)) == "the body is not read on this path"
    assert why({"any": [{field: value}, {"path": "/v1/files"}]}, upload) == "path is /v1/files"


@pytest.mark.parametrize("endpoint", [CHAT, EMBEDDINGS])
def test_the_users_of_body_and_key(endpoint):
    assert why({"user": "u2"}, ask(user="u2", endpoint=endpoint), caller=Caller()) == "user is u2"
    assert why({"user": None}, ask(endpoint=endpoint), caller=Caller()) == "no user"


def test_long_texts_are_looked_at_from_both_ends():
    text = "start " + "x" * 200_000 + " end"
    assert why({"text": "start"}, ask(text=text)) is not None
    assert why({"text": "/\\bend$/"}, ask(text=text)) is not None
    assert why({"text": "middle"}, ask(text="x" * 90_000 + " middle " + "x" * 90_000)) is None
