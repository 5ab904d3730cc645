"""What answers what: echo, model lists by dialect, and the provider each path means."""

import hashlib

import pytest

from muxproxy.sim import SimThread

from .raw import CHAT, GEMINI, MESSAGES, RESPONSES, ask, connect, parse, read_all, request

MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--b--\r\n'
)


def test_other_paths_are_echoed(shared: SimThread) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Connection": "close"}
    with connect(shared.url) as sock:
        sock.sendall(request("/v1/audio/transcriptions?x=1", MULTIPART, kind))
        found = parse(read_all(sock)).json()
    assert found["path"] == "/v1/audio/transcriptions"
    assert found["body_sha256"] == hashlib.sha256(MULTIPART).hexdigest()
    assert ["Content-Type", kind["Content-Type"]] in found["headers"]


def test_an_error_for_an_unknown_path(shared: SimThread) -> None:
    assert ask(shared.url, "/v1/files", b"x", status=503).status == 503


@pytest.mark.parametrize(
    ("target", "body", "key"),
    [
        ("/openai/v1/chat/completions", CHAT, "choices"),
        ("/v1/responses", RESPONSES, "output"),
        ("/anthropic/v1/messages?beta=true", MESSAGES, "stop_reason"),
        ("/v1beta/models/g:generateContent", GEMINI, "candidates"),
        ("/v2/chat", CHAT, "finish_reason"),
        ("/v1beta/models/g:batchEmbedContents", {"requests": [{"content": {}}]}, "embeddings"),
    ],
)
def test_each_path_its_dialect(shared: SimThread, target: str, body: object, key: str) -> None:
    assert key in ask(shared.url, target, body).json()


@pytest.mark.parametrize(
    ("headers", "key"),
    [({}, "object"), ({"anthropic-version": "1"}, "has_more"), ({"x-goog-api-key": "k"}, "models")],
)
def test_model_lists_follow_the_caller(
    shared: SimThread, headers: dict[str, str], key: str
) -> None:
    with connect(shared.url) as sock:
        sock.sendall(request("/v1/models", None, headers | {"Connection": "close"}, "GET"))
        assert key in parse(read_all(sock), "GET").json()


def test_answers_that_are_no_object_of_json(shared: SimThread) -> None:
    found = ask(shared.url, "/v1/responses", b"[1]")
    assert (found.status, found.json()["error"]["type"]) == (400, "invalid_request_error")
