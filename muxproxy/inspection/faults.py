"""Why a body is refused, told so that it can be mended. Never quotes the body."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

import msgspec

from muxproxy.errors import MuxError

_BYTE = re.compile(r" ?\(byte (\d+)\)")
# Escapes one by one; `lone` catches half a surrogate pair (RFC 8259 section 8.2).
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_MAGIC = {
    b"\x1f\x8b": ("it is gzip", "send it without compression"),
    b"\x28\xb5\x2f\xfd": ("it is zstd", "send it without compression"),
    b"\xff\xfe": ("it is UTF-16", "send UTF-8"),
    b"\xfe\xff": ("it is UTF-16", "send UTF-8"),
    b"--": ("it is multipart", "send JSON to this endpoint"),
}
# Searching for the cause of a fault looks no further than this.
_SEARCH = 1 << 20
_CHUNK = 1 << 16


def check_text(body: bytes) -> None:
    """Raises MuxError invalid_json where `body` is not UTF-8 (RFC 8259 section 8.1).

    The decoder skips what it does not read without looking at its encoding. Decodes in chunks,
    so a large body is never there twice.
    """
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    size = len(body)
    for at in range(0, size, _CHUNK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[at : at + _CHUNK], at + _CHUNK >= size)
        except UnicodeDecodeError as error:
            raise _fault("it is not UTF-8", at - pending + error.start, "send UTF-8") from None


def explain(body: bytes, error: Exception, headers: Iterable[tuple[bytes, bytes]] = ()) -> MuxError:
    """The refusal for a body that msgspec could not decode."""
    if not body.strip():
        return _fault("it is empty", None, "send one JSON object")
    coding = next((v for k, v in headers if k == b"content-encoding" and v != b"identity"), None)
    if coding is not None:
        name = coding.decode("latin-1")[:20]
        return _fault("it is compressed", None, f"send it without content-encoding: {name}")
    if isinstance(error, RecursionError):
        return _fault("it is nested too deeply", None, "nest it less deeply")
    if isinstance(error, msgspec.ValidationError):
        return _fault("it is no JSON object", None, 'send one JSON object: {"model": ...}')
    for magic, (cause, fix) in _MAGIC.items():
        if body.startswith(magic):
            return _fault(cause, None, fix)
    try:
        check_text(body)
    except MuxError as fault:
        return fault
    lone = _lone_surrogate(body)
    if lone is not None:
        return _fault(
            "half a surrogate pair is no character", lone, r"send both \uXXXX halves, or \ufffd"
        )
    text = str(error)
    found = _BYTE.search(text)
    cause = _BYTE.sub("", text).removeprefix("JSON is malformed: ")
    if found is None:
        return _fault("it ends too early", len(body), "send the whole body")
    at = int(found[1]) - (cause == "trailing characters")  # msgspec counts these from one
    return _fault(cause, at, _fix(cause, body, at))


def _fix(cause: str, body: bytes, at: int) -> str:
    if "trailing comma" in cause:
        return "remove the comma"
    if "trailing characters" in cause:
        return "send one JSON object and nothing after it"
    around = body[at : at + 9]
    if around.startswith((b"NaN", b"Infinity", b"-Infinity")):
        return "JSON has no NaN or Infinity: send null"
    if around.startswith((b"'", b"True", b"False", b"None")):
        return "this is Python's spelling: use json.dumps"
    return "send JSON as RFC 8259 has it"


def _lone_surrogate(body: bytes) -> int | None:
    if b"\\ud" not in body[:_SEARCH].lower():
        return None
    for match in _ESCAPE.finditer(body, 0, _SEARCH):
        if match["lone"] is not None:
            return match.start()
    return None


def _fault(cause: str, at: int | None, fix: str) -> MuxError:
    where = "" if at is None else f" (byte {at})"
    return MuxError(
        "invalid_json",
        f"The request body is not valid JSON: {cause}{where}. To fix it: {fix}.",
        details={} if at is None else {"position": at},
    )
