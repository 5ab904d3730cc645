"""Embeddings between OpenAI's /embeddings and Gemini's :embedContent and :batchEmbedContents.

    developers.openai.com/api/reference/resources/embeddings · ai.google.dev/api/embeddings

Gemini reports no usage for embeddings: the answer carries what the caller of it passes in.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec

from muxproxy import exchange as words
from muxproxy.dialects import neutral
from muxproxy.dialects.reading import document, safe, text_of, wrong
from muxproxy.dialects.translators import Body, Translator
from muxproxy.exchange import Usage

_decode = msgspec.json.decode
_OPENAI_KNOWN = frozenset({"input", "model", "dimensions", "encoding_format", "user"})
_GEMINI_KNOWN = frozenset({"content", "requests", "model", "outputDimensionality"})


class EmbedRequest(neutral.Request, kw_only=True):
    """What is to be embedded. `single`: Gemini's :embedContent, whose answer is one vector."""

    inputs: list[str] = msgspec.field(default_factory=list)
    dimensions: int | None = None
    packed: bool = False  # vectors as base64 of little-endian floats, as OpenAI's SDK asks
    single: bool = False


class Vectors(neutral.Answer, kw_only=True):
    """The answer, in the order of the inputs."""

    vectors: list[list[float]] = msgspec.field(default_factory=list)


class EmbeddingTranslator(Translator):
    """One dialect's side of a translated embedding; errors are those of any call."""

    def read_request(self, body: bytes, model: str | None, stream: bool) -> EmbedRequest:
        """Raises MuxError invalid_json or invalid_request."""
        del stream
        given = document(body)
        if self.dialect == words.GEMINI:
            return _read_gemini(given, model)
        return _read_openai(given, model)

    def write_request(self, request: neutral.Request, **ways: Any) -> Body:
        """What to encode."""
        del ways
        assert isinstance(request, EmbedRequest)
        if self.dialect == words.GEMINI:
            return {"requests": [_piece(request, text) for text in request.inputs]}
        body: Body = {"model": request.model, "input": request.inputs}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return body

    def read_answer(self, body: bytes) -> Vectors:
        """Raises ValueError for a body that is no such answer."""
        given = _decode(body)
        if not isinstance(given, dict):
            raise ValueError("not an embedding")
        if self.dialect == words.GEMINI:
            found = given.get("embeddings")
            if found is None and isinstance(given.get("embedding"), dict):
                found = [given["embedding"]]
            if not isinstance(found, list):
                raise ValueError("no embeddings")
            return Vectors(vectors=[list(one["values"]) for one in found])
        data = given.get("data")
        if not isinstance(data, list):
            raise ValueError("no data")
        usage = given.get("usage")
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return Vectors(
            vectors=[_unpacked(one["embedding"]) for one in data],
            model=text_of(given.get("model")) or None,
            usage=Usage(input=tokens) if isinstance(tokens, int) else None,
        )

    def write_answer(
        self, answer: neutral.Answer, request: neutral.Request, id: str, created: int
    ) -> Body:
        """The whole answer as this dialect's callers expect it."""
        del id, created
        assert isinstance(answer, Vectors) and isinstance(request, EmbedRequest)
        if self.dialect == words.GEMINI:
            found = [{"values": vector} for vector in answer.vectors]
            return {"embedding": found[0]} if request.single and found else {"embeddings": found}
        tokens = 0 if answer.usage is None else answer.usage.input_total
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _packed(vector) if request.packed else vector,
                }
                for index, vector in enumerate(answer.vectors)
            ],
            "model": answer.model or request.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _read_openai(given: dict[str, Any], model: str | None) -> EmbedRequest:
    inputs = given.get("input")
    if isinstance(inputs, str):
        inputs = [inputs]
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
        raise wrong("input", "expected text or an array of texts (token arrays are OpenAI's own)")
    dimensions = given.get("dimensions")
    return EmbedRequest(
        model=model,
        inputs=inputs,
        dimensions=dimensions if isinstance(dimensions, int) else None,
        packed=given.get("encoding_format") == "base64",
        dropped=[safe(name) for name in given if name not in _OPENAI_KNOWN],
    )


def _read_gemini(given: dict[str, Any], model: str | None) -> EmbedRequest:
    batch = given.get("requests")
    single = batch is None
    pieces = [given] if single else batch
    if not isinstance(pieces, list) or not all(isinstance(one, dict) for one in pieces):
        raise wrong("requests", "expected an array of objects")
    dimensions = pieces[0].get("outputDimensionality") if pieces else None
    dropped = {safe(name) for one in pieces for name in one if name not in _GEMINI_KNOWN}
    return EmbedRequest(
        model=model,
        inputs=[_text(one.get("content")) for one in pieces],
        dimensions=dimensions if isinstance(dimensions, int) else None,
        single=single,
        dropped=sorted(dropped),
    )


def _text(content: object) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        raise wrong("content.parts", "expected an array")
    return "".join(text_of(part.get("text")) for part in parts if isinstance(part, dict))


def _piece(request: EmbedRequest, text: str) -> Body:
    piece: Body = {"model": f"models/{request.model}", "content": {"parts": [{"text": text}]}}
    if request.dimensions is not None:
        piece["outputDimensionality"] = request.dimensions
    return piece


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _unpacked(value: object) -> list[float]:
    if isinstance(value, str):
        data = base64.b64decode(value)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    if not isinstance(value, list):
        raise ValueError("no vector")
    return value
