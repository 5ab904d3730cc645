"""What every reader needs: JSON into plain values, faults that name the field, safe names."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from muxproxy.dialects.neutral import Cache
from muxproxy.errors import MuxError

T = TypeVar("T")

_decode = msgspec.json.Decoder().decode
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-\[\]$]")
_FAULT = re.compile(
    r"^(?:Expected (?P<want>.+), got (?P<got>.+?)|(?P<other>.+?))(?: - at `(?P<at>.+)`)?$"
)
NAME_LENGTH = 64  # a caller's field names go into a header: short, and of harmless characters


def document(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises MuxError invalid_json or invalid_request."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise MuxError("invalid_json", "the body is not valid JSON") from exc
    if value.__class__ is not dict:
        raise MuxError("invalid_request", "the body must be a JSON object")
    found: dict[str, Any] = value
    return found


def provided(data: bytes) -> Any:
    """The JSON of a provider's answer or event, with more patience than a caller's gets: half a
    surrogate pair (a character cut between two chunks) becomes U+FFFD, NaN and Infinity pass.
    Raises ValueError."""
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        try:
            return _mended(json.loads(data))
        except RecursionError as exc:
            raise ValueError("nested too deep") from exc
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc


def _mended(value: Any) -> Any:
    if value.__class__ is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value.__class__ is dict:
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    if value.__class__ is list:
        return [_mended(inner) for inner in value]
    return value


def typed(value: object, kind: type[T], where: str = "") -> T:
    """`value` as the struct `kind`. Raises MuxError invalid_request naming the field."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise MuxError("invalid_request", _public(str(exc), where)) from exc


def _public(text: str, where: str) -> str:
    """msgspec's message with the field first, and without the caller's values."""
    match = _FAULT.match(text)
    at = (match and match["at"]) or "$"
    field = (where + at.removeprefix("$")).lstrip(".") or "the body"
    if match is not None and match["want"]:
        want = match["want"].replace("`", "").replace(" | null", "").replace(" | ", " or ")
        return f"{field}: expected {want}, got {match['got'].replace('`', '')}"
    if match is not None and (match["other"] or "").startswith("Object missing required"):
        return f"{field}: {match['other'].replace('`', '')}"
    return f"{field}: the value is not valid"


def wrong(field: str, what: str) -> MuxError:
    """The error to raise for a field that cannot be read."""
    return MuxError("invalid_request", f"{field}: {what}")


def safe(name: object) -> str:
    """A caller's word, fit for a header and a log line."""
    text = name if isinstance(name, str) else str(type(name).__name__)
    return _UNSAFE.sub("_", text[:NAME_LENGTH])


def text_of(value: object) -> str:
    """A string, or "" for anything else."""
    return value if value.__class__ is str else ""


def listed(value: object) -> list[Any]:
    """A list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def cache_of(control: object) -> Cache | None:
    """cache_control (Anthropic's, which OpenRouter takes as well) or OpenAI's
    prompt_cache_breakpoint as a break-point's life."""
    if control.__class__ is not dict:
        return None
    ttl = control.get("ttl")
    return "1h" if ttl == "1h" or ttl == "12h" else "5m"  # noqa: PLR1714 (may be unhashable)


def data_url(url: str) -> tuple[str | None, str] | None:
    """(media type, base64) of a data: URL; None where it is another URL."""
    if not url.startswith("data:"):
        return None
    head, _, data = url[5:].partition(",")
    media_type, _, rest = head.partition(";")
    if not rest.endswith("base64"):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return media_type or None, data
