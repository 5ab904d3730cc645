"""Pictures and files in a prompt: how many, and how many bytes of the body they are."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from muxproxy.inspection.shapes import Blob, GeminiPart, Part, Source

_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_FILES = frozenset(
    {
        "document",
        "document_url",  # Mistral
        "file",
        "input_audio",
        "input_file",
        "input_video",
        "video_url",
    }
)

_SOURCE = msgspec.json.Decoder(Source)


class Media:
    """A running count of the pictures and files in a prompt."""

    __slots__ = ("count", "images", "opaque", "size")

    def __init__(self) -> None:
        self.count = 0
        self.images = 0
        self.size = 0  # bytes of the body that are media, not text
        self.opaque = 0  # bytes of encrypted reasoning and signatures

    def part(self, part: Part) -> None:
        kind = part.type
        if kind.__class__ is not str:
            return
        if kind in _IMAGES or kind in _FILES:
            if kind == "document" and _is_text(part.source):
                return
            self.count += 1
            self.images += kind in _IMAGES
            for raw in (
                part.image_url,
                part.source,
                part.file,
                part.file_data,
                part.input_audio,
                part.video_url,
                part.document_url,
            ):
                self.size += len(raw)
            return
        self.opaque += len(part.signature)
        if part.content is not None:
            self.content(part.content)

    def content(self, content: object) -> None:
        """A message's content, a tool's result or its output."""
        if isinstance(content, list):
            for part in content:
                self.part(part)
        elif isinstance(content, Part):
            self.part(content)

    def picture(self, raw: Raw) -> None:
        self.count += 1
        self.images += 1
        self.size += len(raw)

    def gemini(self, part: GeminiPart) -> None:
        blob = part.inlineData or part.inline_data or part.fileData or part.file_data
        if blob is not None:
            self.count += 1
            self.images += _mime(blob).startswith("image/")
            self.size += len(blob.data)
        self.opaque += len(part.thoughtSignature) + len(part.thought_signature)
        given = part.functionResponse or part.function_response
        if given is not None and given.parts is not None:
            for inner in given.parts if isinstance(given.parts, list) else [given.parts]:
                self.gemini(inner)


def _is_text(source: Raw) -> bool:
    try:
        return len(source) > 0 and _SOURCE.decode(source).type in ("text", "content")
    except msgspec.ValidationError:
        return False


def _mime(blob: Blob) -> str:
    mime = blob.mimeType or blob.mime_type
    return mime if isinstance(mime, str) else ""
