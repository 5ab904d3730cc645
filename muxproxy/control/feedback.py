"""`POST /v1/feedback {id, score}`: what a caller thought of an answer. A number is all that is
kept; there is no room for a text."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from muxproxy.control.queries import call_id, require_json
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Receipt
from muxproxy.headers import Headers

_EXPECTED = 'expected {"id": "0198...", "score": 0.8}; score: 0..1, true, false, "good" or "bad"'
_LARGEST = 4096  # bytes of a rating


class RatingSource(Protocol):
    """Who keeps the calls and their ratings."""

    def authorize_control(self, headers: Headers, query: bytes) -> Caller | None: ...
    def find_call(self, id: int) -> Receipt | None: ...
    async def rate(self, id: int, score: float) -> None: ...


class Rating(msgspec.Struct, forbid_unknown_fields=True):
    """The body."""

    id: str
    score: float | bool | Literal["good", "bad"]

    def value(self) -> float:
        """0..1. Raises MuxError."""
        if isinstance(self.score, str):
            return 1.0 if self.score == "good" else 0.0
        value = float(self.score)
        if not 0 <= value <= 1:
            raise MuxError("invalid_request", f"score: {value:g} is not within 0..1")
        return value


class Feedback:
    """The route."""

    def __init__(self, source: RatingSource) -> None:
        self._source = source

    async def rate(self, request: Request) -> Response:
        """POST /v1/feedback; in the books before it is answered. Raises MuxError."""
        require_json(request.headers)
        rating = await _read(request)
        score, id = rating.value(), call_id(rating.id)
        receipt = self._source.find_call(id)
        scope = request.scope
        caller = self._source.authorize_control(scope["headers"], scope["query_string"])
        anybody = caller is None or scope.get("muxproxy.operator", False)
        if receipt is None or not (anybody or _own(receipt, caller)):
            # The same words for both: ids can be guessed, and are nobody else's business.
            raise MuxError(
                "not_found",
                "no call of yours has this id (yet: it may still be under way, or its receipt "
                "is past `retention`)",
            )
        await self._source.rate(id, score)
        body = orjson.dumps({"id": format(id, "016x"), "score": score})
        return Response(body, media_type="application/json")


async def _read(request: Request) -> Rating:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST:
            raise MuxError("invalid_request", f"a rating is short: {_EXPECTED}")
    try:
        return msgspec.json.decode(body, type=Rating)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MuxError("invalid_request", f"{_EXPECTED}: {error}") from None


def _own(receipt: Receipt, caller: Caller | None) -> bool:
    """Of the same key; and of the same user, where the one who rates names one."""
    if caller is None or receipt.caller != caller.key:
        return False
    return caller.user is None or caller.user == receipt.user
