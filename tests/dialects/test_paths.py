"""What paths mean, and where they go; no spelling of a known endpoint is passed unread."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.dialects.paths import classify, path_with_model, upstream_path
from muxproxy.errors import MuxError

KNOWN = [
    ("/v1/chat/completions", "openai", "chat"),
    ("/chat/completions", "openai", "chat"),
    ("/openai/v1/chat/completions", "openai", "chat"),
    ("/api/v1/chat/completions", "openai", "chat"),
    ("/v1beta/openai/chat/completions", "openai", "chat"),
    ("/models/chat/completions", "openai", "chat"),
    ("/v1/completions", "openai", "completions"),
    ("/completions", "openai", "completions"),
    ("/v1/embeddings", "openai", "embeddings"),
    ("/v1/responses", "responses", "responses"),
    ("/responses", "responses", "responses"),
    ("/openai/v1/responses", "responses", "responses"),
    ("/v1/responses/compact", "responses", "responses"),
    ("/v1/responses/input_tokens", "responses", "count_tokens"),
    ("/v1/messages", "anthropic", "messages"),
    ("/messages", "anthropic", "messages"),
    ("/anthropic/v1/messages", "anthropic", "messages"),
    ("/v1/messages/count_tokens", "anthropic", "count_tokens"),
]


@pytest.mark.parametrize(("path", "dialect", "endpoint"), KNOWN)
def test_known_endpoints(path: str, dialect: str, endpoint: str) -> None:
    route = classify("POST", path)
    assert (route.dialect, route.endpoint, route.path) == (dialect, endpoint, path)
    assert (route.model, route.stream, route.provider, route.enhanced) == (None, False, None, False)


GEMINI = [
    ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", "generate", False),
    ("/v1/models/gemini-2.5-flash:streamGenerateContent", "gemini-2.5-flash", "generate", True),
    ("/v1alpha/models/m:countTokens", "m", "count_tokens", False),
    ("/v1beta/models/m:embedContent", "m", "embeddings", False),
    ("/v1beta/models/m:batchEmbedContents", "m", "embeddings", False),
    ("/models/m:generateContent", "m", "generate", False),
    ("/v1beta/tunedModels/x-1:generateContent", "tunedModels/x-1", "generate", False),
    ("/v1beta/models/a%2Fb:generateContent", "a/b", "generate", False),
    ("/v1beta/models/a%3Ab:generateContent", "a:b", "generate", False),
    ("/v1beta/models/m%3AstreamGenerateContent", "m", "generate", True),
    (
        "/v1beta1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent",
        "m",
        "generate",
        True,
    ),
    ("/v1/projects/p/locations/l/endpoints/42:generateContent", "endpoints/42", "generate", False),
]


@pytest.mark.parametrize(("path", "model", "endpoint", "stream"), GEMINI)
def test_gemini(path: str, model: str, endpoint: str, stream: bool) -> None:
    route = classify("POST", path)
    assert (route.dialect, route.model, route.endpoint) == ("gemini", model, endpoint)
    assert route.stream is stream
    assert path_with_model(route, model) == route.path


OTHERS = [
    ("GET", "/", "openai"),
    ("HEAD", "/", "openai"),
    ("POST", "/v1/files", "openai"),
    ("POST", "/v1/audio/transcriptions", "openai"),
    ("POST", "/v1/threads/t/messages", "openai"),
    ("POST", "/v1/chat/completions/id", "openai"),
    ("GET", "/v1/chat/completions", "openai"),
    ("POST", "/v1/models", "openai"),
    ("GET", "/v1/responses", "responses"),
    ("DELETE", "/v1/responses/resp_1", "responses"),
    ("POST", "/v1/messages/batches", "anthropic"),
    ("POST", "/v1beta/interactions", "gemini"),
    ("POST", "/v1beta/models/m:predict", "gemini"),
    ("POST", "/v1/models/m:batchGenerateContent", "gemini"),
    ("POST", "/upload/v1beta/files", "gemini"),
    ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict", "gemini"),
    ("POST", "/model/us.anthropic.x-v1%3A0/converse", "openai"),
    ("GET", "/v1/files/a%20b%2Fc//d", "openai"),
]


@pytest.mark.parametrize(("method", "path", "dialect"), OTHERS)
def test_the_rest_is_other_and_as_sent(method: str, path: str, dialect: str) -> None:
    route = classify(method, path)
    assert (route.endpoint, route.dialect, route.path) == ("other", dialect, path)


@pytest.mark.parametrize(
    ("path", "dialect", "model"),
    [
        ("/v1/models", "openai", None),
        ("/models/", "openai", None),
        ("/v1/models/gpt-4o", "openai", "gpt-4o"),
        ("/openai/v1/models", "openai", None),
        ("/v1beta/models", "gemini", None),
        ("/v1beta/models/m", "gemini", "m"),
    ],
)
def test_model_lists(path: str, dialect: str, model: str | None) -> None:
    route = classify("GET", path)
    assert (route.endpoint, route.dialect, route.model) == ("models", dialect, model)


def test_enhanced_is_our_own_and_goes_up_as_chat() -> None:
    route = classify("POST", "/v1/chat/completions/enhanced")
    assert (route.endpoint, route.enhanced) == ("chat", True)
    assert route.path == "/v1/chat/completions"
    assert upstream_path("/openai/v1", route) == "/openai/v1/chat/completions"


TRICKS = [
    "//v1/chat/completions",
    "/v1//chat///completions",
    "/v1/./chat/completions",
    "/x/../v1/chat/completions",
    "/../v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "/v1/chat/completions/.",
    "/v1/chat/completions/x/..",
    "/v1/chat%2Fcompletions",
    "/v1/chat%252fcompletions",
    "/v1/c%68at/completions",
    "/v1/%2e/chat/completions",
    "/v1/chat/%2E%2E/chat/completions",
    "/V1/Chat/COMPLETIONS",
    "/v1\\chat\\completions",
    "/v1/chat%5Ccompletions",
    "/v1/chat/completions;v=1",
    "/v1;a/chat;b/completions",
    "/v1/chat/completions%3Fx=1",
    "/v1/chat/completions%23x",
    "/v1/chat/completions%20",
]


@pytest.mark.parametrize("path", TRICKS)
def test_tricks_are_seen_through_and_spelled_canonically(path: str) -> None:
    route = classify("POST", path)
    assert (route.endpoint, route.path) == ("chat", "/v1/chat/completions")
    assert upstream_path("/v1", route) == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("//v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/v1beta/models/m:GENERATECONTENT/", "/v1beta/models/m:generateContent"),
        ("/v1beta/./models/m%3agenerateContent", "/v1beta/models/m:generateContent"),
        ("/v1beta/models/m:generateContent;x", "/v1beta/models/m:generateContent"),
        ("/v1beta/models/Gem%C3%AF:generateContent", "/v1beta/models/Gem%C3%AF:generateContent"),
        ("//openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
        ("/v1/%6Dessages", "/v1/messages"),
        ("/v1/messages/count_tokens/", "/v1/messages/count_tokens"),
    ],
)
def test_tricks_of_the_other_dialects(path: str, want: str) -> None:
    route = classify("POST", path)
    assert route.endpoint != "other"
    assert route.path == want


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/../admin", "invalid_request"),
        ("/v1/files/%2e%2e/x", "invalid_request"),
        ("/v1/chat/completions%00", "invalid_request"),
        ("/v1/x%0d%0ay", "invalid_request"),
        ("/v1/%25252525252525", "invalid_request"),
        ("v1/chat/completions", "invalid_request"),
        ("", "invalid_request"),
        ("/p/", "not_found"),
        ("/p", "not_found"),
        ("//p//", "not_found"),
    ],
)
def test_refused_rather_than_passed_unread(path: str, code: str) -> None:
    with pytest.raises(MuxError) as caught:
        classify("POST", path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("path", "provider", "rest", "endpoint"),
    [
        ("/p/groq/v1/chat/completions", "groq", "/v1/chat/completions", "chat"),
        ("/p/a-b.c/v2/chat", "a-b.c", "/v2/chat", "other"),
        ("/p/my%20one/v2/chat", "my one", "/v2/chat", "other"),
        ("/p/x/a%2Fb//c", "x", "/a%2Fb//c", "other"),
        ("//p/x/v2/chat", "x", "/v2/chat", "other"),
        ("/p/x", "x", "/", "other"),
        ("/p/x/", "x", "/", "other"),
        ("/p/a/../b/v1/chat/completions", "p", "", ""),
        ("/p/x//v1/chat/completions", "x", "/v1/chat/completions", "chat"),
    ],
)
def test_provider_prefix(path: str, provider: str, rest: str, endpoint: str) -> None:
    route = classify("POST", path)
    if not endpoint:  # dot segments resolve before the prefix is read
        assert (route.provider, route.endpoint) == ("b", "chat")
        return
    assert (route.provider, route.path, route.endpoint) == (provider, rest, endpoint)


UPSTREAM = [
    # base, path, provider's dialect, want
    ("/v1", "/v1/chat/completions", None, "/v1/chat/completions"),
    ("/v1", "/chat/completions", None, "/v1/chat/completions"),
    ("/v1", "/openai/v1/chat/completions", None, "/v1/chat/completions"),
    ("/v1/", "/v1/chat/completions", None, "/v1/chat/completions"),
    ("/openai/v1", "/v1/chat/completions", None, "/openai/v1/chat/completions"),
    ("/openai/v1", "/openai/v1/responses", None, "/openai/v1/responses"),
    ("/api/v1", "/v1/responses", None, "/api/v1/responses"),
    ("/api/v1", "/api/v1/chat/completions", None, "/api/v1/chat/completions"),
    ("", "/v1/chat/completions", None, "/chat/completions"),
    ("/v1", "/v1/files", None, "/v1/files"),
    ("/openai/v1", "/v1/files/a%2Fb", None, "/openai/v1/files/a%2Fb"),
    ("", "/v1/messages", None, "/v1/messages"),
    ("", "/messages", None, "/v1/messages"),
    ("", "/anthropic/v1/messages", None, "/v1/messages"),
    ("/v1", "/v1/messages", None, "/v1/messages"),
    ("/v1", "/messages/count_tokens", None, "/v1/messages/count_tokens"),
    ("/anthropic", "/v1/messages", None, "/anthropic/v1/messages"),
    ("", "/v1/messages/batches", None, "/v1/messages/batches"),
    ("/v1", "/v1/messages/batches", None, "/v1/messages/batches"),
    ("", "/v1/models/m:generateContent", None, "/v1/models/m:generateContent"),
    ("", "/v1beta/models/m:generateContent", None, "/v1beta/models/m:generateContent"),
    ("", "/models/m:generateContent", None, "/v1beta/models/m:generateContent"),
    ("/v1beta", "/models/m:generateContent", None, "/v1beta/models/m:generateContent"),
    ("/v1beta", "/v1/models/m:generateContent", None, "/v1/models/m:generateContent"),
    ("/x/v1beta", "/v1beta/models/m:countTokens", None, "/x/v1beta/models/m:countTokens"),
    ("", "/v1beta/interactions", None, "/v1beta/interactions"),
    ("", "/openai/deployments/d/chat/completions", None, "/openai/deployments/d/chat/completions"),
    ("/openai/v1", "/openai/deployments/d/embeddings", None, "/openai/deployments/d/embeddings"),
    ("/v1", "/openai/deployments/d/chat/completions", None, "/v1/chat/completions"),
    # chosen by /p/NAME
    ("/openai/v1", "/p/groq/v1/chat/completions", None, "/openai/v1/chat/completions"),
    ("/v1", "/p/local/chat/completions", None, "/v1/chat/completions"),
    ("/openai/v1", "/p/groq/v1/files", None, "/v1/files"),
    ("/v1", "/p/openai/v2/x%2Fy", None, "/v2/x%2Fy"),
    ("", "/p/google/v1beta/openai/chat/completions", "gemini", "/v1beta/openai/chat/completions"),
    ("", "/p/anthropic/v1/chat/completions", "anthropic", "/v1/chat/completions"),
    ("", "/p/anthropic/messages", "anthropic", "/v1/messages"),
    ("/v1", "/p/deepseek/anthropic/v1/messages", "openai", "/anthropic/v1/messages"),
    ("/api/v1", "/p/openrouter/v1/messages", "openai", "/api/v1/messages"),
    ("", "/p/anthropic/v1/messages/batches", "anthropic", "/v1/messages/batches"),
    ("", "/p/google/v1/models/m:generateContent", "gemini", "/v1/models/m:generateContent"),
    ("/x", "/p/g/v1beta/models/m:predict", "gemini", "/v1beta/models/m:predict"),
]


@pytest.mark.parametrize(("base", "path", "dialect", "want"), UPSTREAM)
def test_upstream_path(base: str, path: str, dialect: str | None, want: str) -> None:
    assert upstream_path(base, classify("POST", path), dialect=dialect) == want


@pytest.mark.parametrize(
    ("path", "model", "want"),
    [
        ("/v1beta/models/a:generateContent", "b", "/v1beta/models/b:generateContent"),
        ("/v1beta/models/a:generateContent", "models/b", "/v1beta/models/b:generateContent"),
        ("/v1beta/models/a:countTokens", "tunedModels/x", "/v1beta/tunedModels/x:countTokens"),
        ("/v1beta/models/a:countTokens", "b c?#", "/v1beta/models/b%20c%3F%23:countTokens"),
        (
            "/v1/projects/p/locations/l/publishers/google/models/a:generateContent",
            "b",
            "/v1/projects/p/locations/l/publishers/google/models/b:generateContent",
        ),
        ("/openai/deployments/a/embeddings", "b/c", "/openai/deployments/b%2Fc/embeddings"),
        ("/v1/chat/completions", "b", "/v1/chat/completions"),
    ],
)
def test_path_with_model(path: str, model: str, want: str) -> None:
    assert path_with_model(classify("POST", path), model) == want
    assert upstream_path("", classify("POST", "/p/x" + path), model=model).endswith(
        want.removeprefix("/v1/chat")
    )


def test_azure_names_its_model_in_the_path() -> None:
    route = classify("POST", "/openai/deployments/My-4o/chat/completions")
    assert (route.dialect, route.endpoint, route.model) == ("openai", "chat", "My-4o")


ENDPOINTS = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/models/m:generateContent",
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ENDPOINTS), st.data())
def test_any_encoding_of_a_known_path_is_known(path: str, data: st.DataObject) -> None:
    spelled = ""
    for letter in path[1:]:
        how = data.draw(st.integers(0, 3))
        spelled += (letter, f"%{ord(letter):02X}", f"%25{ord(letter):02x}", letter)[how]
        if letter == "/":
            spelled += data.draw(st.sampled_from(["", "", "/", "./", "x/../", "%2e/"]))
    assert classify("POST", "/" + spelled).endpoint == classify("POST", path).endpoint


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_path_is_classified_or_refused(tail: str) -> None:
    for path in ("/" + tail, "/p/x/" + tail, quote("/v1/" + tail)):
        try:
            route = classify("POST", path)
        except MuxError:
            continue
        for base in ("", "/v1"):
            assert upstream_path(base, route).startswith("/") or tail
