"""The control plane: Starlette routes over what the runtime offers.

Imported with the first control request, not on the data path. Writes need
`content-type: application/json`, which a web page cannot send across origins without asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import msgspec
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Send

from muxproxy.control import metrics_page, openapi, status
from muxproxy.control.analytics import Analytics, BudgetSource
from muxproxy.control.feedback import Feedback, RatingSource
from muxproxy.control.listing import models, providers
from muxproxy.control.queries import call_id, filters_of, limit_of, require_json
from muxproxy.errors import MuxError
from muxproxy.ledger.reports import AsyncReader, receipt_json
from muxproxy.proxy.explaining import Asked

# Of model lists: with and without /v1, the groq SDK's, Gemini's.
_BASES = ("/v1", "", "/openai/v1", "/v1beta")


class Source(metrics_page.Source, status.Source, BudgetSource, RatingSource, Protocol):
    """What the control plane needs of the running muxproxy."""

    def pools(self) -> Mapping[str, Mapping[str, int]]: ...
    def budgets(self) -> Iterable[Mapping[str, object]]: ...
    def ledger_path(self) -> str: ...
    async def reload(self) -> None: ...
    async def explain(self, asked: Asked) -> Mapping[str, object]: ...


class Control:
    """The application, and what must be let go of at the end."""

    def __init__(self, app: Starlette, reader: AsyncReader) -> None:
        self._app = app
        self._reader = reader

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI 3."""
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        """Close the reader: its thread would keep the process from ending."""
        await self._reader.aclose()


def build(source: Source) -> Control:
    """The application."""
    reader = AsyncReader(source.ledger_path())
    control = _Control(source, reader)
    analytics = Analytics(source, reader)
    routes = [
        Route("/metrics", control.metrics),
        Route("/docs", control.docs),
        Route("/openapi.json", control.openapi),
        *(Route(f"{base}/models", control.models) for base in _BASES),
        Route("/providers", control.providers),
        Route("/v1/providers", control.providers),
        Route("/v1/calls", control.calls),
        Route("/v1/calls/{id}", control.call),
        Route("/v1/feedback", Feedback(source).rate, methods=["POST"]),
        Route("/v1/config/reload", control.reload, methods=["POST"]),
        Route("/v1/status", control.status),
        Route("/v1/explain", control.explain, methods=["POST"]),
        Route("/v1/analytics/costs", analytics.costs),
        Route("/v1/analytics/budgets", analytics.budgets),
        Route("/v1/analytics/budgets", analytics.put_budget, methods=["POST"]),
        Route("/v1/analytics/budgets/{name}", analytics.delete_budget, methods=["DELETE"]),
        Route("/v1/analytics/budgets/{name}/top-up", analytics.top_up, methods=["POST"]),
        Route("/user/stats", analytics.user_stats),
    ]
    return Control(Starlette(routes=routes, exception_handlers={MuxError: _error}), reader)


def reply(body: object, status: int = 200) -> Response:
    """JSON."""
    return Response(orjson.dumps(body, default=str), status, media_type="application/json")


async def _error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, MuxError)
    body = {"error": {"code": error.code, "message": error.message, **error.details}}
    return reply(body, error.status)


class _Control:
    def __init__(self, source: Source, reader: AsyncReader) -> None:
        self._source = source
        self._reader = reader

    async def metrics(self, request: Request) -> Response:
        del request
        page = metrics_page.render(self._source)
        return Response(page, media_type=metrics_page.CONTENT_TYPE_LATEST)

    async def docs(self, request: Request) -> Response:
        del request
        return HTMLResponse(openapi.page())

    async def openapi(self, request: Request) -> Response:
        del request
        return reply(openapi.document())

    async def models(self, request: Request) -> Response:
        return reply(models(self._source, request.headers))

    async def providers(self, request: Request) -> Response:
        del request
        return reply({"providers": providers(self._source)})

    async def status(self, request: Request) -> Response:
        del request
        return reply(await status.status(self._source, self._reader))

    async def calls(self, request: Request) -> Response:
        query: Mapping[str, str] = request.query_params
        found = await self._reader.calls(filters_of(query), limit_of(query))
        return reply({"calls": [receipt_json(receipt) for receipt in found]})

    async def call(self, request: Request) -> Response:
        receipt = self._source.find_call(call_id(request.path_params["id"]))
        if receipt is None:
            raise MuxError("not_found", "no call has this id (yet: it may still be under way)")
        return reply(receipt_json(receipt))

    async def explain(self, request: Request) -> Response:
        require_json(request.headers)
        try:
            asked = msgspec.json.decode(await request.body(), type=Asked)
        except msgspec.MsgspecError as error:
            hint = '{"path": "/v1/chat/completions", "headers": {}, "body": {...}}'
            raise MuxError("invalid_request", f"expected {hint}: {error}") from None
        return reply(await self._source.explain(asked))

    async def reload(self, request: Request) -> Response:
        require_json(request.headers)
        try:
            await self._source.reload()
        except ValueError as error:
            raise MuxError("invalid_request", f"the last good one stays: {error}") from None
        return reply({"status": "reloaded"})
