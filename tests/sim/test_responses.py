from openai import AsyncOpenAI, OpenAI

from muxproxy.sim import SimServer, SimThread

from .raw import RESPONSES, ask


def test_the_events_are_numbered_and_named(shared: SimThread) -> None:
    answer = ask(shared.url, "/v1/responses", RESPONSES | {"stream": True}, tools=2, thinking=2)
    rows = answer.data()
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))
    for event, row in zip(answer.events(), rows, strict=True):
        assert event.startswith(f"event: {row['type']}\n".encode())
    assert rows[0]["type"] == "response.created"
    assert rows[-1]["type"] == "response.completed"
    opened = [row["output_index"] for row in rows if row["type"] == "response.output_item.added"]
    closed = [row["output_index"] for row in rows if row["type"] == "response.output_item.done"]
    assert opened == closed == [0, 1, 2]


def test_the_sdk_puts_the_stream_together(shared: SimThread) -> None:
    headers = {"x-sim-tools": "1", "x-sim-thinking": "3", "x-sim-tokens": "4"}
    with OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client:
        whole = client.responses.create(model="gpt-4o", input="hi", extra_headers=headers)
        with client.responses.stream(model="gpt-4o", input="hi", extra_headers=headers) as events:
            text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            found = events.get_final_response()
    assert found.output_text == whole.output_text == text
    assert found.usage == whole.usage
    assert found.usage is not None
    assert found.usage.output_tokens_details.reasoning_tokens == 3
    assert [item.type for item in found.output] == ["reasoning", "message", "function_call"]


async def test_a_cut_answer_is_incomplete(asim: SimServer) -> None:
    async with AsyncOpenAI(base_url=asim.url + "/v1", api_key="k", max_retries=0) as client:
        found = await client.responses.create(model="m", input="hi", max_output_tokens=3)
        events = [
            event
            async for event in await client.responses.create(
                model="m", input="hi", max_output_tokens=3, stream=True
            )
        ]
        counted = await client.responses.input_tokens.count(model="m", input="hello")
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    assert events[-1].type == "response.incomplete"
    assert counted.input_tokens == 6


def test_usage_off(shared: SimThread) -> None:
    assert "usage" not in ask(shared.url, "/v1/responses", RESPONSES, usage="off").json()
    streamed = ask(shared.url, "/v1/responses", RESPONSES | {"stream": True}, usage="off")
    assert streamed.data()[-1]["response"]["usage"] is None
