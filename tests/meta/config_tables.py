"""The tables of docs/configuration.md, made from the configuration's structs.

python -m tests.meta.config_tables      writes them between the page's markers
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from muxproxy.config import model
from muxproxy.config.schema import descriptions, schema

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: generated, see tests/meta/config_tables.py -->", "<!-- end of keys -->"

# Struct -> where it stands in the file, in the order of the page.
PLACES = {
    "Config": "Top level",
    "Listen": "`listen:` as a mapping",
    "Tls": "`listen.tls:`",
    "Auth": "`auth:`",
    "JwtAuth": "`auth.jwt:`",
    "Key": "`keys:`, each",
    "Provider": "`providers:`, by name",
    "Timeouts": "`providers.NAME.timeouts:`",
    "Pool": "`providers.NAME.pool:`",
    "Retry": "`retry:` of a provider or a rule",
    "Probe": "`providers.NAME.probe:`",
    "Breaker": "`providers.NAME.breaker:`",
    "Strategy": "`models:`, a strategy",
    "Examples": "`models.NAME.examples:`",
    "ExampleRoute": "`models.NAME.examples.routes:`, each",
    "Routing": "`routing:`",
    "Rule": "`rules:`, each",
    "Hedge": "`rules.hedge:`",
    "RuleCache": "`rules.cache:`",
    "CacheBounds": "`cache:`",
    "RuleTimeouts": "`rules.timeouts:`",
    "Budget": "`budgets:`, each",
    "Limit": "`limits:`, each",
    "RunawayGuard": "`runaway:`",
    "Server": "`server:`",
    "Intercept": "`intercept:` as a mapping",
    "Defaults": "`defaults:`",
    "Log": "`log:`",
}
# For fields whose meaning the struct leaves to their name.
_MORE = {
    "Config.auth": "Who may call.",
    "Config.keys": "The keys of callers, with `auth.mode: keys`.",
    "Config.server": "Bounds of the door.",
    "Config.on_ledger_failure": "refuse: 503 when a hold cannot be written; pass: go on.",
    "Config.providers": "The upstream APIs by name. The first of a dialect is its home.",
    "Config.routing": "How prompts are scored.",
    "Config.rules": "Where requests go; see below.",
    "Config.budgets": "Ceilings on money or tokens; see [budgets](budgets.md).",
    "Config.limits": "Ceilings on rates and concurrency.",
    "Config.defaults": "Used where the caller says nothing.",
    "Config.log": "What is logged.",
    "Listen.tls": "Certificates; absent: no TLS.",
    "Auth.jwt": "Not built yet.",
    "Key.user": "Calls with this key count for this user.",
    "Key.team": "... for this team.",
    "Key.tags": "... and carry these tags.",
    "Provider.insecure_skip_verify": "Do not verify its certificate.",
    "Provider.timeouts": "How long to wait for it.",
    "Provider.pool": "Its connections.",
    "Pool.max_connections": "Open at once; more requests wait.",
    "Pool.max_idle": "Kept open without a request.",
    "Pool.idle_expiry": "Then an idle one is closed.",
    "Strategy.strategy": "See [routing](routing.md).",
    "Rule.name": "Unique; what receipts and headers call it.",
    "Budget.name": "Unique; usage is kept under it across edits and restarts.",
    "Budget.limit": "$10, or `200k tokens`.",
    "Limit.name": "Unique.",
    "Limit.per": "Whose requests are counted together.",
    "Limit.requests": "Requests in any stretch of that length.",
    "Limit.tokens": "Prompt and output tokens; reserved before, corrected after.",
    "Limit.concurrent": "Requests under way.",
    "Server.max_header_bytes": "A longer head is answered 431.",
    "Server.max_body_bytes": "A longer body is answered 413.",
    "Server.header_timeout": "For a request's head to be complete.",
    "Server.keep_alive": "An idle connection is closed after this.",
    "Server.max_connections": "More are answered 503 and closed.",
    "Defaults.max_tokens": "Put into requests that name no bound.",
    "Defaults.temperature": "Put in where the model takes one.",
    "Log.format": "Lines on stderr: text, json; auto is text on a terminal and json elsewhere.",
    "Log.level": "The least that is logged.",
}
# What a kind of text is called in the column of types.
_KINDS = {
    "Judge": "text", "Share": "share such as 2%", "Learn": "`off` | `features` | `text`",
    "Duration": "duration", "Size": "size", "RateText": "rate", "WindowText": "window",
    "Amount": "dollars or tokens", "Zone": "time zone", "Url": "URL", "Egress": "URL or none",
    "Address": "address", "State": "file", "HeaderName": "header name", "Digest": "hex SHA-256",
    "Hidden": "secret", "Glob": "pattern", "HostGlob": "host", "HostPort": "host:port",
}  # fmt: skip


def tables() -> str:
    """All of them, as Markdown."""
    definitions = schema()["$defs"]
    return "\n\n".join(_table(name, place, definitions[name]) for name, place in PLACES.items())


def _table(name: str, place: str, definition: dict[str, Any]) -> str:
    cls = getattr(model, name)
    described = descriptions(cls)
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(cls):
        if field.encode_name not in definition["properties"]:
            continue  # the loader's own
        kind = _kind(cls.__annotations__[field.name])
        text = described.get(field.name) or _MORE[f"{name}.{field.encode_name}"]
        rows.append(f"| `{field.encode_name}` | {kind} | {_default(field)} | {_cell(text)} |")
    return "\n".join([f"### {place}", "", f"{(cls.__doc__ or '').strip()}", "", *rows])


_SCOPES = " | ".join(f"`{scope}`" for scope in get_args(model.Scope))


def _kind(annotation: str) -> str:
    text = re.sub(r"Literal\[([^\]]*)\]", lambda m: m[1].replace(", ", " | "), annotation)
    text = re.sub(r"['\"](\w+)['\"]", r"`\1`", text.replace("Scope", _SCOPES))
    text = re.sub(rf"\b({'|'.join(PLACES)})\b", "mapping", text)
    for name, word in _KINDS.items():
        text = re.sub(rf"\b{name}\b", word, text)
    text = re.sub(r"\blist\[([^\]]*)\]", r"list of \1", text)
    text = re.sub(r"\bdict\[str, (.*)\]", r"mapping", text)
    text = re.sub(r"\bint\b", "number", re.sub(r"\bfloat\b", "number", text))
    text = re.sub(r"\bstr\b", "text", re.sub(r"\bbool\b", "true or false", text))
    text = text.replace(" | None", "").replace("number | number", "number")
    words = [word.strip() for word in text.split("|")]
    return _cell(" or ".join(dict.fromkeys(words)))


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        if field.default_factory is msgspec.NODEFAULT:
            return "required"
        value = field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "see below"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_flow(value)}`"


def _flow(value: object) -> str:
    return str(value).replace("'", "") if isinstance(value, list | dict) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(page: str) -> str:
    """The part of the page that stands between the markers."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def _write() -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    _write()
