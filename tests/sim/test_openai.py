"""OpenAI's dialect, read by OpenAI's SDK and, where its types hide something, from the bytes."""

import base64
import struct

import pytest
from openai import AsyncOpenAI, OpenAI

from muxproxy.sim import SimServer, SimThread

from .raw import CHAT, ask

HELLO = [{"role": "user", "content": "hello there"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "unit": {"type": "string", "enum": ["m"]}},
        },
    },
}


def stream(body: dict[str, object], **more: object) -> dict[str, object]:
    return body | {"stream": True} | more


def test_the_sdk_reads_an_answer(shared: SimThread) -> None:
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        found = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
        again = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
    assert found == again
    assert found.usage is not None
    assert found.usage.prompt_tokens == 4 + 3
    texts = [choice.message.content or "" for choice in found.choices]
    assert sum(len(text.split()) for text in texts) == found.usage.completion_tokens == 48
    assert found.choices[0].finish_reason == "stop"
    assert found._request_id


@pytest.mark.parametrize("asked", [True, False])
def test_the_usage_chunk_comes_only_when_asked(shared: SimThread, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    rows = ask(shared.url, body=stream(CHAT, **options)).data()
    assert rows.pop() == "[DONE]"
    with_key = [row for row in rows if "usage" in row]
    assert len(with_key) == (len(rows) if asked else 0)
    if asked:
        assert rows[-1]["choices"] == []
        assert rows[-1]["usage"]["completion_tokens"] == 24
        assert all(row["usage"] is None for row in rows[:-1])


def test_stream_and_json_say_the_same(shared: SimThread) -> None:
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        whole = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=3)
        with client.chat.completions.stream(model="gpt-4o", messages=HELLO, n=3) as events:
            for _ in events:
                pass
            put_together = events.get_final_completion()
    assert [c.message.content for c in put_together.choices] == [
        c.message.content for c in whole.choices
    ]


async def test_parallel_tool_calls_in_fragments(asim: SimServer) -> None:
    headers = {"x-sim-tools": "2", "x-sim-thinking": "3"}
    async with (
        AsyncOpenAI(base_url=asim.url + "/v1", api_key="k", max_retries=0) as client,
        client.chat.completions.stream(
            model="gpt-4o", messages=HELLO, tools=[TOOL], extra_headers=headers
        ) as events,
    ):
        async for _ in events:
            pass
        found = await events.get_final_completion()
        whole = await client.chat.completions.create(
            model="gpt-4o", messages=HELLO, tools=[TOOL], extra_headers=headers
        )
    assert found.choices[0].finish_reason == "tool_calls"
    calls = found.choices[0].message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("add", '{"a":7,"unit":"m"}')
    ] * 2
    assert len({call.id for call in calls}) == 2
    assert whole.usage is not None
    details = whole.usage.completion_tokens_details
    assert details is not None
    assert details.reasoning_tokens == 3


@pytest.mark.parametrize("flag", ["on", "off", "zero"])
def test_usage_can_be_missing_or_zero(shared: SimThread, flag: str) -> None:
    usage = ask(shared.url, usage=flag, cached=5).json().get("usage")
    totals = {"on": 7 + 24, "off": None, "zero": 0}
    assert (usage and usage["total_tokens"]) == totals[flag]
    if flag == "on":
        assert usage["prompt_tokens_details"]["cached_tokens"] == 5
    asked = stream(CHAT, stream_options={"include_usage": True})
    last = ask(shared.url, body=asked, usage=flag).data()[-2]
    assert bool(last["choices"]) == (flag == "off")


def test_completions(shared: SimThread) -> None:
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        whole = client.completions.create(model="m", prompt="hello", max_tokens=5, n=2)
        texts = ["", ""]
        usage = None
        for row in client.completions.create(
            model="m",
            prompt="hello",
            max_tokens=5,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        ):
            usage = row.usage
            for choice in row.choices:
                texts[choice.index] += choice.text
                reason = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage
    assert reason == "length"


def test_embeddings_in_both_encodings(shared: SimThread) -> None:
    body = {"model": "m", "input": ["a", "b"], "dimensions": 8}
    plain = ask(shared.url, "/v1/embeddings", body).json()
    coded = ask(shared.url, "/v1/embeddings", body | {"encoding_format": "base64"}).json()
    for one, other in zip(plain["data"], coded["data"], strict=True):
        raw = base64.b64decode(other["embedding"])
        assert list(struct.unpack("<8f", raw)) == one["embedding"]
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        found = client.embeddings.create(model="m", input=["a", "b"], dimensions=8)
    assert [row.embedding for row in found.data] == [row["embedding"] for row in plain["data"]]
    assert found.usage.prompt_tokens == 10


def test_models(shared: SimThread) -> None:
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        names = [model.id for model in client.models.list()]
        assert client.models.retrieve(names[0]).id == names[0]


def test_literal_text(shared: SimThread) -> None:
    literal = ask(shared.url, text="base64:" + base64.b64encode("zwei\nWörter".encode()).decode())
    assert literal.json()["choices"][0]["message"]["content"] == "zwei\nWörter"
