"""Costs and budgets over HTTP: JSON, or CSV with `format=csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from muxproxy.control.queries import moment, number
from muxproxy.ledger.costs import CostQuery
from muxproxy.ledger.reports import AsyncReader

_FILTERS = ("key", "user", "team", "tag", "provider", "model", "rule")


class Analytics:
    """The analytics routes."""

    def __init__(
        self, budgets: Callable[[], Iterable[Mapping[str, object]]], reader: AsyncReader
    ) -> None:
        self._budgets = budgets
        self._reader = reader

    async def costs(self, request: Request) -> Response:
        """GET /v1/analytics/costs."""
        report = await self._reader.costs(cost_query(request.query_params))
        return _answer(request, report, report["rows"])

    async def budgets(self, request: Request) -> Response:
        """GET /v1/analytics/budgets."""
        rows = list(self._budgets())
        return _answer(request, {"budgets": rows}, rows)

    async def user_stats(self, request: Request) -> Response:
        """GET /user/stats: the last 30 days by key, or of one `user`."""
        query = dict(request.query_params)
        query.setdefault("group_by", "key,user")
        report = await self._reader.costs(cost_query(query))
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


def _answer(request: Request, body: object, rows: list[Any]) -> Response:
    if request.query_params.get("format") != "csv":
        return Response(orjson.dumps(body, default=str), media_type="application/json")
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")
