"""The usage chunk that only we asked for goes; every other byte stays, and none is held in vain."""

from __future__ import annotations

import json
import re
from operator import attrgetter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.tap import UsageStripper
from tests.wire_corpus import needs_wire, streams


def chunk(choices: str, usage: str | None = "null", before: str = "", end: str = "\n") -> bytes:
    tail = "" if usage is None else f',"usage":{usage}'
    return f'data: {{"id":"c","object":"x"{before},"choices":{choices}{tail}}}{end}{end}'.encode()


TEXT = chunk('[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]')
FINISH = chunk('[{"index":0,"delta":{},"finish_reason":"stop"}]')
USAGE = chunk("[]", '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}')
DONE = b"data: [DONE]\n\n"
QUOTES_CHOICES = chunk(r'[{"delta":{"content":"\"choices\":[],"}}]')
QUOTES_FINISH = chunk(r'[{"delta":{"content":"\"finish_reason\":\"stop\""}}]')


def strip(parts: list[bytes]) -> bytes:
    stripper = UsageStripper()
    return b"".join([stripper.feed(part) for part in parts]) + stripper.flush()


def reference(stream: bytes) -> bytes:
    """The same by splitting the whole stream, with the standard library's parser."""
    out, finished = b"", False
    for event in re.findall(rb"(?s).*?(?:\r?\n\r?\n|\Z)", stream):
        lead = len(event) - len(event.lstrip(b"\r\n"))
        body = event[lead:]
        if finished and body.startswith(b"data:"):
            try:
                parsed = json.loads(body[5:])
            except ValueError:
                parsed = None
            if (
                isinstance(parsed, dict)
                and parsed.get("choices") == []
                and isinstance(parsed.get("usage"), dict)
            ):
                out += event[:lead]
                continue
        finished = finished or re.search(rb'"finish_reason":\s*"', event) is not None
        out += event
    return out


class Case(NamedTuple):
    name: str
    events: list[bytes]
    gone: int | None  # index of the event that is taken out


CASES = [
    Case("plain", [TEXT, FINISH, USAGE, DONE], 2),
    Case("no_done", [TEXT, FINISH, USAGE], 2),
    Case("no_final_blank_line", [TEXT, FINISH, USAGE[:-2]], 2),
    Case("crlf", [e.replace(b"\n", b"\r\n") for e in (TEXT, FINISH, USAGE, DONE)], 2),
    Case("usage_first", [TEXT, FINISH, b'data: {"usage":{"a":1},"choices":[]}\n\n'], 2),
    Case("no_space", [FINISH, b'data:{"choices":[],"usage":{"a":1}}\n\n', DONE], 1),
    Case("blanks_in_json", [FINISH, b'data: { "choices" : [ ] , "usage" : { "a" : 1 } }\n\n'], 1),
    Case("no_usage_chunk", [TEXT, FINISH, DONE], None),
    Case("usage_with_choices", [TEXT, chunk('[{"finish_reason":"stop"}]', '{"a":1}'), DONE], None),
    Case("azure_first_chunk", [chunk("[]", None, ',"prompt_filter_results":1'), FINISH], None),
    Case("azure_after_finish", [FINISH, chunk("[]", None, ',"x":[1]'), DONE], None),
    Case("null_usage", [FINISH, chunk("[]", "null"), DONE], None),
    Case("before_any_finish", [TEXT, USAGE, DONE], None),
    Case("comment_between", [FINISH, b": ping\n\n", USAGE, DONE], 2),
    Case("two_choices_interleave", [FINISH, TEXT, TEXT, FINISH, USAGE, DONE], 4),
    Case("named_event_stays", [FINISH, b"event: x\n" + USAGE, DONE], None),
    Case("text_that_quotes_one", [FINISH, QUOTES_CHOICES, DONE], None),
    Case("quoted_finish_is_no_finish", [QUOTES_FINISH, USAGE], None),
    Case("larger_than_any_usage", [FINISH, chunk("[]", f'{{"a":"{"x" * 70_000}"}}'), DONE], None),
    Case("not_json", [FINISH, b"data: {\n\n", USAGE], 2),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
def test_takes_out_exactly_that_event(case: Case) -> None:
    want = b"".join(e for i, e in enumerate(case.events) if i != case.gone)
    whole = b"".join(case.events)
    assert strip([whole]) == want
    assert strip(case.events) == want
    if len(whole) < 4000:
        assert reference(whole) == want
        assert strip([whole[i : i + 1] for i in range(len(whole))]) == want
        for cut in range(len(whole)):
            assert strip([whole[:cut], whole[cut:]]) == want, cut
    else:
        assert strip([whole[i : i + 999] for i in range(0, len(whole), 999)]) == want


PIECES = st.sampled_from(
    [TEXT, FINISH, USAGE, DONE, b": c\n\n", b"\n", b"data: {\n\n", chunk("[]"), b"data: x\r\n\r\n",
     USAGE.replace(b"\n", b"\r\n"), chunk('[{"finish_reason":"stop"}]', '{"a":1}')]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=12), st.data())
def test_any_partition_gives_the_input_without_that_event(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert strip(parts) == reference(whole)


def test_nothing_is_held_before_a_finish_and_no_whole_event_after_it() -> None:
    """A provider that waits for the caller to have each event is not dead-locked."""
    stripper = UsageStripper()
    for event in (TEXT[:50], TEXT[50:], FINISH, TEXT, b": ping\n\n", DONE):
        assert stripper.feed(event) == event


def test_an_event_is_released_as_soon_as_it_shows_a_choice() -> None:
    stripper = UsageStripper()
    stripper.feed(FINISH)
    shown = TEXT.index(b'[{"index"') + 2
    assert stripper.feed(TEXT[: shown - 1]) == b""
    assert stripper.feed(TEXT[shown - 1 : shown]) == TEXT[:shown]
    assert stripper.feed(TEXT[shown:]) == TEXT[shown:]


def test_what_is_held_at_the_end_comes_out() -> None:
    stripper = UsageStripper()
    stripper.feed(FINISH)
    assert stripper.feed(USAGE[:30]) == b""
    assert stripper.flush() == USAGE[:30]
    assert stripper.removed == 0


@needs_wire
def test_recorded_streams_lose_their_usage_chunk_only() -> None:
    removed = 0
    for exchange in streams():
        if exchange.dialect != "openai.chat":
            continue
        body = exchange.body
        stripper = UsageStripper()
        got = b"".join(stripper.feed(body[i : i + 97]) for i in range(0, len(body), 97))
        got += stripper.flush()
        assert got == reference(body), exchange.id
        finished = bool(exchange.expected["finish_reasons"])  # Snowflake's stream tells none
        tagged = "usage_in_empty_choices_chunk" in exchange.tags
        assert stripper.removed == (finished and tagged), exchange.id
        removed += stripper.removed
    assert removed > 50
