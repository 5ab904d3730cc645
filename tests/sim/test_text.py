import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.sim.ask import Ask
from muxproxy.sim.script import Options, ScriptError
from muxproxy.sim.text import DEFAULT_TOKENS, compose, split_text, words


def ask(**fields: object) -> Ask:
    return Ask("openai", "chat", "m", **fields)  # type: ignore[arg-type]


def test_equal_requests_get_equal_turns_and_others_do_not() -> None:
    one = compose(ask(last_user="a"), Options(), "s")
    assert one == compose(ask(last_user="a"), Options(), "s")
    assert one.text != compose(ask(last_user="b"), Options(), "s").text
    assert one.text != compose(ask(last_user="a"), Options(), "t").text


@pytest.mark.parametrize(
    ("limit", "tokens", "want", "finish"),
    [
        (None, None, DEFAULT_TOKENS, "stop"),
        (5, None, 5, "length"),
        (1000, None, DEFAULT_TOKENS, "stop"),
        (5, 9, 9, "length"),  # a provider that overruns the limit, when told to
        (50, 9, 9, "stop"),
        (None, 0, 0, "stop"),
    ],
)
def test_how_many_tokens(limit: int | None, tokens: int | None, want: int, finish: str) -> None:
    turn = compose(ask(max_tokens=limit), Options(tokens=tokens), "s")
    assert turn.usage is not None
    assert (len(turn.pieces), turn.usage.output, turn.finish) == (want, want, finish)


def test_usage_adds_up() -> None:
    options = Options(tokens=4, thinking=3, tools=2, cached=10, cache_write=5)
    turn = compose(ask(input_tokens=7), options, "s")
    assert turn.usage is not None
    calls = sum(4 + len(call.pieces) for call in turn.calls)
    assert turn.usage.input == 15  # never less than its cached part
    assert turn.usage.output == 4 + 3 + calls
    assert turn.usage.reasoning == 3
    assert compose(ask(), Options(usage="off"), "s").usage is None
    told = compose(ask(), Options(text="two words", tokens=900, input=800), "s").usage
    assert told is not None
    assert (told.input, told.output) == (800, 900)


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(ScriptError, match="tokens"):
        compose(ask(), Options(tokens=10**9), "s")


def test_words_hold_no_blank_inside() -> None:
    assert all(len(word.split()) == 1 for word in words("x", 200))


@given(st.text())
def test_split_text_loses_nothing(text: str) -> None:
    assert "".join(split_text(text)) == text
