"""What an OpenAI caller's request becomes at Anthropic."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.dialects.anthropic.words import FORMAT_TOOL
from muxproxy.errors import MuxError
from tests.dialects.asking import HELLO, TOOLS, chat, to_anthropic

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x":"1"}'}},
    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": ""}},
]
LOOP = [
    *HELLO,
    {"role": "assistant", "content": None, "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "c1", "content": "one"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
]


def test_system_prompts_of_all_places_go_to_the_front() -> None:
    messages = [
        {"role": "system", "content": "A"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
        *HELLO,
        {"role": "system", "content": "C"},
    ]
    body = to_anthropic(chat(messages=messages))
    assert [block["text"] for block in body["system"]] == ["A", "B", "C"]
    assert body["messages"] == HELLO


def test_the_newest_models_take_system_turns_where_they_stand() -> None:
    messages = [*HELLO, {"role": "system", "content": "C"}, *HELLO]
    body = to_anthropic(chat(messages=messages), "claude-opus-5-5")
    assert [m["role"] for m in body["messages"]] == ["user", "system", "user"]


def test_a_system_prompt_alone_is_said_by_the_user() -> None:
    body = to_anthropic(chat(messages=[{"role": "system", "content": "Say hi"}]))
    assert body["messages"] == [{"role": "user", "content": "Say hi"}]
    assert "system" not in body


def test_parallel_calls_and_all_their_results_in_one_message() -> None:
    body = to_anthropic(chat(messages=[*LOOP, {"role": "user", "content": "And?"}], tools=TOOLS))
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"x": "1"}},
        {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
            {"type": "text", "text": "And?"},
        ],
    }
    assert len(body["messages"]) == 3


@pytest.mark.parametrize(
    ("choice", "parallel", "want"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "look"}},
            True,
            {"type": "tool", "name": "look"},
        ),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, want: dict[str, Any]) -> None:
    asked = chat(tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
    assert to_anthropic(asked)["tool_choice"] == want


def test_allowed_tools_are_the_only_ones_sent() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [other]},
    }
    body = to_anthropic(chat(tools=[*TOOLS, other], tool_choice=allowed))
    assert [tool["name"] for tool in body["tools"]] == ["other"]
    assert body["tool_choice"] == {"type": "tool", "name": "other"}


@pytest.mark.parametrize("url", ["data:text/csv;base64,YSxi", "data:text/csv,a%2Cb"])
def test_text_files_are_plain_documents(url: str) -> None:
    part = {"type": "file", "file": {"filename": "a.csv", "file_data": url}}
    body = to_anthropic(chat(messages=[{"role": "user", "content": [part]}]))
    assert body["messages"][0]["content"] == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a,b"},
            "title": "a.csv",
        }
    ]


def test_images_files_and_what_has_no_place() -> None:
    request = chat(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,aGk=",
                        },
                    },
                    {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                    {"type": "video_url", "video_url": {"url": "https://x.test/v"}},
                    {"type": "text", "text": " "},
                ],
            }
        ]
    )
    body = to_anthropic(request)
    assert body["messages"][0]["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
    ]
    assert request.dropped == ["messages.content.video_url", "messages.content"]


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-haiku-latest", 8192),
        ("claude-3-7-sonnet-latest", 64000),
        ("claude-opus-4-20250514", 32000),
        ("claude-sonnet-4-5", 64000),
        ("claude-opus-4-8", 128000),
        ("claude-haiku-5-5", 128000),
        ("kimi-k2", 4096),
    ],
)
def test_max_tokens_is_always_said(model: str, most: int) -> None:
    assert to_anthropic(chat(), model)["max_tokens"] == most
    assert to_anthropic(chat(max_completion_tokens=7, max_tokens=9), model)["max_tokens"] == 7


def test_sampling_is_clamped_and_left_out_where_a_model_refuses_it() -> None:
    request = chat(temperature=1.7, top_p=0.5, top_k=4, stop="END")
    body = to_anthropic(request, "claude-3-5-haiku-latest")
    assert (body["temperature"], body["top_p"], body["top_k"]) == (1.0, 0.5, 4)
    assert body["stop_sequences"] == ["END"]
    assert request.dropped == ["temperature"]

    request = chat(temperature=0.2, top_p=0.5)
    body = to_anthropic(request, "claude-sonnet-4-5")
    assert "top_p" not in body
    assert request.dropped == ["top_p"]

    request = chat(temperature=0.2, top_k=4)
    body = to_anthropic(request, "claude-opus-5")
    assert not {"temperature", "top_k"} & set(body)
    assert request.dropped == ["temperature", "top_k"]


def test_a_default_that_is_said_is_no_loss() -> None:
    request = chat(temperature=1, n=1, presence_penalty=0, logprobs=False, service_tier="auto")
    to_anthropic(request, "claude-opus-5")
    assert request.dropped == []


def test_what_anthropic_has_no_word_for_is_named_as_the_caller_named_it() -> None:
    request = chat(
        n=2,
        seed=1,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"1": 2},
        frequency_penalty=0.5,
        presence_penalty=0.5,
        verbosity="low",
        metadata={"a": "b"},
        service_tier="flex",
        web_search_options={},
        audio={"voice": "x"},
        modalities=["text", "audio"],
        store=True,
        **{"bad\r\nname": 1},
    )
    to_anthropic(request)
    assert set(request.dropped) == {
        "n",
        "seed",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "frequency_penalty",
        "presence_penalty",
        "verbosity",
        "metadata",
        "service_tier",
        "web_search_options",
        "audio",
        "modalities",
        "store",
        "bad__name",
    }


def test_what_changes_nothing_in_the_answer_is_no_loss() -> None:
    request = chat(
        stream=True,
        stream_options={"include_usage": True},
        prompt_cache_key="k",
        store=False,
        prediction={"type": "content", "content": "x"},
        user="u1",
    )
    body = to_anthropic(request)
    assert request.dropped == []
    assert body["metadata"] == {"user_id": "u1"}
    assert body["stream"] is True


def test_schemas_are_native_where_a_model_has_them() -> None:
    body = to_anthropic(chat(response_format=FORMAT), "claude-haiku-4-5")
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}},
            "additionalProperties": False,
        },
    }


def test_schemas_are_a_forced_tool_where_a_model_has_none() -> None:
    body = to_anthropic(chat(response_format=FORMAT), "claude-3-5-haiku-latest")
    assert body["tools"][0]["name"] == FORMAT_TOOL
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert body["tool_choice"] == {"type": "tool", "name": FORMAT_TOOL}
    with_tools = chat(response_format=FORMAT, tools=TOOLS, parallel_tool_calls=False)
    body = to_anthropic(with_tools, "claude-3-5-haiku-latest")
    assert [tool["name"] for tool in body["tools"]] == ["look", FORMAT_TOOL]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_a_json_object_and_a_schema_of_no_object_are_asked_for_in_words() -> None:
    body = to_anthropic(chat(response_format={"type": "json_object"}))
    assert "one JSON object" in body["system"]
    listed = {"type": "json_schema", "json_schema": {"name": "l", "schema": {"type": "array"}}}
    body = to_anthropic(chat(response_format=listed))
    assert '{"type":"array"}' in body["system"]
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "told"),
    [
        ("claude-sonnet-4-5", "low", {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-sonnet-4-5", "none", None, None),
        ("claude-opus-4-5", "low", {"type": "enabled", "budget_tokens": 2048}, "low"),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive"}, "high"),
        ("claude-opus-4-7", "xhigh", {"type": "adaptive"}, "xhigh"),
        ("claude-opus-4-7", "minimal", {"type": "adaptive"}, "low"),
        ("claude-haiku-5-5", "none", {"type": "disabled"}, None),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None),
        ("claude-opus-5-5", "none", None, "low"),
        ("claude-3-5-haiku-latest", "low", None, None),
    ],
)
def test_effort_becomes_what_the_model_knows(
    model: str, effort: str, thinking: dict[str, Any] | None, told: str | None
) -> None:
    request = chat(reasoning_effort=effort)
    body = to_anthropic(request, model)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == told
    lost = model == "claude-3-5-haiku-latest" or (model, effort) == ("claude-opus-5-5", "none")
    assert request.dropped == (["reasoning_effort"] if lost else [])


def test_budgets_stay_between_1024_and_max_tokens() -> None:
    body = to_anthropic(chat(reasoning_effort="high", max_tokens=5000))
    assert body["thinking"]["budget_tokens"] == 4000
    body = to_anthropic(chat(reasoning={"max_tokens": 100}, max_tokens=5000))
    assert body["thinking"]["budget_tokens"] == 1024
    body = to_anthropic(chat(reasoning={"max_tokens": 9000}, max_tokens=5000))
    assert body["thinking"]["budget_tokens"] == 4999
    request = chat(reasoning_effort="high", max_tokens=1024)
    assert "thinking" not in to_anthropic(request)
    assert request.dropped == ["reasoning_effort"]


def test_thinking_excludes_sampling_and_forced_calls() -> None:
    request = chat(reasoning_effort="low", temperature=0.1, top_k=3)
    body = to_anthropic(request)
    assert "temperature" not in body
    assert request.dropped == ["temperature", "top_k"]
    request = chat(reasoning_effort="low", tools=TOOLS, tool_choice="required")
    body = to_anthropic(request)
    assert "thinking" not in body
    assert request.dropped == ["reasoning_effort"]


def test_a_tool_loop_whose_thoughts_did_not_come_back_goes_on_without() -> None:
    request = chat(messages=LOOP, tools=TOOLS, reasoning_effort="low")
    assert "thinking" not in to_anthropic(request)
    assert request.dropped == ["reasoning_effort"]
    # the next question begins anew
    said = [*LOOP, {"role": "assistant", "content": "Both."}, *HELLO]
    assert "thinking" in to_anthropic(chat(messages=said, tools=TOOLS, reasoning_effort="low"))


def test_thoughts_come_back_with_their_signature_and_foreign_ones_do_not() -> None:
    ours = {
        "type": "reasoning.text",
        "text": "Hm",
        "signature": "sig",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    sealed = {
        "type": "reasoning.encrypted",
        "data": "zzz",
        "format": "anthropic-claude-v1",
        "index": 1,
    }
    foreign = {
        "type": "reasoning.encrypted",
        "data": "gem",
        "format": "google-gemini-v1",
        "index": 2,
    }
    said = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Hm",
        "reasoning_details": [ours, sealed, foreign],
        "tool_calls": CALLS,
    }
    request = chat(messages=[HELLO[0], said, *LOOP[2:]], tools=TOOLS, reasoning_effort="low")
    body = to_anthropic(request)
    assert body["messages"][1]["content"][:2] == [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "zzz"},
    ]
    assert [block["type"] for block in body["messages"][1]["content"][2:]] == ["tool_use"] * 2
    assert "thinking" in body
    assert request.dropped == ["messages.reasoning_content"]  # Gemini's


def test_pieces_of_a_thought_that_a_client_only_collected_are_joined() -> None:
    details: list[dict[str, Any]] = [
        {"type": "reasoning.text", "text": "H", "index": 0},
        {"type": "reasoning.text", "text": "m", "index": 0},
        {
            "type": "reasoning.text",
            "signature": "s",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
    ]
    said = {"role": "assistant", "content": "So", "reasoning_details": details}
    body = to_anthropic(chat(messages=[*HELLO, said, *HELLO]))
    assert body["messages"][1]["content"][0] == {
        "type": "thinking",
        "thinking": "Hm",
        "signature": "s",
    }


def test_cache_marks_are_carried() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": [{"type": "text", "text": "S", "cache_control": mark}]},
        {"role": "user", "content": "U", "cache_control": {"type": "ephemeral"}},
    ]
    tools = [{**TOOLS[0], "cache_control": mark}]
    body = to_anthropic(chat(messages=messages, tools=tools))
    assert body["system"] == [{"type": "text", "text": "S", "cache_control": mark}]
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["tools"][0]["cache_control"] == mark


def test_a_prefill_is_kept_trimmed_or_dropped_by_model() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "{ "}]
    body = to_anthropic(chat(messages=messages))
    assert body["messages"][-1] == {"role": "assistant", "content": "{"}
    request = chat(messages=messages)
    assert to_anthropic(request, "claude-opus-4-6")["messages"] == HELLO
    assert request.dropped == ["messages.prefill"]


def test_ids_and_names_are_made_to_fit() -> None:
    call = {"id": "functions.look:0", "function": {"name": "a.b", "arguments": "not json"}}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.look:0", "content": "x"},
    ]
    request = chat(messages=messages, tools=[{"type": "function", "function": {"name": "a.b"}}])
    body = to_anthropic(request)
    used = body["messages"][1]["content"][0]
    assert used["id"] == body["messages"][2]["content"][0]["tool_use_id"]
    assert used["id"].startswith("mx-")
    assert used["name"] == body["tools"][0]["name"] != "a.b"
    assert request.renamed == {used["name"]: "a.b"}
    assert used["input"] == {"input": "not json"}


def test_old_functions_are_tools() -> None:
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
    ]
    body = to_anthropic(
        chat(messages=messages, functions=[{"name": "f"}], function_call={"name": "f"})
    )
    assert body["tools"][0]["name"] == "f"
    assert body["tool_choice"] == {"type": "tool", "name": "f"}
    assert (
        body["messages"][2]["content"][0]["tool_use_id"] == body["messages"][1]["content"][0]["id"]
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": "x"}, "messages: expected array, got str"),
        ({"messages": [{"content": "x"}]}, "messages[0]: Object missing required field role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role: give system"),
        ({"max_tokens": "7"}, "max_tokens: expected int, got str"),
        ({"temperature": []}, "temperature: expected float, got array"),
        ({"tool_choice": "maybe"}, "tool_choice: give"),
        ({"tool_choice": {"type": "function"}}, "tool_choice: name the function"),
        ({"response_format": {"type": "xml"}}, "response_format: give"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function: Object missing"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id: name"),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(MuxError) as caught:
        chat(**fields)
    assert caught.value.code == "invalid_request"
    assert caught.value.message.startswith(told)
