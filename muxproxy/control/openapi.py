"""The OpenAPI description of what muxproxy answers itself, and `/docs`: one page, no scripts.

The page is rendered here so that it works offline; the data plane's bodies are the providers' own
and are described by name only.
"""

from __future__ import annotations

from html import escape
from typing import Any

from muxproxy import __version__

_PROXIED: tuple[tuple[str, str, str], ...] = (
    ("post", "/v1/chat/completions", "OpenAI chat completions"),
    ("post", "/v1/chat/completions/enhanced", "Chat completions with router_metadata"),
    ("post", "/v1/completions", "OpenAI legacy completions"),
    ("post", "/v1/embeddings", "Embeddings"),
    ("post", "/v1/responses", "OpenAI responses"),
    ("post", "/v1/messages", "Anthropic messages"),
    ("post", "/v1/messages/count_tokens", "Anthropic token counting"),
    ("post", "/v1beta/models/{model}:generateContent", "Gemini generateContent"),
    ("post", "/v1beta/models/{model}:streamGenerateContent", "Gemini streamGenerateContent"),
    ("post", "/p/{provider}/{path}", "Any path of one provider, as it is"),
)


def _op(summary: str, **extra: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK"}}, **extra}


def _query(name: str, kind: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind}}


_OWN: dict[str, dict[str, dict[str, Any]]] = {
    "/health": {"get": _op("The process is alive.")},
    "/ready": {
        "get": _op(
            "Ready to serve: configuration, ledger and doors.",
            responses={"200": {"description": "ready"}, "503": {"description": "not ready"}},
        )
    },
    "/metrics": {"get": _op("Prometheus metrics.")},
    "/v1/models": {"get": _op("Aliases and the providers' models.")},
    "/v1/providers": {"get": _op("Providers: dialect, origin, key present, pool, state.")},
    "/v1/calls": {
        "get": _op(
            "The newest calls of the ledger.",
            parameters=[
                _query("limit", "integer", "How many, 100 unless told."),
                _query("model", "string", "Only this model."),
                _query("provider", "string", "Only this provider."),
                _query("caller", "string", "Only this key."),
                _query("rule", "string", "Only this rule."),
                _query("end", "string", "Only calls that ended this way."),
            ],
        )
    },
    "/v1/calls/{id}": {
        "get": _op(
            "One call by its x-muxproxy-id.",
            parameters=[
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
        )
    },
    "/v1/feedback": {
        "post": _op(
            "Rate a call's answer: id (its x-muxproxy-id) and score (0..1, true, false, "
            "good, bad). A second rating replaces the first.",
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["id", "score"],
                            "additionalProperties": False,
                            "properties": {
                                "id": {"type": "string", "pattern": "^[0-9a-f]{1,16}$"},
                                "score": {
                                    "anyOf": [
                                        {"type": "number", "minimum": 0, "maximum": 1},
                                        {"type": "boolean"},
                                        {"enum": ["good", "bad"]},
                                    ]
                                },
                            },
                        }
                    }
                },
            },
            responses={
                "200": {"description": "kept"},
                "400": {"description": "not understood"},
                "404": {"description": "no such call, or another caller's"},
            },
        )
    },
    "/v1/analytics/budgets": {
        "get": _op("Budgets: limit, spent, held, remaining, reset."),
        "post": _op("Create or change a budget: the fields of budgets: in the YAML."),
    },
    "/v1/analytics/budgets/{name}": {"delete": _op("Take out a budget made here.")},
    "/v1/analytics/budgets/{name}/top-up": {"post": _op("Raise one scope's limit: amount, scope.")},
    "/v1/analytics/costs": {
        "get": _op(
            "Costs, requests and tokens, grouped.",
            parameters=[
                _query("start_date", "string", "ISO date or time, UTC."),
                _query("end_date", "string", "ISO date or time, UTC, exclusive."),
                _query(
                    "group_by",
                    "string",
                    "Comma-separated: provider, model, key, user, team, tag, rule, day, hour.",
                ),
            ],
        )
    },
    "/v1/status": {"get": _op("How it is doing: traffic, budgets, providers, last calls.")},
    "/v1/explain": {
        "post": _op("What would happen to a request, and why: method, path, headers, body.")
    },
    "/v1/config/reload": {"post": _op("Read the configuration again.")},
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {path: dict(ops) for path, ops in _OWN.items()}
    for method, path, summary in _PROXIED:
        names = [part[1:-1] for part in path.replace(":", "/").split("/") if part[:1] == "{"]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
        paths[path] = {
            method: _op(
                summary + " (forwarded to the provider that the rules choose).",
                **({"parameters": parameters} if parameters else {}),
            )
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "muxproxy",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
    }


def page() -> str:
    """`/docs`: the document as one readable page."""
    doc = document()
    rows = []
    for path, operations in doc["paths"].items():
        for method, operation in operations.items():
            parameters = "".join(
                f"<li><code>{escape(p['name'])}</code> {escape(p.get('description', ''))}</li>"
                for p in operation.get("parameters", ())
            )
            rows.append(
                f"<tr><td class=m>{method.upper()}</td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(operation['summary'])}"
                f"{f'<ul>{parameters}</ul>' if parameters else ''}</td></tr>"
            )
    return _PAGE.format(version=escape(__version__), rows="\n".join(rows))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>muxproxy API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ border-top: 1px solid #8884; padding: .5rem .75rem .5rem 0; vertical-align: top; }}
.m {{ font-weight: 600; font-size: 12px; padding-top: .65rem; }}
ul {{ margin: .25rem 0 0; padding-left: 1.1rem; color: #777; }}
code {{ font-size: 14px; }}
</style></head><body>
<h1>muxproxy {version}</h1>
<p>Point an SDK's <code>base_url</code> at this address. The machine-readable form of this page is
<a href="/openapi.json">/openapi.json</a>; figures are at <a href="/metrics">/metrics</a>.</p>
<table>
{rows}
</table></body></html>
"""
