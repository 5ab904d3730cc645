import anthropic
import pytest

from muxproxy.sim import SimServer, SimThread

from .raw import MESSAGES, ask

HELLO = [{"role": "user", "content": "hello there"}]


def test_the_order_of_events(shared: SimThread) -> None:
    answer = ask(shared.url, "/v1/messages", MESSAGES | {"stream": True}, tools=2, thinking=2)
    names = [event.split(b"\n")[0].removeprefix(b"event: ").decode() for event in answer.events()]
    assert names == [row["type"] for row in answer.data()]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == 3


def test_the_sdk_puts_the_stream_together(shared: SimThread) -> None:
    headers = {
        "x-sim-tools": "2",
        "x-sim-thinking": "3",
        "x-sim-tokens": "4",
        "x-sim-cached": "50",
        "x-sim-cache-write": "20",
    }
    call = {"model": "claude", "max_tokens": 99, "messages": HELLO, "extra_headers": headers}
    with anthropic.Anthropic(base_url=shared.url, api_key="k", max_retries=0) as client:
        whole = client.messages.create(**call)
        with client.messages.stream(**call) as events:
            found = events.get_final_message()
    assert [block.type for block in found.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.to_dict() for block in found.content] == [b.to_dict() for b in whole.content]
    assert found.stop_reason == "tool_use"
    for usage in (found.usage, whole.usage):
        assert usage.cache_read_input_tokens == 50
        assert usage.cache_creation_input_tokens == 20
        assert usage.input_tokens == 0  # excludes both
    assert found.usage.output_tokens == whole.usage.output_tokens


async def test_limits_and_counts(asim: SimServer) -> None:
    async with anthropic.AsyncAnthropic(base_url=asim.url, api_key="k", max_retries=0) as client:
        found = await client.messages.create(model="claude", max_tokens=5, messages=HELLO)
        counted = await client.messages.count_tokens(model="claude", messages=HELLO)
        names = [model.id async for model in client.models.list()]
    assert (found.stop_reason, found.usage.output_tokens) == ("max_tokens", 5)
    assert counted.input_tokens == found.usage.input_tokens == 7
    assert "claude-sonnet-4-5" in names


@pytest.mark.parametrize("stream", [False, True])
def test_usage_off(shared: SimThread, stream: bool) -> None:
    answer = ask(shared.url, "/v1/messages", MESSAGES | {"stream": stream}, usage="off")
    assert b'"usage"' not in answer.body
