"""What an Anthropic caller's request becomes at OpenAI and its compatibles."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.errors import MuxError
from tests.dialects.asking import HELLO, chat, message, to_openai

TOOL = {"name": "look", "description": "d", "input_schema": {"type": "object", "properties": {}}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
USES = [
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"x": 1}},
    {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
]
RESULTS = [
    {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "one"}, {"type": "image", "source": PNG}],
    },
    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "two", "is_error": True},
]
NAMED = {"type": "function", "function": {"name": "look"}}
LOOP = [
    *HELLO,
    {"role": "assistant", "content": [{"type": "text", "text": "Look."}, *USES]},
    {"role": "user", "content": [*RESULTS, {"type": "text", "text": "And?"}]},
]


def test_system_blocks_and_the_plain_fields() -> None:
    request = message(
        system=[{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
        temperature=0.5,
        top_p=0.9,
        stop_sequences=["X"],
        metadata={"user_id": "u"},
        service_tier="standard_only",
        stream=True,
    )
    body = to_openai(request)
    assert body == {
        "model": "gpt-4o",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
            },
            *HELLO,
        ],
        "max_completion_tokens": 500,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["X"],
        "safety_identifier": "u",
        "service_tier": "default",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert request.dropped == []
    assert to_openai(request, "unknown.test")["messages"][0]["content"] == "A\n\nB"


def test_results_are_messages_of_their_own_and_what_they_show_comes_after_all_of_them() -> None:
    body = to_openai(message(messages=LOOP, tools=[TOOL]))
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "Look.",
        "tool_calls": [
            {
                "id": "toolu_1",
                "type": "function",
                "function": {"name": "look", "arguments": '{"x":1}'},
            },
            {"id": "toolu_2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ],
    }
    first, second, user = body["messages"][2:]
    assert (first["role"], first["tool_call_id"]) == ("tool", "toolu_1")
    assert first["content"].startswith("one\n(The tool's images")
    assert second == {"role": "tool", "tool_call_id": "toolu_2", "content": "two"}
    assert user["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "text", "text": "And?"},
    ]


def test_results_in_turns_of_their_own_stay_together() -> None:
    turns = [{"role": "user", "content": [result]} for result in RESULTS]
    roles = [m["role"] for m in to_openai(message(messages=[*LOOP[:2], *turns]))["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


@pytest.mark.parametrize(
    ("choice", "want", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
        ({"type": "none"}, "none", None),
        (
            {"type": "tool", "name": "look"},
            {"type": "function", "function": {"name": "look"}},
            None,
        ),
    ],
)
def test_tool_choice(choice: dict[str, Any], want: Any, parallel: bool | None) -> None:
    body = to_openai(message(tools=[TOOL], tool_choice=choice))
    assert body["tool_choice"] == want
    assert body.get("parallel_tool_calls") is parallel
    mistral = to_openai(message(tools=[TOOL], tool_choice=choice), "api.mistral.ai")
    assert mistral["tool_choice"] == ("any" if want == "required" else want)


def test_documents_of_every_source() -> None:
    request = message(
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "a.pdf",
                        "context": "About cats.",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": "aGk=",
                        },
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "plain"},
                    },
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                    {
                        "type": "search_result",
                        "title": "T",
                        "source": "https://x.test",
                        "content": [{"type": "text", "text": "found"}],
                    },
                    {"type": "container_upload", "file_id": "f"},
                ],
            }
        ]
    )
    content = to_openai(request)["messages"][0]["content"]
    assert content == [
        {"type": "text", "text": "About cats."},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        },
        {"type": "text", "text": "plain"},
        {"type": "text", "text": "T\nhttps://x.test\nfound"},
    ]
    assert request.dropped == ["messages.content.container_upload", "messages.content"]


def test_a_file_by_url_goes_where_it_is_taken() -> None:
    document = {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}
    said = [{"role": "user", "content": [document, {"type": "text", "text": "?"}]}]
    router = to_openai(message(messages=said), "openrouter.ai")["messages"][0]["content"][0]
    assert router["file"]["file_data"] == "https://x.test/a.pdf"
    mistral = to_openai(message(messages=said), "api.mistral.ai")["messages"][0]["content"][0]
    assert mistral == {"type": "document_url", "document_url": "https://x.test/a.pdf"}
    request = message(messages=said)
    to_openai(request)
    assert request.dropped == ["messages.content"]


def test_context_management_is_a_loss_where_it_does_something() -> None:
    thoughts = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    assert message(context_management=thoughts).dropped == []
    results = {"edits": [*thoughts["edits"], {"type": "clear_tool_uses_20250919"}]}
    assert message(context_management=results).dropped == ["context_management"]
    assert message(context_management=7).dropped == ["context_management"]


def test_server_tools_and_unknown_fields_are_named() -> None:
    request = message(
        tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
        container="c",
        mcp_servers=[{"url": "x"}],
        top_k=5,
    )
    body = to_openai(request)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert request.dropped == ["container", "mcp_servers", "tools.web_search_20250305", "top_k"]


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10000}}, "high"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_thinking_becomes_an_effort(fields: dict[str, Any], effort: str | None) -> None:
    body = to_openai(message(**fields), model="gpt-5.2")
    assert body.get("reasoning_effort") == effort
    request = message(**fields)
    assert "reasoning_effort" not in to_openai(request, model="gpt-4o")
    assert request.dropped == ([] if effort == "none" else ["thinking"])


def test_compatibles_are_asked_to_think_in_their_own_ways() -> None:
    enabled = {"type": "enabled", "budget_tokens": 3000}
    router = to_openai(message(thinking=enabled), "openrouter.ai")
    assert router["reasoning"] == {"max_tokens": 3000}
    deepseek = to_openai(message(thinking=enabled), "api.deepseek.com")
    assert deepseek["thinking"] == {"type": "enabled"}
    deepseek = to_openai(message(thinking={"type": "disabled"}), "api.deepseek.com")
    assert deepseek["thinking"] == {"type": "disabled"}


def test_thoughts_go_back_to_those_who_want_them() -> None:
    said: dict[str, Any] = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "sig"},
            {"type": "text", "text": "So"},
        ],
    }
    messages = [*HELLO, said, *HELLO]
    request = message(messages=messages)
    assert to_openai(request)["messages"][1] == {"role": "assistant", "content": "So"}
    assert request.dropped == ["messages.content.thinking"]
    bare = {"role": "assistant", "content": [{**said["content"][0], "signature": ""}]}
    request = message(messages=[*HELLO, bare, *HELLO])
    to_openai(request)
    assert request.dropped == []  # nobody asks for it again
    deepseek = to_openai(message(messages=messages), "api.deepseek.com")["messages"][1]
    assert deepseek["reasoning_content"] == "Hm"
    router = to_openai(message(messages=messages), "openrouter.ai")["messages"][1]
    assert router["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "Hm",
            "signature": "sig",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
    ]
    mistral = to_openai(message(messages=messages), "api.mistral.ai")["messages"][1]
    assert mistral["content"][0] == {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "Hm"}],
    }


def test_schemas_are_strict_only_where_openai_takes_them_as_such() -> None:
    ready = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    loose = {**ready, "required": []}
    for schema, strict in ((ready, True), (loose, False)):
        native = {"type": "json_schema", "schema": schema}
        body = to_openai(message(output_config={"format": native}))
        assert body["response_format"]["json_schema"] == {
            "name": "answer",
            "schema": schema,
            "strict": strict,
        }
        assert (
            to_openai(message(output_format=native))["response_format"] == body["response_format"]
        )
    deepseek = to_openai(message(output_format=native), "api.deepseek.com")
    assert deepseek["response_format"] == {"type": "json_object"}
    assert '"additionalProperties":false' in deepseek["messages"][0]["content"]


def test_names_longer_than_openai_takes_are_shortened_and_remembered() -> None:
    long = "mcp__" + "x" * 90
    use = {"type": "tool_use", "id": "toolu_" + "y" * 60, "name": long, "input": {}}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "r"}
    request = message(
        messages=[
            *HELLO,
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ],
        tools=[{**TOOL, "name": long}],
        tool_choice={"type": "tool", "name": long},
    )
    body = to_openai(request)
    short = body["tools"][0]["function"]["name"]
    assert len(short) == 64
    assert body["tool_choice"]["function"]["name"] == short
    call = body["messages"][1]["tool_calls"][0]
    assert call["function"]["name"] == short
    assert request.renamed == {short: long}
    assert call["id"] == body["messages"][2]["tool_call_id"]
    assert len(call["id"]) <= 40


def test_geminis_signatures_go_to_gemini_only() -> None:
    extra = {"google": {"thought_signature": "s"}}
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    said = [*HELLO, {"role": "assistant", "tool_calls": [call]}]
    google = to_openai(chat(messages=said), "generativelanguage.googleapis.com")
    assert google["messages"][1]["tool_calls"][0]["extra_content"] == extra
    other = to_openai(chat(messages=said))
    assert "extra_content" not in other["messages"][1]["tool_calls"][0]


def test_mistral_ids_have_nine_characters() -> None:
    messages = to_openai(message(messages=LOOP), "api.mistral.ai")["messages"]
    made = [call["id"] for call in messages[1]["tool_calls"]]
    assert [len(name) for name in made] == [9, 9]
    assert made == [m["tool_call_id"] for m in messages if m["role"] == "tool"]


def test_kimis_own_ids_come_back_whole() -> None:
    use = {"type": "tool_use", "id": "mx-ZnVuY3Rpb25zLmxvb2s6MA", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "r"}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    messages = to_openai(message(messages=[*HELLO, *turns]))["messages"]
    assert messages[1]["tool_calls"][0]["id"] == "functions.look:0"
    assert messages[2]["tool_call_id"] == "functions.look:0"


def test_a_prefill_is_told_to_those_who_go_on_with_it() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "{"}]
    mistral = to_openai(message(messages=messages), "api.mistral.ai")["messages"][-1]
    assert mistral == {"role": "assistant", "content": "{", "prefix": True}
    request = message(messages=messages)
    to_openai(request)
    assert request.dropped == ["messages.prefill"]


def test_openais_newest_models_get_no_sampling() -> None:
    request = message(temperature=0.3, stop_sequences=["X"], system="S")
    body = to_openai(request, model="gpt-5-mini")
    assert body["messages"][0]["role"] == "developer"
    assert body["max_completion_tokens"] == 500
    assert not {"temperature", "stop"} & set(body)
    assert request.dropped == ["temperature", "stop_sequences"]
    assert "temperature" in to_openai(message(temperature=0.3), model="gpt-4.1")


def test_models_that_think_or_call_but_not_both() -> None:
    fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    request = message(tools=[TOOL], **fields)
    assert "reasoning_effort" not in to_openai(request, model="gpt-5.6-luna")
    assert request.dropped == ["thinking"]
    assert to_openai(message(**fields), model="gpt-5.6-luna")["reasoning_effort"] == "low"


def test_more_stop_sequences_than_four_are_too_many() -> None:
    request = message(stop_sequences=list("abcde"))
    assert to_openai(request)["stop"] == list("abcd")
    assert request.dropped == ["stop_sequences"]


def test_long_user_ids_are_hashed() -> None:
    user = "user_" + "a" * 100
    hashed = to_openai(message(metadata={"user_id": user}))["safety_identifier"]
    assert len(hashed) == 64
    assert user[:10] not in hashed


def test_cache_marks_go_where_they_are_taken() -> None:
    block = {"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}
    assert to_openai(message(system=[block]))["messages"][0]["content"] == "S"
    router = to_openai(message(system=[block]), "openrouter.ai")["messages"][0]["content"]
    assert router == [
        {"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "5m"}}
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role: give user"),
        ({"messages": ["x"]}, "messages[0]: expected object, got str"),
        ({"max_tokens": 1.5}, "max_tokens: expected int, got float"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type: give"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name: name"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: give"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format: give"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(MuxError) as caught:
        message(**fields)
    assert caught.value.code == "invalid_request"
    assert caught.value.message.startswith(told)
