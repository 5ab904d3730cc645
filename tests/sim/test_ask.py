from typing import NamedTuple

import orjson
import pytest

from muxproxy.sim.ask import BadBody, classify, read_ask


class Path(NamedTuple):
    method: str
    target: str
    want: tuple[str, str, str]


PATHS = [
    Path("POST", "/v1/chat/completions", ("openai", "chat", "")),
    Path("POST", "/openai/v1/chat/completions", ("openai", "chat", "")),
    Path("POST", "/api/v1/chat/completions?x=1", ("openai", "chat", "")),
    Path("POST", "/openai/deployments/d/chat/completions?api-version=1", ("openai", "chat", "")),
    Path("POST", "/chat/completions", ("openai", "chat", "")),
    Path("POST", "/v1/completions", ("openai", "completions", "")),
    Path("POST", "/v1/embeddings", ("openai", "embeddings", "")),
    Path("POST", "/v1/responses", ("responses", "responses", "")),
    Path("POST", "/v1/responses/input_tokens", ("responses", "input_tokens", "")),
    Path("POST", "/v1/messages?beta=true", ("anthropic", "messages", "")),
    Path("POST", "/v1/messages/count_tokens", ("anthropic", "count_tokens", "")),
    Path("POST", "/v1beta/models/g-2:generateContent", ("gemini", "generate", "g-2")),
    Path("POST", "/v1/models/g-2:streamGenerateContent?alt=sse", ("gemini", "generate", "g-2")),
    Path("POST", "/v1/models/g-2%3AcountTokens", ("gemini", "count_tokens", "g-2")),
    Path("POST", "/v1/projects/p/models/g:embedContent", ("gemini", "embed", "g")),
    Path("POST", "/v2/chat", ("cohere", "chat", "")),
    Path("POST", "/api/chat", ("ollama", "chat", "")),
    Path("GET", "/v1/models", ("models", "list", "")),
    Path("GET", "/v1/models/gpt-4o", ("models", "get", "gpt-4o")),
    Path("HEAD", "/", ("root", "", "")),
    Path("GET", "/v1/chat/completions", ("echo", "", "")),
    Path("POST", "/v1/files", ("echo", "", "")),
]


@pytest.mark.parametrize("case", PATHS, ids=lambda case: f"{case.method} {case.target}")
def test_paths(case: Path) -> None:
    assert classify(case.method, case.target) == case.want


def test_the_rule_for_input_tokens() -> None:
    """Per message 4, and each text a quarter of its characters, rounded up; images 85."""
    content = [{"type": "text", "text": "12345"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [{"role": "system", "content": "1234"}, {"role": "user", "content": content}]
    ask = read_ask("POST", "/v1/chat/completions", orjson.dumps({"messages": messages}))
    assert ask.input_tokens == (4 + 1) + (4 + 2 + 85)
    assert ask.last_user == "12345"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello you"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hello you"}]}),
        ("/v1/responses", {"input": "hello you"}),
        ("/v1/models/g:generateContent", {"contents": [{"parts": [{"text": "hello you"}]}]}),
        ("/v1/completions", {"prompt": "hello you"}),
    ],
)
def test_the_same_prompt_costs_the_same_in_every_dialect(
    target: str, body: dict[str, object]
) -> None:
    ask = read_ask("POST", target, orjson.dumps(body))
    assert (ask.input_tokens, ask.last_user) == (7, "hello you")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (
            "/v1/chat/completions",
            {"tools": [{"function": {"name": "f"}}], "tool_choice": "required"},
        ),
        ("/v1/messages", {"tools": [{"name": "f"}], "tool_choice": {"type": "any"}}),
        ("/v1/responses", {"tools": [{"name": "f", "parameters": {}}], "tool_choice": "required"}),
        (
            "/v1/models/g:generateContent",
            {
                "tools": [{"functionDeclarations": [{"name": "f"}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            },
        ),
    ],
)
def test_tools_and_their_choice(target: str, body: dict[str, object]) -> None:
    ask = read_ask("POST", target, orjson.dumps(body))
    assert [tool.name for tool in ask.tools] == ["f"]
    assert ask.must_call


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_bodies_that_are_no_object(raw: bytes) -> None:
    with pytest.raises(BadBody):
        read_ask("POST", "/v1/chat/completions", raw)
