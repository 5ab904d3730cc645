"""Each SDK against a provider of each other dialect: it parses everything into its own types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import errors as google_errors
from google.genai.types import (
    FunctionDeclaration,
    GenerateContentConfig,
    HttpOptions,
    Tool,
)
from openai import OpenAI

from tests.sdk.support import ID, PROVIDERS, WEATHER, Served, body_of, served

RESPOND = '  respond: {dialect: responses, base_url: "SIM/v1", api_key: sk-respond}\n'
MODELS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-opus-9",
    "google": "google/gemini-2.5-flash",
    "respond": "respond/gpt-4o",
}
WORDS = 'Rain, "mostly": 1 < 2 & so on'
QUESTION: list[Any] = [{"role": "user", "content": "How is the weather in Köln?"}]
TARGETS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/gemini-2.5-flash:generateContent",
    "respond": "/v1/responses",
}

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
everywhere = pytest.mark.parametrize("provider", MODELS)


def others(own: str) -> Any:
    return pytest.mark.parametrize("provider", [name for name in MODELS if name != own])


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("translated")
    with served(folder, "", PROVIDERS + RESPOND) as running:
        yield running


def said(proxy: Served, provider: str, receipt_id: str, *, stream: bool = False) -> None:
    """The call went to `provider` in its own dialect, and its usage is in the books."""
    receipt = proxy.receipt(receipt_id)
    assert receipt.provider == provider
    assert "translated" in receipt.edits
    assert receipt.usage is not None and receipt.usage.output_total > 0
    assert receipt.usage_source == "provider"
    assert receipt.stream is stream
    target = proxy.last().target
    if provider == "google" and stream:
        assert target.endswith(":streamGenerateContent?alt=sse")
    else:
        assert target == TARGETS[provider]


# -- openai chat ---------------------------------------------------------------------------------


@pytest.fixture
def chat(proxy: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=proxy.url + "/v1", api_key="callers", max_retries=0) as client:
        yield client


FUNCTIONS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
]


@others("openai")
def test_chat(proxy: Served, chat: OpenAI, provider: str) -> None:
    raw = chat.chat.completions.with_raw_response.create(
        model=MODELS[provider],
        messages=[{"role": "system", "content": "Be brief"}, *QUESTION],
        max_tokens=64,
        extra_headers={"x-sim-text": WORDS},
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    said(proxy, provider, raw.headers[ID])
    receipt = proxy.receipt(raw.headers[ID])
    assert answer.usage is not None and receipt.usage is not None
    assert answer.usage.prompt_tokens == receipt.usage.input_total
    assert answer.usage.completion_tokens == receipt.usage.output_total
    assert "Be brief" in (proxy.last().body or b"").decode()
    assert ("x-muxproxy-cost-usd" in raw.headers) is (receipt.cost is not None)


@others("openai")
def test_chat_stream(proxy: Served, chat: OpenAI, provider: str) -> None:
    raw = chat.chat.completions.with_raw_response.create(
        model=MODELS[provider],
        messages=QUESTION,
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-sim-text": WORDS},
    )
    chunks = list(raw.parse())
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == WORDS
    assert chunks[0].choices[0].delta.role == "assistant"
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finishes[-1] == "stop" and finishes.count("stop") == 1
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    said(proxy, provider, raw.headers[ID], stream=True)


@others("openai")
@pytest.mark.parametrize("stream", [False, True])
def test_chat_tools_over_two_turns(
    proxy: Served, chat: OpenAI, provider: str, stream: bool
) -> None:
    messages: list[Any] = list(QUESTION)
    with chat.chat.completions.stream(
        model=MODELS[provider],
        messages=messages,
        tools=FUNCTIONS,
        max_tokens=64,
        extra_headers={"x-sim-tools": "2"},
    ) as events:
        message = (
            events.get_final_completion().choices[0].message
            if stream
            else chat.chat.completions.create(
                model=MODELS[provider],
                messages=messages,
                tools=FUNCTIONS,
                max_tokens=64,
                extra_headers={"x-sim-tools": "2"},
            )
            .choices[0]
            .message
        )
    calls: Any = message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather"] * 2
    assert len({call.id for call in calls}) == 2
    for call in calls:
        assert isinstance(json.loads(call.function.arguments), dict)
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": call.function.arguments,
                    },
                }
                for call in calls
            ],
        }
    )
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": f"rain {n}"}
        for n, call in enumerate(calls)
    ]
    answer = chat.chat.completions.create(
        model=MODELS[provider],
        messages=messages,
        tools=FUNCTIONS,
        max_tokens=64,
        extra_headers={"x-sim-text": WORDS},
    )
    assert answer.choices[0].message.content == WORDS
    sent = (proxy.last().body or b"").decode()
    assert "rain 0" in sent and "rain 1" in sent


@others("openai")
def test_chat_errors(chat: OpenAI, provider: str) -> None:
    for status, kind in {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
    }.items():
        with pytest.raises(kind) as caught:
            chat.chat.completions.create(
                model=MODELS[provider],
                messages=QUESTION,
                extra_headers={"x-sim-status": str(status)},
            )
        assert caught.value.status_code == status
        assert caught.value.body and caught.value.body["message"]  # type: ignore[index]


@others("openai")
def test_an_error_amid_a_stream(chat: OpenAI, provider: str) -> None:
    stream = chat.chat.completions.create(
        model=MODELS[provider],
        messages=QUESTION,
        stream=True,
        extra_headers={"x-sim-error-after": "3"},
    )
    with pytest.raises(openai.APIError):
        list(stream)


def test_embeddings_of_gemini(proxy: Served, chat: OpenAI) -> None:
    """The SDK asks for base64 and unpacks it."""
    answer = chat.embeddings.create(model="google/gemini-embedding-001", input=["one", "two"])
    assert [one.index for one in answer.data] == [0, 1]
    assert all(isinstance(number, float) for number in answer.data[0].embedding)
    assert proxy.last().target == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    texts = [r["content"]["parts"][0]["text"] for r in body_of(proxy.last())["requests"]]
    assert texts == ["one", "two"]
    assert proxy.newest().endpoint == "embeddings"


def test_embeddings_of_openai(proxy: Served, gemini: genai.Client) -> None:
    answer = gemini.models.embed_content(
        model="openai/text-embedding-3-small", contents=["one", "two"]
    )
    assert answer.embeddings is not None and len(answer.embeddings) == 2
    assert answer.embeddings[0].values
    assert proxy.last().target == "/v1/embeddings"
    assert body_of(proxy.last())["input"] == ["one", "two"]


# -- openai responses ----------------------------------------------------------------------------

FLAT: list[Any] = [{"type": "function", "name": "get_weather", "parameters": WEATHER}]


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_responses(proxy: Served, chat: OpenAI, provider: str) -> None:
    raw = chat.responses.with_raw_response.create(
        model=MODELS[provider],
        instructions="Be brief",
        input="How is the weather?",
        max_output_tokens=64,
        extra_headers={"x-sim-text": WORDS},
    )
    answer = raw.parse()
    assert answer.output_text == WORDS
    assert answer.status == "completed"
    assert answer.usage is not None and answer.usage.output_tokens > 0
    said(proxy, provider, raw.headers[ID])


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_responses_stream_with_tools(proxy: Served, chat: OpenAI, provider: str) -> None:
    with chat.responses.stream(
        model=MODELS[provider],
        input="How is the weather?",
        tools=FLAT,
        extra_headers={"x-sim-tools": "2"},
    ) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather"] * 2
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    follow = chat.responses.create(
        model=MODELS[provider],
        input=[
            {"role": "user", "content": "How is the weather?"},
            *({**call.model_dump(exclude={"parsed_arguments"})} for call in calls),  # type: ignore[list-item]
            *(
                {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
                for call in calls
            ),
        ],
        tools=FLAT,
        extra_headers={"x-sim-text": WORDS},
    )
    assert follow.output_text == WORDS
    assert proxy.newest().status == 200


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_responses_errors(chat: OpenAI, provider: str) -> None:
    with pytest.raises(openai.RateLimitError):
        chat.responses.create(
            model=MODELS[provider], input="x", extra_headers={"x-sim-status": "429"}
        )


# -- anthropic -----------------------------------------------------------------------------------


@pytest.fixture
def claude(proxy: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=proxy.url, api_key="callers", max_retries=0) as client:
        yield client


USES: list[Any] = [{"name": "get_weather", "input_schema": WEATHER}]


@others("anthropic")
def test_messages(proxy: Served, claude: Anthropic, provider: str) -> None:
    raw = claude.messages.with_raw_response.create(
        model=MODELS[provider],
        system="Be brief",
        messages=QUESTION,
        max_tokens=64,
        extra_headers={"x-sim-text": WORDS},
    )
    message = raw.parse()
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == WORDS  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0
    said(proxy, provider, raw.headers[ID])


@others("anthropic")
def test_messages_stream(proxy: Served, claude: Anthropic, provider: str) -> None:
    with claude.messages.stream(
        model=MODELS[provider],
        messages=QUESTION,
        max_tokens=64,
        extra_headers={"x-sim-text": WORDS},
    ) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert message.content[0].text == WORDS  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0 and message.usage.input_tokens > 0
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    said(proxy, provider, stream.response.headers[ID], stream=True)


@others("anthropic")
@pytest.mark.parametrize("stream", [False, True])
def test_messages_tools_over_two_turns(
    proxy: Served, claude: Anthropic, provider: str, stream: bool
) -> None:
    more: dict[str, Any] = {"model": MODELS[provider], "max_tokens": 64, "tools": USES}
    if stream:
        with claude.messages.stream(
            messages=QUESTION, extra_headers={"x-sim-tools": "2"}, **more
        ) as events:
            message: Any = events.get_final_message()
    else:
        message = claude.messages.create(
            messages=QUESTION, extra_headers={"x-sim-tools": "2"}, **more
        )
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.name for use in uses] == ["get_weather"] * 2
    assert all(isinstance(use.input, dict) for use in uses)
    assert message.stop_reason == "tool_use"
    answer = claude.messages.create(
        messages=[
            *QUESTION,
            {"role": "assistant", "content": message.content},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": use.id, "content": f"rain {n}"}
                    for n, use in enumerate(uses)
                ],
            },
        ],
        extra_headers={"x-sim-text": WORDS},
        **more,
    )
    assert answer.content[0].text == WORDS
    sent = (proxy.last().body or b"").decode()
    assert "rain 0" in sent and "rain 1" in sent


@others("anthropic")
def test_messages_errors(claude: Anthropic, provider: str) -> None:
    for status, kind in {
        400: anthropic.BadRequestError,
        401: anthropic.AuthenticationError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
    }.items():
        with pytest.raises(kind):
            claude.messages.create(
                model=MODELS[provider],
                messages=QUESTION,
                max_tokens=9,
                extra_headers={"x-sim-status": str(status)},
            )


@others("anthropic")
def test_messages_error_amid_a_stream(claude: Anthropic, provider: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(
            model=MODELS[provider],
            messages=QUESTION,
            max_tokens=64,
            extra_headers={"x-sim-error-after": "3"},
        ) as stream,
    ):
        stream.get_final_message()


@others("anthropic")
def test_tokens_are_counted_for_agents_whatever_the_provider(
    claude: Anthropic, provider: str
) -> None:
    count = claude.messages.count_tokens(model=MODELS[provider], messages=QUESTION)
    assert count.input_tokens > 0


# -- gemini --------------------------------------------------------------------------------------


@pytest.fixture
def gemini(proxy: Served) -> Iterator[genai.Client]:
    options = HttpOptions(base_url=proxy.url)
    with genai.Client(api_key="callers", http_options=options) as client:
        yield client


def config(functions: list[Any] | None = None, /, **sim: str) -> GenerateContentConfig:
    headers = {f"x-sim-{name.replace('_', '-')}": value for name, value in sim.items()}
    return GenerateContentConfig(
        tools=functions,
        http_options=HttpOptions(headers=headers),
        system_instruction="Be brief",
        max_output_tokens=64,
    )


DECLARED: list[Any] = [
    Tool(
        function_declarations=[
            FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
        ]
    )
]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_generate_content(proxy: Served, gemini: genai.Client, provider: str) -> None:
    answer = gemini.models.generate_content(
        model=MODELS[provider], contents="How is the weather?", config=config(text="Sunny!")
    )
    assert answer.text == "Sunny!"
    assert answer.usage_metadata is not None and answer.usage_metadata.candidates_token_count
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason == "STOP"
    said(proxy, provider, format(proxy.newest().id, "016x"))
    assert "Be brief" in (proxy.last().body or b"").decode()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_generate_content_stream(proxy: Served, gemini: genai.Client, provider: str) -> None:
    chunks = list(
        gemini.models.generate_content_stream(
            model=MODELS[provider], contents="How?", config=config(text="Sunny and warm")
        )
    )
    assert "".join(chunk.text or "" for chunk in chunks) == "Sunny and warm"
    assert chunks[-1].candidates is not None
    said(proxy, provider, format(proxy.newest().id, "016x"), stream=True)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_functions(proxy: Served, gemini: genai.Client, provider: str, stream: bool) -> None:
    more: Any = {"model": MODELS[provider], "contents": "How?"}
    more["config"] = config(DECLARED, tools="2")
    if stream:
        chunks = list(gemini.models.generate_content_stream(**more))
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
    else:
        calls = gemini.models.generate_content(**more).function_calls or []
    assert [call.name for call in calls] == ["get_weather"] * 2
    assert all(isinstance(call.args, dict) for call in calls)
    assert body_of(proxy.last())["tools"]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_generate_errors(gemini: genai.Client, provider: str) -> None:
    for status in (400, 429, 500):
        with pytest.raises(google_errors.APIError) as caught:
            gemini.models.generate_content(
                model=MODELS[provider], contents="x", config=config(status=str(status))
            )
        assert caught.value.code == status
