"""The tap raises nothing whatever it watches, and counts the same however that is cut."""

from __future__ import annotations

from muxproxy.tap import make_tap
from tests.fuzz.wire import cuts

_KINDS: list[tuple[str, str, bytes | None, bytes | None]] = [
    ("chat", "openai", b"text/event-stream", None),
    ("responses", "openai", b"text/event-stream", None),
    ("messages", "anthropic", b"text/event-stream", None),
    ("generate", "gemini", b"application/json", None),
    ("chat", "openai", b"application/json", None),
    ("chat", "openai", b"application/x-ndjson", None),
    ("chat", "openai", None, b"gzip"),
    ("converse", "bedrock", b"application/vnd.amazon.eventstream", None),
]
SEEDS = [
    bytes([0]) + b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\ndata: [DONE]\n\n',
    bytes([1])
    + b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
    bytes([2]) + b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":'
    b'"end_turn"},"usage":{"output_tokens":3}}\n\n',
    bytes([3]) + b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{}}]',
    bytes([4]) + b'{"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    bytes([5]) + b'{"done":false,"response":"a"}\n{"done":true,"eval_count":2}\n',
    bytes([6]) + bytes.fromhex("1f8b08000000000000ff"),
    bytes([7]) + bytes.fromhex("0000001000000000"),
]
TOKENS = [
    *(b"data: ", b"\n\n", b'{"usage":', b'{"choices":[', b'"delta":{', b'"content":', b"1e999"),
    *(b"-1", b"9223372036854775808", b'"\\ud800"', b"[[[[[[[[", b"{}", b"null", b"[DONE]", b"}"),
    *(b'"completion_tokens":', b'"finish_reason":', b'"type":', b'"error":', b'"message_start"'),
]


def check(data: bytes) -> None:
    if not data:
        return
    path, dialect, kind, coding = _KINDS[data[0] % len(_KINDS)]
    body = data[1:4096]
    seen = []
    for size in (len(body) or 1, 1, data[-1] % 61 + 2):
        tap = make_tap(path, dialect, kind, coding, 200)
        for part in cuts(body, size):
            tap.feed(part)
        tap.finish()
        seen.append((tap.usage, tap.terminal, tap.finish_reason, tap.error, tap.delivered_chars))
    assert seen[0] == seen[1] == seen[2], seen
