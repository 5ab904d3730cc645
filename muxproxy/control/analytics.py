"""Costs and budgets over HTTP: JSON, or CSV with `format=csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from muxproxy.config.model import Config
from muxproxy.control import spreadsheet
from muxproxy.control.queries import moment, number, require_json
from muxproxy.control.savings import with_savings
from muxproxy.errors import MuxError
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.reports import AsyncReader
from muxproxy.prices import Price

_FILTERS = ("key", "user", "team", "tag", "provider", "model", "rule")


class BudgetSource(Protocol):
    """Who keeps the budgets."""

    config: Config

    def price(self, provider: str, model: str) -> Price | None: ...
    def cache_alarm(self) -> dict[str, object] | None: ...
    def budgets(self) -> Iterable[Mapping[str, object]]: ...
    async def put_budget(self, body: object) -> str: ...
    async def delete_budget(self, name: str) -> None: ...
    async def top_up(self, name: str, scope: str, amount: str | int | float) -> None: ...


class Analytics:
    """The analytics routes."""

    def __init__(self, source: BudgetSource, reader: AsyncReader) -> None:
        self._source = source
        self._reader = reader

    async def costs(self, request: Request) -> Response:
        """GET /v1/analytics/costs."""
        return await self._report(request, request.query_params)

    async def budgets(self, request: Request) -> Response:
        """GET /v1/analytics/budgets."""
        rows = list(self._source.budgets())
        return _answer(request, {"budgets": rows}, rows)

    async def put_budget(self, request: Request) -> Response:
        """POST /v1/analytics/budgets: create or change one, with the YAML's fields."""
        name = await self._source.put_budget(await _body(request))
        return _json({"name": name, "source": "api"})

    async def delete_budget(self, request: Request) -> Response:
        """DELETE /v1/analytics/budgets/NAME."""
        await self._source.delete_budget(request.path_params["name"])
        return _json({"deleted": request.path_params["name"]})

    async def top_up(self, request: Request) -> Response:
        """POST /v1/analytics/budgets/NAME/top-up: {amount, scope}."""
        body = await _body(request)
        amount, scope = body.get("amount"), body.get("scope", "all")
        if not isinstance(amount, str | int | float) or not isinstance(scope, str):
            raise MuxError("invalid_request", 'send {"amount": "$5", "scope": "all"}')
        await self._source.top_up(request.path_params["name"], scope, amount)
        return _json({"name": request.path_params["name"], "scope": scope, "topped_up": amount})

    async def user_stats(self, request: Request) -> Response:
        """GET /user/stats: the last 30 days by key, or of one `user`."""
        query = dict(request.query_params)
        query.setdefault("group_by", "key,user")
        return await self._report(request, query)

    async def _report(self, request: Request, query: Mapping[str, str]) -> Response:
        report = await self._reader.costs(cost_query(query))
        name = self._source.config.baseline
        provider, _, model = (name or "").partition("/")
        price = self._source.price(provider, model) if name else None
        report = with_savings(report, name, price)
        report["cache_alarm"] = self._source.cache_alarm()
        return _answer(request, report, report["rows"])


def cost_query(query: Mapping[str, str]) -> CostQuery:
    """The query string as a CostQuery. Raises MuxError invalid_request."""
    now = datetime.now(UTC)
    groups = [part.strip() for part in query.get("group_by", "").split(",") if part.strip()]
    return CostQuery(
        start=moment(query, "start_date", now - timedelta(days=30)),
        end=moment(query, "end_date", now + timedelta(seconds=1), end=True),
        group_by=tuple(groups),
        tz=query.get("tz", "UTC"),
        limit=number(query, "limit", 1000),
        offset=number(query, "offset", 0, 10_000_000),
        **{name: query.get(name) for name in _FILTERS},
    )


async def _body(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises MuxError."""
    require_json(request.headers)
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MuxError("invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise MuxError("invalid_request", "the body must be a JSON object")
    return body


def _json(body: object) -> Response:
    return Response(orjson.dumps(body, default=str), media_type="application/json")


def _answer(request: Request, body: object, rows: list[Any]) -> Response:
    if request.query_params.get("format") != "csv":
        return _json(body)
    return Response(spreadsheet.render(rows), media_type="text/csv; charset=utf-8")
