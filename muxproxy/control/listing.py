"""What /v1/models and /v1/providers show."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from muxproxy.config.model import Config
from muxproxy.config.strategies import Strategy
from muxproxy.ledger.reports import iso_ms


class Standing(Protocol):
    """How the candidates fare."""

    def providers(self) -> Iterator[str]: ...
    def models(self, provider: str) -> Iterator[dict[str, object]]: ...


class Listed(Protocol):
    """Where the figures come from."""

    config: Config

    @property
    def health(self) -> Standing: ...

    def pools(self) -> Mapping[str, Mapping[str, int]]: ...


def _names(config: Config) -> Iterator[tuple[str, str]]:
    """(name a caller may use, who owns it), aliases first, without duplicates."""
    seen: set[str] = set()
    for alias in config.models:
        seen.add(alias)
        yield alias, "muxproxy"
    for name, provider in config.providers.items():
        for model in provider.models:
            if (full := f"{name}/{model}") not in seen:
                seen.add(full)
                yield full, name
    for target in config.models.values():
        for text in _targets(target):
            owner, slash, _ = text.partition("/")
            if slash and owner in config.providers and text not in seen:
                seen.add(text)
                yield text, owner


def _targets(target: str | list[str] | Strategy) -> list[str]:
    if isinstance(target, Strategy):
        return [*filter(None, (target.cheap, target.strong)), *target.models]
    return [target] if isinstance(target, str) else target


def models(source: Listed, headers: Container[str] = ()) -> dict[str, Any]:
    """OpenAI's list shape; Anthropic's and Gemini's for callers that send those APIs' headers."""
    names = list(_names(source.config))
    if "x-goog-api-key" in headers:
        return {"models": [{"name": f"models/{name}", "displayName": name} for name, _ in names]}
    if "anthropic-version" in headers:
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": iso_ms(0)}
            for name, _ in names
        ]
        first = names[0][0] if names else None
        last = names[-1][0] if names else None
        return {"data": data, "has_more": False, "first_id": first, "last_id": last}
    # Mistral's SDK takes no entry without type and capabilities.
    rest = {"object": "model", "created": 0, "type": "base", "capabilities": {}}
    listed: list[dict[str, Any]] = [
        {"id": name, "owned_by": owner, **rest} for name, owner in names
    ]
    return {"object": "list", "data": listed}


def providers(source: Listed) -> list[dict[str, Any]]:
    """Each provider: what it speaks, where it is, whether it has a key, its connections."""
    pools = source.pools()
    found = []
    for name, provider in source.config.providers.items():
        parts = urlsplit(provider.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        found.append(
            {
                "name": name,
                "dialect": provider.dialect,
                "base_url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
                "key": "set" if provider.api_key or provider.api_keys else "the caller's own",
                "free": provider.price == "free",
                "connections": pools.get(f"{host}:{port}", {}),
                "models": list(source.health.models(name)),
            }
        )
    return found
