"""The real SDKs, parsing bytes that a test hands them instead of a provider's."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai.types import HttpOptions

_ASK: list[Any] = [{"role": "user", "content": "x"}]


class Clients:
    """One client of each SDK; `answer` is what the next request gets."""

    def __init__(self) -> None:
        self.status = 200
        self.kind = "application/json"
        self.body = b""
        http = httpx2.Client(transport=httpx2.MockTransport(self._reply))
        self.openai = openai.OpenAI(
            api_key="k", base_url="http://provider/v1", http_client=http, max_retries=0
        )
        self.google = genai.Client(
            api_key="k", http_options=HttpOptions(base_url="http://provider", httpx_client=http)
        )
        self.anthropic = anthropic.Anthropic(
            api_key="k", base_url="http://provider", http_client=http, max_retries=0
        )

    def _reply(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, content=self.body, headers={"content-type": self.kind})

    def _give(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.body, self.kind, self.status = body, kind, status

    def completion(self, body: bytes, status: int = 200) -> Any:
        """openai's ChatCompletion."""
        self._give(body, status=status)
        return self.openai.chat.completions.create(model="m", messages=_ASK)

    def completion_stream(self, body: bytes) -> Any:
        """What openai's own accumulator makes of a chat stream."""
        self._give(body, "text/event-stream")
        with self.openai.chat.completions.stream(
            model="m", messages=_ASK, stream_options={"include_usage": True}
        ) as stream:
            for _ in stream:
                pass
            return stream.current_completion_snapshot

    def chunks(self, body: bytes) -> list[Any]:
        """openai's ChatCompletionChunks, one by one."""
        self._give(body, "text/event-stream")
        return list(self.openai.chat.completions.create(model="m", messages=_ASK, stream=True))

    def message(self, body: bytes, status: int = 200) -> Any:
        """anthropic's Message."""
        self._give(body, status=status)
        return self.anthropic.messages.create(model="m", max_tokens=9, messages=_ASK)

    def message_stream(self, body: bytes) -> Any:
        """What anthropic's own accumulator makes of a stream."""
        self._give(body, "text/event-stream")
        with self.anthropic.messages.stream(model="m", max_tokens=9, messages=_ASK) as stream:
            return stream.get_final_message()

    def response(self, body: bytes, status: int = 200) -> Any:
        """openai's Response."""
        self._give(body, status=status)
        return self.openai.responses.create(model="m", input="x")

    def response_stream(self, body: bytes) -> Any:
        """What openai's own accumulator makes of a Responses stream."""
        self._give(body, "text/event-stream")
        with self.openai.responses.stream(model="m", input="x") as stream:
            for event in stream:
                if event.type == "response.incomplete":  # the accumulator wants a completed one
                    return event.response
            return stream.get_final_response()

    def generated(self, body: bytes, status: int = 200) -> Any:
        """google-genai's GenerateContentResponse."""
        self._give(body, status=status)
        return self.google.models.generate_content(model="m", contents="x")

    def generated_stream(self, body: bytes) -> list[Any]:
        """google-genai's chunks."""
        self._give(body, "text/event-stream")
        return list(self.google.models.generate_content_stream(model="m", contents="x"))
