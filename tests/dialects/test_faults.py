"""Error bodies of every provider, and what the other dialect's SDK raises for them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import fault as anthropic_fault
from muxproxy.dialects.faults import read
from muxproxy.dialects.openai import fault as openai_fault
from tests.dialects.clients import Clients
from tests.wire_corpus import WIRE, exchanges, needs_wire

CASES: list[tuple[str, int, Any, n.Failure]] = [
    (
        "openai",
        404,
        {"error": {"message": "m", "type": "invalid_request_error", "code": "model_not_found"}},
        n.Failure(message="m", status=404, kind="invalid_request_error", code="model_not_found"),
    ),
    (
        "azure",
        429,
        {"error": {"code": "RateLimitReached", "message": "m", "details": "m"}},
        n.Failure(message="m", status=429, code="RateLimitReached"),
    ),
    (
        "azure_code_is_a_status",
        401,
        {"error": {"code": "401", "message": "m"}},
        n.Failure(message="m", status=401, code="401"),
    ),
    (
        "anthropic",
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
        n.Failure(message="m", status=529, kind="overloaded_error"),
    ),
    (
        "gemini",
        429,
        {
            "error": {
                "code": 429,
                "message": "m",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "RetryInfo", "retryDelay": "1.5s"}],
            }
        },
        n.Failure(message="m", status=429, kind="RESOURCE_EXHAUSTED", retry_after=1.5),
    ),
    (
        "gemini_array",
        400,
        [{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}],
        n.Failure(message="m", status=400, kind="INVALID_ARGUMENT"),
    ),
    (
        "xai",
        400,
        {"code": "invalid-argument", "error": "m"},
        n.Failure(message="m", status=400, kind="invalid-argument"),
    ),
    (
        "openrouter",
        429,
        {"error": {"code": 429, "message": "m", "metadata": {"raw": "r"}}, "user_id": "u"},
        n.Failure(message="m", status=429),
    ),
    ("mistral_401", 401, {"detail": "m"}, n.Failure(message="m", status=401)),
    (
        "mistral",
        400,
        {"object": "error", "message": "m", "type": "t", "param": None, "code": 3051},
        n.Failure(message="m", status=400, kind="t", code="3051"),
    ),
    (
        "mistral_422",
        422,
        {"detail": [{"loc": ["body", "n"], "msg": "bad", "type": "x"}]},
        n.Failure(message="body.n: bad", status=422),
    ),
    ("cohere", 400, {"id": "1", "message": "m"}, n.Failure(message="m", status=400)),
    ("ollama", 404, {"error": "m"}, n.Failure(message="m", status=404)),
]


@pytest.mark.parametrize(("name", "status", "body", "want"), CASES, ids=[c[0] for c in CASES])
def test_every_shape_is_read(name: str, status: int, body: Any, want: n.Failure) -> None:
    assert read(status, json.dumps(body).encode()) == want


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'"x', b"\xff"])
def test_what_cannot_be_read_still_says_the_status(body: bytes) -> None:
    assert read(502, body).message == "the provider answered with status 502"


STATUSES: list[tuple[int, int, type[Exception], int, type[Exception]]] = [
    (400, 400, openai.BadRequestError, 400, anthropic.BadRequestError),
    (401, 401, openai.AuthenticationError, 401, anthropic.AuthenticationError),
    (402, 402, openai.APIStatusError, 402, anthropic.APIStatusError),
    (403, 403, openai.PermissionDeniedError, 403, anthropic.PermissionDeniedError),
    (404, 404, openai.NotFoundError, 404, anthropic.NotFoundError),
    (413, 413, openai.APIStatusError, 413, anthropic.RequestTooLargeError),
    (422, 422, openai.UnprocessableEntityError, 400, anthropic.BadRequestError),
    (429, 429, openai.RateLimitError, 429, anthropic.RateLimitError),
    (500, 500, openai.InternalServerError, 500, anthropic.InternalServerError),
    (503, 503, openai.InternalServerError, 529, anthropic.OverloadedError),
    (529, 503, openai.InternalServerError, 529, anthropic.OverloadedError),
    (504, 504, openai.InternalServerError, 504, anthropic.DeadlineExceededError),
]


@pytest.mark.parametrize("case", STATUSES, ids=[str(c[0]) for c in STATUSES])
def test_each_sdk_raises_its_own_class(case: tuple[int, int, Any, int, Any]) -> None:
    clients = Clients()
    told, chat_status, chat_class, message_status, message_class = case
    failure = n.Failure(message="boom", status=told, param="x")
    status, body = openai_fault.write(failure)
    assert status == chat_status
    with pytest.raises(chat_class, match="boom") as chat:
        clients.completion(json.dumps(body).encode(), status)
    assert chat.value.param == "x"
    status, body = anthropic_fault.write(failure)
    assert status == message_status
    with pytest.raises(message_class, match="boom"):
        clients.message(json.dumps(body).encode(), status)


def test_codes_that_programs_know_are_kept() -> None:
    failure = n.Failure(message="m", status=404, code="model_not_found")
    assert openai_fault.write(failure)[1]["error"]["code"] == "model_not_found"  # type: ignore[index]
    rate = openai_fault.write(n.Failure(message="m", status=429))[1]["error"]
    assert rate["code"] == "rate_limit_exceeded"  # type: ignore[index]


@needs_wire
def test_every_recorded_error_has_a_message_and_its_status() -> None:
    seen = 0
    for exchange in exchanges():
        if exchange.status < 400 or exchange.dialect.startswith(("bedrock", "cohere")):
            continue
        failure = read(exchange.status, exchange.body)
        assert failure.status == exchange.status, exchange.id
        assert failure.message, exchange.id
        assert not failure.message.startswith("the provider answered"), exchange.id
        seen += 1
    assert seen > 40


@needs_wire
def test_every_quoted_error_is_read() -> None:
    assert WIRE is not None
    items = json.loads((WIRE / "quoted-errors.json").read_bytes())["items"]
    whole = [item for item in items if item["where"] == "http"]
    assert whole
    for quoted in whole:
        failure = read(quoted["status"], quoted["body"].encode())
        assert failure.status == quoted["status"]
        assert not failure.message.startswith("the provider answered"), quoted
