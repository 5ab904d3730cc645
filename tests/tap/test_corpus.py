"""The tap against every recorded exchange: usage, end, error; and against every way to cut it."""

from __future__ import annotations

import gzip
import random
import statistics
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.sse import Framer
from muxproxy.tap import Tap, TokenCounter, make_tap
from tests.wire_corpus import Exchange, exchanges, needs_wire, streams

pytestmark = needs_wire

# expected.output_total is the native completion count there; its total says what was hidden
# (FORMATS, Gemini's OpenAI-compatible endpoint).
HIDDEN_THOUGHTS = {"gemini-openai_chat-38060e61f7e8": 28, "gemini-openai_chat-d614a6d1ccc4": 62}


def tapped(
    exchange: Exchange, parts: list[bytes] | None = None, coding: bytes | None = None
) -> Tap:
    dialect, endpoint = exchange.endpoint
    tap = make_tap(endpoint, dialect, exchange.content_type, coding, exchange.status)
    for part in parts if parts is not None else [exchange.body]:
        tap.feed(part)
    tap.finish()
    return tap


def seen(tap: Tap) -> tuple[object, ...]:
    return (
        tap.usage,
        tap.usage_raw,
        tap.usage_complete,
        tap.terminal,
        tap.finish_reason,
        tap.error,
        tap.model,
        tap.delivered_chars,
        tap.delivered_text(),
        tap.tool_calls,
        tap.events,
    )


def usage_faults(exchange: Exchange) -> list[str]:
    tap = tapped(exchange)
    want = exchange.expected
    usage = tap.usage
    if want["input_total"] is None and want["output_total"] is None:
        told = usage is not None and (usage.input_total or usage.output_total)
        return [f"usage {usage} where none was told"] if told else []
    if usage is None:
        return ["no usage"]
    hidden = HIDDEN_THOUGHTS.get(exchange.id, 0)
    short, long = usage.cache_write_5m, usage.cache_write_1h
    pairs = {
        "input_total": (usage.input_total, want["input_total"] or 0),
        "output_total": (usage.output_total - hidden, want["output_total"] or 0),
        "cache_read": (usage.cache_read, want["cache_read_tokens"]),
        "cache_write": (
            None if short is None and long is None else (short or 0) + (long or 0),
            want["cache_write_tokens"],
        ),
        "reasoning": (usage.reasoning, want["reasoning_tokens"]),
    }
    if want["cache_write_5m_tokens"] is not None:
        pairs["5m"] = (short, want["cache_write_5m_tokens"])
        pairs["1h"] = (long, want["cache_write_1h_tokens"])
    if "reported_cost_usd" in want:
        pairs["cost"] = (usage.reported_cost, round(want["reported_cost_usd"] * 1e9))
    if want["reasoning_tokens"] is None:
        # Cohere's tokens.reasoning_tokens, which the independent reader leaves out
        del pairs["reasoning"]
    faults = []
    for name, (got, wanted) in pairs.items():
        if (got or 0) != (wanted or 0) or (got is None and wanted is not None):
            faults.append(f"{name}: {got} for {wanted}")
    if not tap.usage_complete:
        faults.append("usage not complete")
    return faults


def test_usage_equals_expected() -> None:
    faults = {e.id: usage_faults(e) for e in exchanges() if not e.ambiguous}
    assert {name: found for name, found in faults.items() if found} == {}
    assert len(faults) > 1500


def test_finish_error_terminal_and_model_equal_expected() -> None:
    faults = []
    for exchange in exchanges():
        tap = tapped(exchange)
        want = exchange.expected
        reasons = [str(reason) for reason in want["finish_reasons"]]
        if str(want["refusal"]).startswith("blockReason:"):
            reasons = [want["refusal"].partition(":")[2]]
        if tap.finish_reason not in (reasons or [None]):
            faults.append((exchange.id, "finish", tap.finish_reason, reasons))
        if (tap.error is None) != (want["error"] is None):
            faults.append((exchange.id, "error", tap.error, want["error"]))
        if exchange.stream and tap.terminal != (want["terminal"] not in (None, "error")):
            faults.append((exchange.id, "terminal", tap.terminal, want["terminal"]))
        if not exchange.stream and not tap.terminal:
            faults.append((exchange.id, "terminal", False, "a whole JSON document"))
        if want["model"] and tap.model != want["model"]:
            faults.append((exchange.id, "model", tap.model, want["model"]))
    assert faults == []


def test_errors_are_codes_and_never_texts() -> None:
    for exchange in exchanges():
        if exchange.expected["error"]:
            error = tapped(exchange).error
            assert error is not None
            assert " " not in error
            assert error != exchange.expected["error"].get("message")


def test_two_way_splits() -> None:
    """Every cut of the small streams, a deterministic choice of cuts for the others."""
    chosen = random.Random(7)
    for exchange in streams():
        body = exchange.body
        want = seen(tapped(exchange))
        size = len(body)
        cuts = range(size + 1) if size <= 1500 else [chosen.randrange(size) for _ in range(12)]
        for cut in cuts:
            assert seen(tapped(exchange, [body[:cut], body[cut:]])) == want, (exchange.id, cut)


def test_every_two_way_split_of_every_event() -> None:
    """The framer is in its first state between events, so a cut concerns one event at a time."""
    seen_shapes: set[bytes] = set()
    for exchange in streams():
        if exchange.stream != "sse":
            continue
        end = b"\r\n\r\n" if b"\r\n\r\n" in exchange.body else b"\n\n"
        for block in exchange.body.split(end):
            piece = block[:60] + block[-60:] if len(block) > 120 else block
            shape = bytes(c if c in b"\r\n: " else 120 for c in piece) + end
            if shape in seen_shapes:
                continue
            seen_shapes.add(shape)
            event = b"data: 0\n\n" + piece + end
            framer = Framer()
            want = framer.feed(event) + framer.finish()
            for cut in range(len(event) + 1):
                framer = Framer()
                got = framer.feed(event[:cut]) + framer.feed(event[cut:]) + framer.finish()
                assert got == want, (exchange.id, cut)


def test_byte_by_byte() -> None:
    for exchange in streams()[::12]:
        body = exchange.body
        if len(body) < 60_000:
            parts = [body[i : i + 1] for i in range(len(body))]
            assert seen(tapped(exchange, parts)) == seen(tapped(exchange)), exchange.id


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_partitions(data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(exchanges()))
    body = exchange.body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert seen(tapped(exchange, parts)) == seen(tapped(exchange))


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_compressed_answers_tell_the_same(coding: bytes) -> None:
    for exchange in exchanges()[::9]:
        body = gzip.compress(exchange.body) if coding == b"gzip" else zlib.compress(exchange.body)
        parts = [body[i : i + 700] for i in range(0, len(body), 700)]
        assert seen(tapped(exchange, parts, coding)) == seen(tapped(exchange)), exchange.id


def test_a_cut_stream_never_claims_its_end() -> None:
    for exchange in streams()[::3]:
        body = exchange.body
        tap = make_tap("chat", "openai", exchange.content_type, None, exchange.status)
        tap.feed(body[: len(body) // 2])
        if (
            exchange.dialect != "gemini.streamGenerateContent"
        ):  # Gemini may finish in an early chunk
            assert not tap.terminal, exchange.id


def visible(exchange: Exchange, tap: Tap) -> bool:
    """A text answer all of whose tokens were shown: nothing hidden, summarised or run aside."""
    usage = tap.usage
    hidden = (b"redacted", b'"type":"reasoning"', b"server_tool", b"search_results")
    return (
        usage is not None
        and exchange.raw["response"]["fidelity"] == "exact"
        and not exchange.ambiguous
        and exchange.provider != "local"  # invented numbers
        and usage.output_total > 0
        and tap.delivered_chars > 0
        and not usage.reasoning
        and not tap.reasoned
        and not tap.tool_calls
        and not usage.requests
        and "server_tools" not in exchange.tags
        and not any(word in exchange.body for word in hidden)
    )


def test_counted_tokens_are_close_to_what_was_reported() -> None:
    """3 % in the median, 5 % in the sum, over text streams with their usage taken out."""
    pytest.importorskip("splintr")
    counter = TokenCounter()
    errors = []
    counted = reported = 0
    for exchange in streams():
        tap = tapped(exchange)
        if not visible(exchange, tap) or tap.usage is None:
            continue
        asked = (exchange.request.get("body") or {}).get("model")
        tokens, _ = counter.delivered(tap.model or asked or exchange.raw["path"], tap)
        errors.append(abs(tokens - tap.usage.output) / tap.usage.output)
        counted += tokens
        reported += tap.usage.output
    assert len(errors) > 100
    assert statistics.median(errors) <= 0.03
    assert abs(counted / reported - 1) <= 0.05
