"""Every SDK must raise its own class for every error, before and after the first byte."""

import json

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from muxproxy.sim import SimServer, SimThread

from .raw import CHAT, GEMINI, MESSAGES, RESPONSES, ask

OPENAI = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}
ANTHROPIC = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    408: anthropic.APIStatusError,
    413: anthropic.APIStatusError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.InternalServerError,
    529: anthropic.InternalServerError,
}
HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("status", OPENAI)
def test_openai_statuses(shared: SimThread, status: int) -> None:
    headers = {"x-sim-status": str(status), "x-sim-retry-after": "7"}
    with (
        openai.OpenAI(base_url=shared.url + "/v1", api_key="k", max_retries=0) as client,
        pytest.raises(OPENAI[status]) as caught,
    ):
        client.chat.completions.create(model="m", messages=HELLO, extra_headers=headers)
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    if status == 429:
        assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("status", ANTHROPIC)
def test_anthropic_statuses(shared: SimThread, status: int) -> None:
    headers = {"x-sim-status": str(status)}
    with (
        anthropic.Anthropic(base_url=shared.url, api_key="k", max_retries=0) as client,
        pytest.raises(ANTHROPIC[status]) as caught,
    ):
        client.messages.create(model="m", max_tokens=9, messages=HELLO, extra_headers=headers)
    assert isinstance(caught.value, anthropic.APIStatusError)
    assert caught.value.status_code == status
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, genai_errors.ClientError),
        (429, genai_errors.ClientError),
        (500, genai_errors.ServerError),
        (503, genai_errors.ServerError),
    ],
)
def test_gemini_statuses(shared: SimThread, status: int, kind: type[Exception]) -> None:
    headers = {"x-sim-status": str(status), "x-sim-retry-after": "7"}
    options = types.HttpOptions(base_url=shared.url, headers=headers)
    with genai.Client(api_key="k", http_options=options) as client:
        with pytest.raises(kind) as caught:
            client.models.generate_content(model="g", contents="hi")
        with pytest.raises(kind):
            list(client.models.generate_content_stream(model="g", contents="hi"))
    assert isinstance(caught.value, genai_errors.APIError)
    assert caught.value.code == status
    assert caught.value.details["error"]["details"][0]["retryDelay"] == "7s"


def test_the_code_can_be_chosen(shared: SimThread) -> None:
    answer = ask(shared.url, status=429, code="insufficient_quota")
    assert (answer.status, answer.json()["error"]["code"]) == (429, "insufficient_quota")


async def test_openai_error_after_the_first_chunks(asim: SimServer) -> None:
    async with openai.AsyncOpenAI(base_url=asim.url + "/v1", api_key="k", max_retries=0) as client:
        events = await client.chat.completions.create(
            model="m", messages=HELLO, stream=True, extra_headers={"x-sim-error-after": "3"}
        )
        seen = 0
        with pytest.raises(openai.APIError):
            async for _ in events:
                seen += 1
    assert seen == 3


async def test_anthropic_error_after_the_first_chunks(asim: SimServer) -> None:
    async with anthropic.AsyncAnthropic(base_url=asim.url, api_key="k", max_retries=0) as client:
        events = await client.messages.create(
            model="m",
            max_tokens=9,
            messages=HELLO,
            stream=True,
            extra_headers={"x-sim-error-after": "4"},
        )
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async for _ in events:
                pass


def test_gemini_error_after_the_first_chunks(shared: SimThread) -> None:
    options = types.HttpOptions(base_url=shared.url, headers={"x-sim-error-after": "2"})
    seen = 0
    with (
        genai.Client(api_key="k", http_options=options) as client,
        pytest.raises(genai_errors.APIError),
    ):
        for _ in client.models.generate_content_stream(model="g", contents="hi"):
            seen += 1
    assert seen == 2


def test_responses_fail_with_two_events(shared: SimThread) -> None:
    rows = ask(shared.url, "/v1/responses", RESPONSES | {"stream": True}, error_after=3).data()
    assert [row["type"] for row in rows[3:]] == ["error", "response.failed"]
    assert [row["sequence_number"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[-1]["response"]["id"] == rows[0]["response"]["id"]


@pytest.mark.parametrize("after", [0, 2])
def test_the_gemini_array_stays_json(shared: SimThread, after: int) -> None:
    target = "/v1beta/models/g:streamGenerateContent"
    rows = ask(shared.url, target, GEMINI, error_after=after).json()
    assert len(rows) == after + 1
    assert rows[-1]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("target", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)]
)
def test_json_error_inside_a_200(shared: SimThread, target: str, body: object) -> None:
    answer = ask(shared.url, target, body, error_after=0)
    assert (answer.status, "error" in answer.json()) == (200, True)


def test_a_body_that_is_no_json(shared: SimThread) -> None:
    answer = ask(shared.url, "/v1/messages", b"{")
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_rate_limit_headers(shared: SimThread) -> None:
    asked = "remaining=9,limit=10,reset=30s"
    found = ask(shared.url, ratelimit=asked)
    assert found.get("x-ratelimit-remaining-requests") == "9"
    assert found.get("x-ratelimit-reset-requests") == "30s"
    found = ask(shared.url, "/v1/messages", MESSAGES, ratelimit=asked)
    assert found.get("anthropic-ratelimit-requests-remaining") == "9"
    assert found.get("anthropic-ratelimit-requests-reset") == "2026-01-01T00:00:30Z"
    wrong = ask(shared.url, ratelimit="left=9")
    assert (wrong.status, "ratelimit" in json.loads(wrong.body)["sim_error"]) == (400, True)
