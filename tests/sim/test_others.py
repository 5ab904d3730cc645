import json

from muxproxy.sim import SimThread

from .raw import CHAT, ask


def test_cohere(shared: SimThread) -> None:
    whole = ask(shared.url, "/v2/chat", CHAT).json()
    rows = ask(shared.url, "/v2/chat", CHAT | {"stream": True}, tools=1, tokens=2).data()
    assert whole["usage"]["tokens"] == {"input_tokens": 7, "output_tokens": 24}
    assert whole["finish_reason"] == "COMPLETE"
    kinds = [row["type"] for row in rows[:-1]]
    assert kinds[0] == "message-start"
    assert kinds[-1] == "message-end"
    assert {"content-delta", "tool-call-start", "tool-call-delta", "tool-call-end"} <= set(kinds)
    assert rows[-2]["delta"]["finish_reason"] == "TOOL_CALL"


def test_ollama_streams_unless_told_not_to(shared: SimThread) -> None:
    answer = ask(shared.url, "/api/chat", CHAT)
    rows = [json.loads(line) for line in answer.body.splitlines()]
    assert answer.get("content-type") == "application/x-ndjson"
    assert [row["done"] for row in rows] == [False] * 24 + [True]
    whole = ask(shared.url, "/api/chat", CHAT | {"stream": False}, tools=1).json()
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == {
        "location": whole["message"]["tool_calls"][0]["function"]["arguments"]["location"],
        "days": 7,
    }
    assert rows[-1]["prompt_eval_count"] == 7
